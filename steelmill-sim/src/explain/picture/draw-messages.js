// Messages as arrows. Line style and end show the fate, so that it does not depend on colour alone:
// delivered: thin line, full head; late: dashes, full head; lost: line that ends in a cross; reset: dots that end in a bar;
// in flight at the end of the run: dots without a head.

// A message is on the screen if it is sent before the lower edge and ends after the upper one. Messages are sorted by send
// and grouped into blocks; a block whose last end is above the screen is skipped.
const BLOCK = 256;
const messageEnds = (() => {
  const ends = new Int32Array(messages.sent.length);
  const blocks = new Int32Array(Math.ceil(ends.length / BLOCK));
  for (let n = 0; n < ends.length; n++) {
    ends[n] = messages.arrived[n] < 0 ? Math.min(events.count - 1, messages.sent[n] + 40) : messages.arrived[n];
    blocks[Math.floor(n / BLOCK)] = Math.max(blocks[Math.floor(n / BLOCK)], ends[n]);
  }
  return { ends, blocks };
})();

/** The messages on the screen: delivered ones, and the others. */
function messagesInSight() {
  const [ordinary, special] = [[], []];
  if (visible.length === 0 || !filter.groups[0]) return [ordinary, special];
  const [first, end] = placesBetween(HEAD, view.height);
  const firstEvent = first < visible.length ? visible[first] : events.count;
  const lastEvent = end > 0 ? visible[Math.min(end, visible.length - 1)] : -1;
  const { ends, blocks } = messageEnds;
  const beyond = GUTTER + lanesWidth();
  for (let block = 0; block < blocks.length; block++) {
    if (messages.sent[block * BLOCK] > lastEvent) break;
    if (blocks[block] < firstEvent) continue;
    const until = Math.min(ends.length, (block + 1) * BLOCK);
    for (let n = block * BLOCK; n < until; n++) {
      drawn.looked++;
      if (ends[n] < firstEvent || messages.sent[n] > lastEvent || !shown[messages.sent[n]]) continue;
      if (isCommon(messages.to[n], messageEnds.ends[n])) continue;
      const [a, b] = [lifeX(messages.from[n]), lifeX(messages.to[n])];
      if (Number.isNaN(a) || Number.isNaN(b) || Math.max(a, b) < GUTTER || Math.min(a, b) > beyond) continue;
      (messages.fate[n] === FATE.delivered ? ordinary : special).push(n);
    }
  }
  return [ordinary, special];
}

const ends = (n) => {
  const y0 = eventY(messages.sent[n]);
  const y1 = messages.arrived[n] < 0 ? Math.min(toY(view.axis.length), y0 + 40) : eventY(messages.arrived[n]);
  const [x0, x1] = [lifeX(messages.from[n]), lifeX(messages.to[n])];
  // A lost message ends halfway.
  const isLost = messages.fate[n] === FATE.lost || messages.fate[n] === FATE.reset;
  return [x0, y0, isLost ? (x0 + x1) / 2 : x1, y1];
};

function thin(list, most) {
  if (list.length <= most) return list;
  const every = Math.ceil(list.length / most);
  // Selected by message number, so that scrolling does not change the selection.
  const step = 2 ** Math.ceil(Math.log2(every));
  return list.filter((n) => n % step === 0).slice(0, most);
}

function drawMessages() {
  const [ordinary, special] = messagesInSight();
  drawn.messagesInSight = ordinary.length + special.length;
  const chosen = [thin(ordinary, ARROWS_MOST), thin(special, ARROWS_MOST)];
  drawn.thinned = chosen[0].length + chosen[1].length < drawn.messagesInSight;
  const dim = related.is !== null;
  // Many arrows are drawn translucent.
  const crowd = chosen[0].length;
  context.globalAlpha = dim ? .25 : crowd > 600 ? .28 : crowd > 200 ? .5 : .85;
  context.strokeStyle = context.fillStyle = colour.mark;
  context.lineWidth = 1;
  context.beginPath();
  for (const n of chosen[0]) arrowLine(n);
  context.stroke();
  if (crowd <= 600) for (const n of chosen[0]) arrowHead(n);
  context.globalAlpha = dim ? .35 : 1;
  for (const n of chosen[1]) arrow(n);
  context.globalAlpha = 1;
  drawn.arrows = chosen[0].concat(chosen[1]);
}

function drawArrowWords() {
  if (drawn.arrows.length > 160) return;
  for (const n of drawn.arrows) arrowWords(n, related.is !== null && !related.is.has(messages.sent[n]));
}

/** How far the curve of a machine's message to itself bulges, in pixels. */
const BULGE = 22;

function arrowLine(n) {
  const [x0, y0, x1, y1] = ends(n);
  context.moveTo(x0, y0);
  if (x0 === x1) context.bezierCurveTo(x0 + BULGE, y0, x0 + BULGE, y1, x1, y1);
  else context.lineTo(x1, y1);
}

/** The distance from a point to an arrow; a curve is approximated by line segments. */
function awayFromArrow(n, x, y) {
  const [x0, y0, x1, y1] = ends(n);
  if (x0 !== x1) return awayFromLine(x, y, x0, y0, x1, y1);
  const parts = 16;
  const point = (part) => {
    const t = part / parts;
    return [x0 + 3 * BULGE * t * (1 - t), y0 + (y1 - y0) * t * t * (3 - 2 * t)];
  };
  let away = Infinity;
  for (let part = 0; part < parts; part++) away = Math.min(away, awayFromLine(x, y, ...point(part), ...point(part + 1)));
  return away;
}

function awayFromLine(x, y, x0, y0, x1, y1) {
  const length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
  const share = length > 0 ? Math.max(0, Math.min(1, ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length)) : 0;
  return Math.hypot(x0 + share * (x1 - x0) - x, y0 + share * (y1 - y0) - y);
}

/** Draws a message that was not simply delivered, or a highlighted one. */
function arrow(n, paint, width = 1.6) {
  const fate = messages.fate[n];
  context.strokeStyle = context.fillStyle =
    paint ?? [colour.mark, colour.late, colour.bad, colour.reset, colour.muted][fate];
  context.lineWidth = width;
  context.setLineDash(fate === FATE.late ? [7, 3] : fate === FATE.reset || fate === FATE.under_way ? [2, 3] : []);
  const [x0, y0, x1, y1] = ends(n);
  const [x, y] = [x1, y1];
  context.beginPath();
  arrowLine(n);
  context.stroke();
  context.setLineDash([]);
  if (fate === FATE.lost) cross(x, y, context.strokeStyle);
  else if (fate === FATE.reset) {
    const angle = Math.atan2(y1 - y0, x1 - x0);
    context.lineWidth = 2.5;
    context.beginPath();
    context.moveTo(x - Math.sin(angle) * 6, y + Math.cos(angle) * 6);
    context.lineTo(x + Math.sin(angle) * 6, y - Math.cos(angle) * 6);
    context.stroke();
  } else if (fate !== FATE.under_way) arrowHead(n);
}

function arrowHead(n) {
  const [x0, y0, x1, y1] = ends(n);
  if (y1 < HEAD - 8 || y1 > view.height + 8) return;
  const angle = x0 === x1 ? Math.PI : Math.atan2(y1 - y0, x1 - x0);
  const tip = 4; // the radius of the arrival's mark
  const [x, y] = [x1 - Math.cos(angle) * tip, y1 - Math.sin(angle) * tip];
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x - Math.cos(angle - .38) * 8, y - Math.sin(angle - .38) * 8);
  context.lineTo(x - Math.cos(angle + .38) * 8, y - Math.sin(angle + .38) * 8);
  context.fill();
}

function arrowWords(n, dim) {
  const [x0, y0, x1, y1] = ends(n);
  const length = Math.hypot(x1 - x0, y1 - y0);
  if (length < 60 || x0 === x1) return;
  context.font = FONT;
  const text = fitted(short(n), Math.min(170, length * .6));
  const half = context.measureText(text).width / 2;
  // Where it overlaps no other label: in the middle, or else nearer to one of the ends.
  const sine = Math.abs(y1 - y0) / length;
  const cosine = Math.abs(x1 - x0) / length;
  const [width, height] = [2 * half * cosine + 14 * sine, 2 * half * sine + 13 * cosine];
  const overlaps = (x, y) => (other) =>
    other.x < x + width / 2 && x - width / 2 < other.x + other.width && other.y < y + height / 2 - 7 && y - height / 2 - 7 < other.y + other.height;
  const isFree = ([x, y]) => y > HEAD + 4 && y < view.height - 4 && !drawn.labels.some(overlaps(x, y)) && !drawn.boxes.some(overlaps(x, y));
  const spot = [.5, .35, .65, .25, .75].map((share) => [x0 + (x1 - x0) * share, y0 + (y1 - y0) * share]).find(isFree);
  if (!spot) return;
  const [x, y] = spot;
  let angle = Math.atan2(y1 - y0, x1 - x0);
  if (Math.abs(angle) > Math.PI / 2) angle += Math.PI;
  context.save();
  context.globalAlpha = dim ? .4 : 1;
  context.translate(x, y);
  context.rotate(angle);
  context.textAlign = 'center';
  const fate = messages.fate[n];
  haloed(text, 0, -7, [colour.muted, colour.late, colour.bad, colour.reset, colour.muted][fate]);
  context.restore();
  drawn.labels.push({ i: messages.sent[n], x: x - width / 2, y: y - 7 - height / 2, width, height });
}
