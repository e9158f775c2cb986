// Draws one frame, back to front. The number of items per frame is bounded for any length of run: beyond it, events are
// drawn as a density and some delivered messages are omitted, and the status line says so.

const canvas = document.getElementById('canvas');
const context = canvas.getContext('2d');
const FONT = '11px system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif';
const MONO = '11px ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace';

const MARKS_MOST = 5000;
const ARROWS_MOST = 1500;
const LABELS_MOST = 400;

/** What the last frame drew, for hit testing and for measuring the cost of a frame. */
const drawn = { frames: 0, marks: 0, arrows: [], boxes: [], labels: [], strips: [], faults: [], failure: null, density: false, thinned: false, looked: 0, ms: 0 };

let asked = false;
function changed() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    frame();
  });
}

function resize() {
  const ratio = devicePixelRatio || 1;
  const box = canvas.getBoundingClientRect();
  view.width = Math.max(200, box.width);
  view.height = Math.max(120, box.height);
  layOutMargins();
  const [width, height] = [Math.round(view.width * ratio), Math.round(view.height * ratio)];
  if (canvas.width === width && canvas.height === height) return;
  // Resizing clears the canvas, so it is drawn at once.
  canvas.width = width;
  canvas.height = height;
  overview.stale = true;
  frame();
}

function frame() {
  if (!view.axis) return;
  const begin = performance.now();
  keepInside();
  const ratio = devicePixelRatio || 1;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = colour.ground;
  context.fillRect(0, 0, view.width, view.height);
  context.textBaseline = 'middle';
  Object.assign(drawn, { marks: 0, arrows: [], boxes: [], labels: [], strips: [], faults: [], failure: null, density: false, thinned: false, looked: 0 });
  drawn.frames++;

  context.save();
  clip(GUTTER, HEAD, lanesWidth(), bodyHeight());
  drawLanes();
  drawBands();
  drawFolds();
  drawStrips();
  drawOperations();
  drawMessages();
  drawMarks();
  drawArrowWords();
  drawBandWords();
  drawRelated();
  drawParting();
  drawMeasure();
  drawFailure();
  context.restore();
  drawGutter();
  drawHeads();
  drawOverview();
  drawn.ms = performance.now() - begin;
  updateStatus();
}

function clip(x, y, width, height) {
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
}

/** The lanes on the screen: the first, and the one after the last. */
function lanesInSight() {
  const first = Math.max(0, lastAtMost(laneEdges, view.left));
  return [Math.min(first, shownLanes.length), Math.min(shownLanes.length, lastAtMost(laneEdges, view.left + lanesWidth() - .01) + 1)];
}

/** A text shortened to a width, with an ellipsis. */
function fitted(text, room) {
  if (room < 8) return '';
  if (context.measureText(text).width <= room) return text;
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${text.slice(0, middle)}…`).width <= room) low = middle;
    else high = middle - 1;
  }
  return low > 0 ? `${text.slice(0, low)}…` : '';
}

/** A name shortened in the middle, as its end matters as much as its beginning. */
function fittedName(name, room) {
  if (context.measureText(name).width <= room) return name;
  for (let kept = name.length - 1; kept > 1; kept--) {
    const end = Math.ceil(kept / 2);
    const text = `${name.slice(0, kept - end)}…${name.slice(name.length - end)}`;
    if (context.measureText(text).width <= room) return text;
  }
  return '';
}

/** Draws text with a halo, legible over lines. */
function haloed(text, x, y, paint) {
  context.lineJoin = 'round';
  context.lineWidth = 3;
  context.strokeStyle = colour.ground;
  context.strokeText(text, x, y);
  context.fillStyle = paint;
  context.fillText(text, x, y);
}

function drawLanes() {
  const [first, end] = lanesInSight();
  for (let place = first; place < end; place++) {
    const lane = shownLanes[place];
    const [x, width] = [laneX(lane), laneWidth(lane)];
    if (place % 2 === 1) {
      context.fillStyle = colour.stripe;
      context.fillRect(x, HEAD, width, bodyHeight());
    }
    context.strokeStyle = colour.hair;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(Math.round(x + width) + .5, HEAD);
    context.lineTo(Math.round(x + width) + .5, view.height);
    context.stroke();
    context.strokeStyle = colour.line;
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(lifeX(lane), Math.max(HEAD, toY(0)));
    context.lineTo(lifeX(lane), Math.min(view.height, toY(view.axis.length)));
    context.stroke();
  }
}

function drawHeads() {
  const [first, end] = lanesInSight();
  context.fillStyle = colour.panel;
  context.fillRect(0, 0, view.width, HEAD);
  context.strokeStyle = colour.hair;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(0, HEAD - .5);
  context.lineTo(view.width, HEAD - .5);
  context.stroke();
  context.save();
  clip(GUTTER, 0, lanesWidth(), HEAD);
  context.font = `600 12px ${FONT.slice(5)}`;
  context.textAlign = 'left';
  for (let place = first; place < end; place++) {
    const lane = shownLanes[place];
    const x = laneX(lane);
    context.fillStyle = twinLanes.has(lane) ? colour.good : colour.ink;
    context.fillText(fittedName(laneName(lane), laneWidth(lane) - 12), x + 8, HEAD / 2);
    context.fillStyle = colour.line;
    context.fillRect(lifeX(lane) - .75, HEAD - 5, 1.5, 5);
  }
  context.restore();
  context.font = FONT;
  context.fillStyle = colour.muted;
  context.textAlign = 'left';
  context.fillText('seconds', 10, HEAD / 2);
  if (GUTTER_CURVE) context.fillText('fails', GUTTER_TIME + 6, HEAD / 2);
  const hidden = shownLanes.length - (end - first);
  if (hidden > 0 || view.left > 0) {
    context.textAlign = 'right';
    context.fillText(`${end - first}/${shownLanes.length}`, view.width - 6, HEAD / 2);
  }
}

function drawFolds() {
  if (view.axis.name === 'time') return;
  const { folds } = view.axis;
  const [first, end] = lanesInSight();
  for (const { from, until } of folds) {
    const [y0, y1] = [toY(from), toY(until)];
    if (y1 < HEAD || y0 > view.height || y1 - y0 < 6) continue;
    const y = Math.round((y0 + y1) / 2) + .5;
    context.strokeStyle = colour.line;
    context.lineWidth = 1;
    if (y1 - y0 >= 26) {
      context.setLineDash([1, 5]);
      context.beginPath();
      context.moveTo(GUTTER, y);
      context.lineTo(GUTTER + lanesWidth(), y);
      context.stroke();
      context.setLineDash([]);
    }
    // A break mark on each lane where the scale is not linear.
    for (let place = first; place < end; place++) tear(context, lifeX(shownLanes[place]), y);
  }
}

function tear(c, x, y) {
  c.fillStyle = colour.ground;
  c.fillRect(x - 2, y - 2, 4, 4);
  c.beginPath();
  c.moveTo(x - 3, y - 1.5);
  c.lineTo(x + 3, y - 3.5);
  c.moveTo(x - 3, y + 3.5);
  c.lineTo(x + 3, y + 1.5);
  c.stroke();
}

/** A line at the event from which times are measured, and the time from there to the selected one. */
function drawMeasure() {
  if (view.mark < 0) return;
  const y = Math.round(eventY(view.mark)) + .5;
  context.strokeStyle = colour.accent;
  context.lineWidth = 1;
  context.setLineDash([6, 4]);
  context.beginPath();
  context.moveTo(GUTTER, y);
  context.lineTo(GUTTER + lanesWidth(), y);
  context.stroke();
  context.setLineDash([]);
  if (view.selected < 0 || view.selected === view.mark) return;
  context.font = `600 ${FONT}`;
  context.textAlign = 'left';
  haloed(since(events.at[view.selected] - events.at[view.mark]), GUTTER + 6, eventY(view.selected), colour.accent);
}

function drawFailure() {
  const failure = picture.failure;
  if (!failure) return;
  const y = Math.round(failure.event >= 0 ? eventY(failure.event) : toY(view.axis.of(failure.at))) + .5;
  if (y < HEAD - 2 || y > view.height + 20) return;
  context.strokeStyle = colour.bad;
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(GUTTER, y);
  context.lineTo(GUTTER + lanesWidth(), y);
  context.stroke();
  context.font = `600 ${FONT}`;
  context.textAlign = 'right';
  const text = fitted(`failed: ${failure.text.split('\n')[0]}`, lanesWidth() - 24);
  const width = context.measureText(text).width + 12;
  const below = y + 20 < view.height;
  context.fillStyle = colour.bad;
  context.fillRect(GUTTER + lanesWidth() - width, below ? y : y - 18, width, 18);
  drawn.failure = { y: below ? y : y - 18, height: 18 };
  context.fillStyle = colour.ground;
  context.fillText(text, GUTTER + lanesWidth() - 6, below ? y + 9.5 : y - 8.5);
}

const ownCount = events.lane.reduce((count, lane) => count + (twinLanes.has(lane) ? 0 : 1), 0);

function updateStatus() {
  const [first, end] = placesBetween(HEAD, view.height);
  const hidden = ownCount - visible.filter((i) => !isTwin(i)).length;
  let text = `${(end - first).toLocaleString('en')} of ${visible.length.toLocaleString('en')} events on the screen`;
  if (hidden > 0) text += `, ${hidden.toLocaleString('en')} filtered out`;
  if (drawn.thinned) text += ` · ${drawn.arrows.length.toLocaleString('en')} of ${drawn.messagesInSight.toLocaleString('en')} messages drawn: zoom in for all`;
  const [early, late] = picture.left_off;
  if (early > 0) text += ` · the first ${early.toLocaleString('en')} are omitted`;
  if (late > 0) text += ` · the last ${late.toLocaleString('en')} before the end are omitted`;
  if (picture.missing > 0) text += ` · ${picture.missing.toLocaleString('en')} events of the run are not in the trace`;
  const status = document.getElementById('status');
  if (status.textContent !== text) status.textContent = text;
}
