// The canvas on which regions are pointed at. The server answers each gesture with a view (value):
// size of the original, regions with masks, prompts and colours. All coordinates sent and received
// are pixels of the original; the photo shown may be a smaller copy.
const find = (selector) => element.querySelector(selector);
const stage = find('.pa-stage'), fit = find('.pa-fit'), photo = find('.pa-fit img');
const canvas = find('canvas'), empty = find('.pa-empty'), busy = find('.pa-busy');
const brushWidth = find('.pa-width input');
const DRAG_PX = 5, TINT = 0.42, RIM_PX = 2;
const WORDS = {
  image: { accept: 'image/*', title: 'Drop a photo here', more: 'or click to choose one, or pick an example below' },
  video: { accept: 'video/*', title: 'Drop a video here', more: 'or click to choose one, or pick the example below' },
  live: { accept: '', title: 'No picture yet', more: 'Start the webcam or a source' },
};
const NARROW = window.matchMedia('(max-width: 640px)'), FINGER = window.matchMedia('(pointer: coarse)').matches;
const TIPS = {
  point: FINGER ? 'Tap on something.' : 'Click on something, or drag a box around it. Right click excludes.',
  add: 'Click on what belongs to the selected region, too.',
  exclude: 'Click on what does not belong to the selected region.',
  box: 'Drag a box around something.',
  brush: FINGER ? 'Paint over something.' : 'Paint over something. Right button or Shift erases.',
};
let view = { size: [1, 1], regions: [], selected: null };
let tool = 'point', held = null, cursor = null, corner = null, pending = null;
const tinted = new Map();

// --- geometry -------------------------------------------------------------------------------
function resize() {
  const [width, height] = view.size;
  // All of the photo is on the screen, with the tools above it and a video's lanes under it, where
  // the screen is tall enough; on a phone there is room for the texts.
  const video = props.kind === 'video', above = stage.getBoundingClientRect().top + window.scrollY;
  const left = window.innerHeight - above - (video ? 230 : 48);
  const least = Math.max(window.innerHeight * (video || NARROW.matches ? 0.42 : 0.62), 260);
  const room = stage.clientWidth, tall = NARROW.matches ? least : Math.max(left, least);
  const scale = Math.min(room / width, tall / height, 4);
  fit.style.width = `${Math.round(width * scale)}px`;
  fit.style.height = `${Math.round(height * scale)}px`;
  draw();
}
const scaleNow = () => fit.clientWidth / view.size[0];
function toImage(event) {
  const frame = fit.getBoundingClientRect();
  const at = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
  return at.map((part, axis) => Math.min(Math.max(part, 0), 1) * view.size[axis]);
}
const rounded = (xy) => xy.map((number) => Math.round(number * 10) / 10);

// --- drawing --------------------------------------------------------------------------------
function layer(region, width, height) {
  const key = `${region.id} ${region.color} ${width} ${height}`;
  const old = tinted.get(key);
  if (old && old.source === region.mask) return old;
  const made = { fill: null, rim: null, ...old, source: region.mask }; // the old one until the new is there
  tinted.set(key, made);
  const image = new Image();
  image.onload = () => { tint(image, region.color, width, height, made); draw(); };
  image.src = region.mask;
  return made;
}
function tint(image, color, width, height, made) {
  const paint = () => Object.assign(document.createElement('canvas'), { width, height });
  made.fill = paint();
  let pen = made.fill.getContext('2d');
  pen.drawImage(image, 0, 0, width, height);
  pen.globalCompositeOperation = 'source-in';
  pen.fillStyle = color;
  pen.fillRect(0, 0, width, height);
  made.rim = paint();
  pen = made.rim.getContext('2d');
  const thick = RIM_PX * (window.devicePixelRatio || 1);
  for (let turn = 0; turn < 12; turn += 1) {
    const angle = (turn / 12) * 2 * Math.PI;
    pen.drawImage(made.fill, thick * Math.cos(angle), thick * Math.sin(angle));
  }
  pen.globalCompositeOperation = 'destination-out';
  pen.drawImage(made.fill, 0, 0);
}
function draw() {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(fit.clientWidth * ratio), height = Math.round(fit.clientHeight * ratio);
  if (!width || !height) return;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext('2d');
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, width, height);
  for (const region of view.regions) {
    const { fill, rim } = layer(region, width, height);
    if (!fill) continue;
    pen.globalAlpha = region.id === view.selected ? TINT : TINT / Math.min(3, 1 + view.regions.length / 6);
    pen.drawImage(fill, 0, 0);
    pen.globalAlpha = 1;
    pen.drawImage(rim, 0, 0);
  }
  const scale = width / view.size[0];
  const place = (xy) => xy.map((number) => number * scale);
  const selected = view.regions.filter((region) => region.id === view.selected);
  selected.forEach((region) => drawPrompt(pen, region, place, ratio));
  const taken = []; // a label that would cover another one is left out; the cards have them all
  for (const region of [...selected, ...view.regions]) drawLabel(pen, region, place, ratio, width, taken);
  drawHeld(pen, place, ratio, scale);
}
function drawPrompt(pen, region, place, ratio) {
  if (region.box) drawBox(pen, place(region.box.slice(0, 2)), place(region.box.slice(2)), ratio, '#fff');
  for (const [x, y, label] of region.points) drawPoint(pen, place([x, y]), label, ratio);
}
function drawBox(pen, from, to, ratio, color) {
  const frame = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1])];
  pen.lineWidth = 3 * ratio;
  pen.strokeStyle = 'rgb(0 0 0 / 55%)';
  pen.strokeRect(...frame);
  pen.lineWidth = 1.5 * ratio;
  pen.setLineDash([6 * ratio, 4 * ratio]);
  pen.strokeStyle = color;
  pen.strokeRect(...frame);
  pen.setLineDash([]);
}
function drawPoint(pen, [x, y], label, ratio) {
  pen.beginPath();
  pen.arc(x, y, 7 * ratio, 0, 2 * Math.PI);
  pen.fillStyle = label ? '#12b76a' : '#f04438';
  pen.fill();
  pen.lineWidth = 2 * ratio;
  pen.strokeStyle = '#fff';
  pen.stroke();
  pen.beginPath();
  pen.moveTo(x - 3 * ratio, y);
  pen.lineTo(x + 3 * ratio, y);
  if (label) { pen.moveTo(x, y - 3 * ratio); pen.lineTo(x, y + 3 * ratio); }
  pen.stroke();
}
function drawLabel(pen, region, place, ratio, width, taken) {
  if (!region.label || !region.corner) return;
  const text = region.label.length > 28 ? `${region.label.slice(0, 27)}…` : region.label;
  pen.font = `600 ${13 * ratio}px system-ui, "Noto Sans CJK SC", sans-serif`;
  const wide = pen.measureText(text).width + 12 * ratio, tall = 22 * ratio;
  const [left, top] = place(region.corner);
  const x = Math.max(0, Math.min(left, width - wide)), y = Math.max(0, top - tall - 3 * ratio);
  if (taken.some((other) => x < other.x + other.wide && other.x < x + wide && y < other.y + tall && other.y < y + tall)) return;
  taken.push({ x, y, wide });
  pen.fillStyle = region.color;
  pen.beginPath();
  pen.roundRect(x, y, wide, tall, 5 * ratio);
  pen.fill();
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(region.color.slice(at, at + 2), 16));
  pen.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 150 ? '#111' : '#fff';
  pen.textBaseline = 'middle';
  pen.fillText(text, x + 6 * ratio, y + tall / 2 + ratio);
}
function drawHeld(pen, place, ratio, scale) {
  if (held && held.path && held.path.length) {
    pen.globalAlpha = 0.5;
    pen.strokeStyle = held.erase ? '#f04438' : '#12b76a';
    pen.lineCap = pen.lineJoin = 'round';
    pen.lineWidth = 2 * brushRadius() * scale;
    pen.beginPath();
    held.path.forEach((xy, number) => (number ? pen.lineTo(...place(xy)) : pen.moveTo(...place(xy))));
    pen.lineTo(...place(held.path.at(-1)));
    pen.stroke();
    pen.globalAlpha = 1;
  } else if (held && held.boxed) drawBox(pen, place(held.from), place(held.to), ratio, '#fff');
  if (pending) drawPoint(pen, place(pending.xy), pending.label, ratio);
  if (corner && cursor) drawBox(pen, place(corner), place(cursor), ratio, '#fff');
  if (cursor && document.activeElement === stage) drawCursor(pen, place(cursor), ratio);
}
function drawCursor(pen, [x, y], ratio) {
  for (const [color, wide] of [['rgb(0 0 0 / 70%)', 4], ['#fff', 1.5]]) {
    pen.strokeStyle = color;
    pen.lineWidth = wide * ratio;
    pen.beginPath();
    for (const [across, down] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + 4 * ratio * across, y + 4 * ratio * down);
      pen.lineTo(x + 14 * ratio * across, y + 14 * ratio * down);
    }
    pen.stroke();
  }
}

// --- sending --------------------------------------------------------------------------------
const brushRadius = () => Number(brushWidth.value) / 2 / scaleNow();
function wait(text) {
  busy.hidden = false;
  busy.querySelector('span').textContent = text;
}
function act(data, text) {
  element.dataset.waiting = 'true';
  if (text) wait(text);
  trigger('act', data);
}
function click(xy, positive, join) {
  pending = { xy, label: positive };
  act({ type: 'click', xy: rounded(xy), positive, join });
  draw();
}
function point(xy, negative) {
  const positive = !negative && tool !== 'exclude';
  click(xy, positive, !positive || tool === 'add');
}
function box(from, to) {
  act({ type: 'drag', box: [...rounded(from), ...rounded(to)] });
}
function stroke(path, erase) {
  act({ type: 'stroke', xy: path.map(rounded), radius: brushRadius(), positive: !erase });
}
async function open(file) {
  if (!file) return;
  wait(`Opening ${file.name} …`);
  try {
    const { path } = await upload(file);
    trigger('open', { path, name: file.name });
  } catch (error) {
    busy.hidden = true;
    say(`${file.name} could not be sent: it may be too large.`);
  }
}

// --- pointer --------------------------------------------------------------------------------
fit.addEventListener('pointerdown', (event) => {
  if (event.button !== 0 && event.button !== 2) return;
  stage.focus({ preventScroll: true });
  cursor = null;
  const from = toImage(event), negative = event.button === 2 || event.shiftKey;
  held = { from, to: from, x: event.clientX, y: event.clientY, negative, erase: negative, touch: event.pointerType === 'touch' };
  if (tool === 'brush') held.path = [from];
  fit.setPointerCapture(event.pointerId);
  draw();
});
function follow(event) {
  if (!held) return;
  held.to = toImage(event);
  const far = Math.hypot(event.clientX - held.x, event.clientY - held.y) > DRAG_PX;
  if (held.path) held.path.push(held.to);
  else if (far && (tool === 'box' || (!held.touch && !held.negative))) held.boxed = true;
  draw();
}
fit.addEventListener('pointermove', follow);
fit.addEventListener('pointerup', (event) => {
  follow(event);
  const done = held;
  held = null;
  if (!done) return;
  if (done.path) stroke(done.path, done.erase);
  else if (done.boxed) box(done.from, done.to);
  else point(done.from, done.negative);
});
fit.addEventListener('pointercancel', () => { held = null; draw(); });
fit.addEventListener('contextmenu', (event) => event.preventDefault());

// --- keyboard -------------------------------------------------------------------------------
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function move([across, down], fine) {
  const [width, height] = view.size, step = Math.max(width, height) * (fine ? 0.004 : 0.02);
  const [x, y] = cursor || [width / 2, height / 2];
  cursor = [Math.min(Math.max(x + across * step, 0), width - 1), Math.min(Math.max(y + down * step, 0), height - 1)];
}
function enter(negative) {
  cursor = cursor || view.size.map((side) => side / 2);
  if (tool === 'brush') stroke([cursor], negative);
  else if (tool === 'box' && !corner) corner = cursor;
  else if (tool === 'box') { box(corner, cursor); corner = null; }
  else point(cursor, negative);
}
function pressed(event) {
  if (event.key in ARROWS) move(ARROWS[event.key], event.shiftKey);
  else if (event.key === 'Enter') enter(event.shiftKey);
  else if (event.key === 'Escape' && (held || corner)) { held = null; corner = null; }
  else if (event.key === 'Escape' && props.kind !== 'live') act({ type: 'choose', region: null });
  else return false;
  return true;
}
function edited(event) {
  if (event.key === 'Delete' || event.key === 'Backspace') act({ type: 'remove', region: view.selected });
  else if (event.key.toLowerCase() === 'z' && (event.ctrlKey || event.metaKey)) act({ type: 'undo' });
  else return false;
  return true;
}
stage.addEventListener('keydown', (event) => {
  if (fit.hidden || !pressed(event)) return;
  event.preventDefault();
  draw();
});
if (props.kind !== 'live') {
  document.addEventListener('keydown', (event) => { // also from a card or a tool
    const typing = event.target.closest('textarea, input:not([type=range], [type=checkbox], [type=radio], [type=file])');
    if (!fit.hidden && element.offsetParent && !typing && edited(event)) event.preventDefault();
  });
}
stage.addEventListener('focus', draw);
stage.addEventListener('blur', draw);

// --- toolbar, files, examples ---------------------------------------------------------------
function choose(name) {
  tool = name;
  corner = null;
  element.querySelectorAll('[data-tool]').forEach((button) => button.setAttribute('aria-pressed', String(button.dataset.tool === name)));
  find('.pa-width').hidden = name !== 'brush';
  fit.style.touchAction = name === 'box' || name === 'brush' ? 'none' : 'manipulation';
  say();
}
function say(text) {
  find('.pa-status').textContent = text || (fit.hidden ? '' : view.status || (props.kind === 'live' ? TIPS[tool].split('. ')[0] : TIPS[tool]));
}
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-tool], [data-act], [data-example]');
  if (!button) return;
  const { tool: name, act: type, example } = button.dataset;
  if (name) choose(name);
  else if (type) act({ type }, type === 'everything' ? 'Looking for everything …' : '');
  else { wait('Opening …'); trigger('example', { index: Number(example) }); }
});
element.querySelectorAll('input[type=file]').forEach((input) => {
  input.accept = WORDS[props.kind].accept;
  input.addEventListener('change', () => { open(input.files[0]); input.value = ''; });
});
if (props.kind !== 'live') {
  stage.addEventListener('dragover', (event) => { event.preventDefault(); stage.classList.add('pa-over'); });
  stage.addEventListener('dragleave', () => stage.classList.remove('pa-over'));
  stage.addEventListener('drop', (event) => {
    event.preventDefault();
    stage.classList.remove('pa-over');
    open(event.dataTransfer.files[0]);
  });
}
if (props.kind === 'image') {
  document.addEventListener('paste', (event) => {
    const file = [...event.clipboardData.files].find((item) => item.type.startsWith('image/'));
    if (file && element.offsetParent) open(file);
  });
}
for (const [index, example] of (props.examples || []).entries()) {
  const button = document.createElement('button');
  button.type = 'button';
  button.dataset.example = index;
  button.title = example.name;
  button.append(Object.assign(new Image(), { src: example.thumb, alt: example.name }));
  find('.pa-examples').append(button);
  find('.pa-examples').hidden = false;
}

// --- what the server says -------------------------------------------------------------------
function show() {
  const next = props.value;
  if (!next || !next.size || (view.tick && next.tick < view.tick)) return;
  const sized = next.size.join() !== view.size.join();
  view = next;
  pending = null;
  busy.hidden = true;
  delete element.dataset.waiting;
  element.dataset.tick = view.tick;
  element.dataset.regions = view.regions.length;
  if (tinted.size > 200) tinted.clear();
  for (const [name, usable] of [['undo', view.can_undo], ['clear', view.regions.length > 0], ['everything', !fit.hidden || props.photo]]) {
    const button = find(`[data-act=${name}]`);
    if (button) button.disabled = !usable;
  }
  say();
  if (sized) resize(); else draw();
}
function showPhoto() {
  if (!props.photo) return;
  photo.src = props.photo;
  fit.hidden = false;
  empty.hidden = true;
  element.classList.add('pa-filled');
  busy.hidden = true;
  resize();
  say();
}
const words = WORDS[props.kind];
empty.querySelector('strong').textContent = words.title;
empty.querySelector('span').textContent = words.more;
stage.setAttribute('aria-label', 'Picture. Arrow keys move the cursor, Enter points, Shift and Enter exclude, Escape deselects, Delete removes, Control Z undoes.');
element.dataset.kind = props.kind;
if (props.kind === 'live') element.querySelectorAll('[data-tool=add], [data-tool=exclude], [data-act], .pa-file, .pa-empty input').forEach((node) => node.remove());
new ResizeObserver(resize).observe(stage);
window.addEventListener('resize', resize);
watch('value', show);
watch('photo', showPhoto);
choose('point');
show();
showPhoto();
