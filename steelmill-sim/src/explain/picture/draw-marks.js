// Events as marks on their lane's line, with labels if there is room; zoomed out, as a density.

// The kinds whose labels are drawn first, and those that follow.
const LOUD = [['log', 'fault'], ['machine', 'link', 'state', 'count', 'failure']];
const loudness = new Uint8Array(picture.kinds.length);
LOUD.forEach((kinds, n) => kinds.forEach((kind) => { loudness[KIND[kind]] = LOUD.length - n; }));

// With so many events or fewer, a label may extend into the next lanes where these are empty.
const SPARSE = 200;
const LABEL_MOST = 460;

function drawMarks() {
  const [first, end] = placesBetween(HEAD - 6, view.height + 6);
  if (end - first > MARKS_MOST) return drawDensity(first, end);
  const right = GUTTER + lanesWidth();
  const rows = new Map();
  const dim = related.is !== null;
  const wordsToDraw = [];
  for (let n = first; n < end; n++) {
    const i = visible[n];
    const x = eventX(i);
    if (!(x > GUTTER - 8 && x < right + 8)) continue;
    context.globalAlpha = dim && !related.is.has(i) ? .35 : 1;
    mark(i, x, eventY(i));
    drawn.marks++;
    if (laneWidth(events.lane[i]) >= 84 || visible.length <= SPARSE) wordsToDraw.push(i);
  }
  context.globalAlpha = 1;
  if (wordsToDraw.length > MARKS_MOST / 4) return;
  // Important events are labelled first; messages have their labels on their arrows, operations in their boxes.
  for (const loud of [2, 1, 0]) {
    for (const i of wordsToDraw) {
      const kind = events.kind[i];
      if (loudness[kind] !== loud || kind === KIND.message || kind === KIND.invoke || kind === KIND.return || kind === KIND.failure || kind === KIND.lost || kind === KIND.arrival) continue;
      if (drawn.labels.length >= LABELS_MOST) return;
      markWords(i, rows, dim);
    }
  }
}

/** The events at which a link's band begins or ends, where a line leads to the other lane. */
const linkEdges = new Set(bands.flatMap((band) => (band.kind === 'link' ? [band.from, band.until] : [])));

function markWords(i, rows, dim) {
  const lane = events.lane[i];
  // Above that line, so that it does not cross the label.
  const y = eventY(i) - (events.kind[i] === KIND.link || linkEdges.has(i) ? 9 : 0);
  const row = rows.get(lane) ?? rows.set(lane, new Set()).get(lane);
  const slot = Math.floor(y / 7);
  if (row.has(slot) || row.has(slot - 1) || row.has(slot + 1)) return;
  const x = lifeX(lane) + 10 + operationRoom(lane);
  const room = roomForWords(i, x, y);
  context.font = FONT;
  context.textAlign = 'left';
  const text = fitted(eventText(i), room);
  // Two letters and an ellipsis say nothing.
  if (text.length < 6 && text !== eventText(i)) return;
  row.add(slot);
  context.globalAlpha = dim && !related.is.has(i) ? .45 : 1;
  haloed(text, x, y, wordsPaint(i));
  context.globalAlpha = 1;
  drawn.labels.push({ i, x, y: y - 7, width: context.measureText(text).width, height: 14 });
}

function roomForWords(i, x, y) {
  const own = laneX(events.lane[i]) + laneWidth(events.lane[i]) - x - 4;
  if (visible.length > SPARSE) return own;
  const isBeside = (it) => it.x > x && it.y < y + 7 && it.y + it.height > y - 7;
  const taken = [...drawn.boxes, ...drawn.labels].filter(isBeside).map((it) => it.x);
  for (const other of visible) if (eventX(other) > x && Math.abs(eventY(other) - y) < 12) taken.push(eventX(other));
  return Math.max(own, Math.min(LABEL_MOST, GUTTER + lanesWidth() - x, ...taken.map((it) => it - x - 10)));
}

function wordsPaint(i) {
  const kind = events.kind[i];
  if (kind === KIND.log) return levelPaint(i) ?? colour.ink;
  if (kind === KIND.fault || kind === KIND.link) return colour.bad;
  return colour.muted;
}

function levelPaint(i) {
  const level = word(logs.level[events.of[i]]);
  return level === 'ERROR' ? colour.bad : level === 'WARN' ? colour.late : null;
}

function mark(i, x, y) {
  const kind = picture.kinds[events.kind[i]];
  switch (kind) {
    case 'lost': return cross(x, y, colour.bad);
    case 'log': {
      const loud = levelPaint(i);
      return drawMark(context, loud ? 'alarm' : 'log', x, y, loud ?? colour.mark);
    }
    case 'state': return drawMark(context, kind, x, y, stateLook(word(states.state[events.of[i]]))[0]);
    case 'fault': case 'link': case 'failure': return drawMark(context, kind, x, y, colour.bad);
    default: return drawMark(context, kind, x, y, colour.mark);
  }
}

/** Draws the mark of a kind of events, or `alarm` for a warning or an error in the log. */
function drawMark(c, shape, x, y, paint) {
  c.fillStyle = c.strokeStyle = paint;
  c.lineWidth = 1.4;
  c.beginPath();
  switch (shape) {
    case 'message':
      c.arc(x, y, 2.4, 0, 7);
      c.fill();
      break;
    case 'arrival':
      c.arc(x, y, 3, 0, 7);
      c.fillStyle = colour.ground;
      c.fill();
      c.stroke();
      break;
    case 'log':
      c.fillRect(x - 1, y - 1, 8, 2);
      break;
    case 'alarm':
      c.moveTo(x, y - 5);
      c.lineTo(x + 5, y + 4);
      c.lineTo(x - 5, y + 4);
      c.fill();
      break;
    case 'state':
      c.moveTo(x, y - 4.5);
      c.lineTo(x + 4.5, y);
      c.lineTo(x, y + 4.5);
      c.lineTo(x - 4.5, y);
      c.fill();
      break;
    case 'fault': case 'machine':
      c.rect(x - 4, y - 4, 8, 8);
      c.fill();
      break;
    case 'link':
      c.rect(x - 4, y - 4, 8, 8);
      c.fillStyle = colour.ground;
      c.fill();
      c.stroke();
      break;
    case 'spawn':
      c.moveTo(x - 4, y);
      c.lineTo(x + 4, y);
      c.moveTo(x, y - 4);
      c.lineTo(x, y + 4);
      c.stroke();
      break;
    case 'end':
      c.moveTo(x - 4, y);
      c.lineTo(x + 4, y);
      c.stroke();
      break;
    case 'timer':
      c.arc(x, y, 3.4, 0, 7);
      c.moveTo(x, y - 2.4);
      c.lineTo(x, y);
      c.lineTo(x + 1.8, y);
      c.stroke();
      break;
    case 'invoke': case 'return':
      c.fillRect(x, y - .75, 7, 1.5);
      break;
    case 'failure':
      c.arc(x, y, 4.5, 0, 7);
      c.fill();
      break;
    default:
      c.fillRect(x - 2, y - 2, 4, 4);
  }
}

/** Too many events to draw one by one: for each two pixels a bar, whose length is the number of events. */
function drawDensity(first, end) {
  drawn.density = true;
  const height = Math.ceil(bodyHeight() / 2) + 1;
  const [firstLane, endLane] = lanesInSight();
  const counts = new Uint32Array((endLane - firstLane) * height);
  let most = 1;
  for (let n = first; n < end; n++) {
    const i = visible[n];
    const place = column[events.lane[i]] - firstLane;
    if (!(place >= 0 && place < endLane - firstLane)) continue;
    const row = Math.floor((eventY(i) - HEAD) / 2);
    if (row < 0 || row >= height) continue;
    most = Math.max(most, ++counts[place * height + row]);
  }
  context.fillStyle = colour.mark;
  for (let place = 0; place < endLane - firstLane; place++) {
    const x = lifeX(shownLanes[firstLane + place]);
    const longest = Math.min(40, laneWidth(shownLanes[firstLane + place]) * .3);
    for (let row = 0; row < height; row++) {
      const count = counts[place * height + row];
      if (count === 0) continue;
      context.globalAlpha = .35 + .55 * (count / most);
      context.fillRect(x - 1, HEAD + row * 2, 2 + longest * Math.sqrt(count / most), 1.6);
      drawn.marks++;
    }
  }
  context.globalAlpha = 1;
  drawLoudest(first, end);
}

/** Important events, which are drawn on the density as well: faults, the failure, warnings and errors. */
function drawLoudest(first, end) {
  let left = 400;
  const taken = new Set();
  for (let n = first; n < end && left > 0; n++) {
    const i = visible[n];
    const kind = events.kind[i];
    const isLoud = kind === KIND.fault || kind === KIND.failure || (kind === KIND.log && levelPaint(i));
    if (!isLoud) continue;
    const y = eventY(i);
    const spot = events.lane[i] * 4096 + Math.round(y / 6);
    if (taken.has(spot)) continue;
    taken.add(spot);
    mark(i, lifeX(events.lane[i]), y);
    left--;
  }
}
