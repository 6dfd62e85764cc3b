// Scrubbing: the newest position is asked for, one request at a time. Lanes come as HTML.
const root = element.querySelector('.pa-timeline'), input = element.querySelector('input');
const output = element.querySelector('output'), progress = element.querySelector('.pa-progress');
const lanes = element.querySelector('.pa-lanes');
let asked = null, waiting = false, drawn = '';
function label(frame) {
  const { frames, fps } = props.value;
  output.textContent = `${(frame / fps).toFixed(2)} s · ${frame}/${frames - 1}`;
  lanes.style.setProperty('--at', (frame + 0.5) / frames);
  lanes.querySelectorAll('[data-from]').forEach((span) => {
    const current = frame >= Number(span.dataset.from) && frame <= Number(span.dataset.to);
    span.setAttribute('aria-current', String(current));
  });
}
function ask() {
  if (waiting || asked === null) return;
  waiting = true;
  trigger('seek', { frame: asked });
  asked = null;
}
function seek(frame) {
  input.value = asked = frame;
  label(frame);
  ask();
}
input.addEventListener('input', () => seek(Number(input.value)));
lanes.addEventListener('click', (event) => {
  const span = event.target.closest('[data-from]');
  if (span) seek(Number(span.dataset.from));
});
lanes.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') document.activeElement.blur(); // what it says goes away
});
function show() {
  const value = props.value;
  root.hidden = !value || !value.frames;
  if (root.hidden) return;
  input.max = value.frames - 1;
  waiting = false;
  if (value.lanes !== drawn) lanes.innerHTML = drawn = value.lanes; // else the focus would be lost
  if (asked === null) input.value = value.frame;
  label(Number(input.value));
  progress.hidden = value.progress === null;
  progress.firstElementChild.style.width = `${100 * (value.progress || 0)}%`;
  progress.setAttribute('aria-valuenow', Math.round(100 * (value.progress || 0)));
  element.dataset.frame = value.frame;
  element.dataset.state = value.state;
  ask();
}
watch('value', show);
show();
