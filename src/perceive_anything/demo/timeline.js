// Scrubbing: the newest position is asked for, one request at a time. Lanes come as HTML.
const root = element.querySelector('.pa-timeline'), input = element.querySelector('input');
const output = element.querySelector('output'), progress = element.querySelector('.pa-progress');
let asked = null, waiting = false;
function label(frame) {
  const { frames, fps } = props.value;
  output.textContent = `${(frame / fps).toFixed(2)} s · ${frame}/${frames - 1}`;
}
function ask() {
  if (waiting || asked === null) return;
  waiting = true;
  trigger('seek', { frame: asked });
  asked = null;
}
input.addEventListener('input', () => {
  asked = Number(input.value);
  label(asked);
  ask();
});
function show() {
  const value = props.value;
  root.hidden = !value || !value.frames;
  if (root.hidden) return;
  input.max = value.frames - 1;
  waiting = false;
  if (asked === null) {
    input.value = value.frame;
    label(value.frame);
  }
  element.querySelector('.pa-lanes').innerHTML = value.lanes;
  progress.hidden = value.progress === null;
  progress.firstElementChild.style.width = `${100 * (value.progress || 0)}%`;
  progress.setAttribute('aria-valuenow', Math.round(100 * (value.progress || 0)));
  element.dataset.frame = value.frame;
  element.dataset.state = value.state;
  ask();
}
watch('value', show);
show();
