// Left of the lanes: time ticks, and the curve of failure rates.

function drawGutter() {
  context.fillStyle = colour.ground;
  context.fillRect(0, HEAD, GUTTER, bodyHeight());
  context.save();
  clip(0, HEAD, GUTTER, bodyHeight());
  context.font = MONO;
  context.textAlign = 'right';
  let last = -Infinity;
  for (const [y, at, step] of view.axis.name === 'time' ? evenTicks() : eventTicks()) {
    if (y - last < 18) continue;
    last = y;
    context.fillStyle = colour.muted;
    context.fillText(clock(at, step), GUTTER_TIME - 9, y);
    context.fillStyle = colour.line;
    context.fillRect(GUTTER_TIME - 6, Math.round(y), 6, 1);
  }
  drawFoldLengths();
  if (GUTTER_CURVE) drawCurve();
  context.restore();
  context.strokeStyle = colour.hair;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(GUTTER - .5, HEAD);
  context.lineTo(GUTTER - .5, view.height);
  context.stroke();
}

/** Labels shortened gaps with their duration. */
function drawFoldLengths() {
  if (view.axis.name === 'time') return;
  let last = -Infinity;
  context.font = FONT;
  context.textAlign = 'right';
  for (const { from, until, gap } of view.axis.folds) {
    const y = (toY(from) + toY(until)) / 2;
    if (y < HEAD || y > view.height || y - last < 28 || toY(until) - toY(from) < 26) continue;
    last = y;
    context.fillStyle = colour.ground;
    context.fillRect(0, y - 8, GUTTER_TIME - 1, 16);
    context.fillStyle = colour.muted;
    context.fillText(`⋮ ${lasting(gap)}`, GUTTER_TIME - 9, y);
  }
}

/** Ticks at round times. */
function evenTicks() {
  const step = Math.max(1, roundStep(90 / view.scale));
  const ticks = [];
  const from = Math.max(0, view.axis.time(toPosition(HEAD)));
  const until = view.axis.time(toPosition(view.height));
  for (let at = Math.ceil(from / step) * step; at <= until && ticks.length < 200; at += step) {
    ticks.push([toY(view.axis.of(at)), at, step]);
  }
  return ticks;
}

/** Ticks at events, for axes that are not linear in time. */
function eventTicks() {
  const ticks = [];
  const { position } = view.axis;
  const [first, end] = placesBetween(HEAD, view.height);
  for (let n = first, y = -Infinity; n < end && ticks.length < 200;) {
    const i = visible[n];
    y = toY(position[i]);
    const next = Math.min(visible.length - 1, n + 1);
    ticks.push([y, events.at[i], Math.min(1e3, Math.max(1, roundStep(Math.max(1, (events.at[visible[next]] - events.at[i]) || 1e3))))]);
    n = Math.max(n + 1, placesBetween(HEAD, y + 32)[1]);
  }
  return ticks;
}

function drawCurve() {
  const [x0, x1] = [GUTTER_TIME + 6, GUTTER - 8];
  const point = ({ until, runs, failed }) => [x0 + (x1 - x0) * (failed / runs), toY(view.axis.of(until))];
  context.strokeStyle = colour.hair;
  context.lineWidth = 1;
  for (const x of [x0, (x0 + x1) / 2, x1]) {
    context.beginPath();
    context.moveTo(Math.round(x) + .5, HEAD);
    context.lineTo(Math.round(x) + .5, view.height);
    context.stroke();
  }
  const points = picture.failure_rates.map(point);
  const path = new Path2D();
  points.forEach(([x, y], n) => (n ? path.lineTo(x, y) : path.moveTo(x, y)));
  const area = new Path2D(path);
  area.lineTo(x0, points.at(-1)[1]);
  area.lineTo(x0, points[0][1]);
  context.fillStyle = colour.badSoft;
  context.fill(area);
  context.strokeStyle = colour.bad;
  context.lineWidth = 1.5;
  context.stroke(path);
  context.fillStyle = colour.bad;
  let last = -Infinity;
  context.font = FONT;
  for (const [n, [x, y]] of points.entries()) {
    if (y < HEAD - 10 || y > view.height + 10 || y - last < 5) continue;
    context.beginPath();
    context.arc(x, y, 2.2, 0, 7);
    context.fill();
    if (y - last >= 18) {
      const { failed, runs } = picture.failure_rates[n];
      const share = failed / runs;
      context.textAlign = share > .5 ? 'right' : 'left';
      context.fillText(`${Math.round(100 * share)} %`, x + (share > .5 ? -5 : 5), y - 1);
      last = y;
    }
  }
}
