// Viewport: scrolling, zoom and layout. Pixels are CSS pixels of the canvas.

const HEAD = 30;          // height of the machines' names
const GUTTER_TIME = 96;   // width of the time ticks
let GUTTER_CURVE;         // width of the failure rate curve; set by layOutMargins
let GUTTER;               // width of both
let OVERVIEW;             // width of the overview at the right
const BELOW = 28;         // room after the end of the run, for the failure's text
const LANE_LEAST = 64;
const ROW_MOST = 90;      // maximum distance of two events when zoomed in

const view = {
  axis: null, width: 0, height: 0,
  top: 0,        // the position at the upper edge
  scale: 1,      // pixels for a unit of position
  left: 0,       // how far the lanes are scrolled, in pixels
  widen: 1,      // factor for the width of lanes
  selected: -1,
  mark: -1,      // the event from which times are measured
};

// In a narrow window the overview is narrow, and in a narrower one there is no room for the curve.
const NARROW = 760;
const NARROWER = 560;

function layOutMargins() {
  GUTTER_CURVE = picture.failure_rates.length > 1 && view.width >= NARROWER ? 62 : 0;
  GUTTER = GUTTER_TIME + GUTTER_CURVE;
  OVERVIEW = view.width < NARROW ? 30 : 58;
}

const bodyHeight = () => Math.max(50, view.height - HEAD);
const lanesWidth = () => Math.max(80, view.width - GUTTER - OVERVIEW);

// Lanes with few events are narrower; lanes with operations are wider.
let laneEdges = new Float64Array(1);
function layOutLanes() {
  const busiest = Math.max(1, ...eventCounts.lanes.values());
  const share = (lane) => (lanesWithOperations.has(lane) ? 1.55 : eventCounts.lanes.get(lane) < Math.min(6, busiest / 50) ? .55 : 1);
  const shares = shownLanes.map(share);
  const total = shares.reduce((a, b) => a + b, 0);
  const unit = Math.max(LANE_LEAST, Math.min(420, lanesWidth() / Math.max(1, total))) * view.widen;
  laneEdges = new Float64Array(shares.length + 1);
  shares.forEach((share, place) => { laneEdges[place + 1] = laneEdges[place] + share * unit; });
}

const lanesLength = () => laneEdges[laneEdges.length - 1];
const laneWidth = (lane) => laneEdges[column[lane] + 1] - laneEdges[column[lane]];
/** The left edge of a lane; NaN if it is hidden. */
const laneX = (lane) => (lane < 0 || column[lane] < 0 ? NaN : GUTTER + laneEdges[column[lane]] - view.left);
/** The x of a lane's line, on which its events are marked. */
const lifeX = (lane) => laneX(lane) + Math.min(Math.max(20, laneWidth(lane) * (lanesWithOperations.has(lane) ? .12 : .26)), 90);
const toY = (position) => HEAD + (position - view.top) * view.scale;
const toPosition = (y) => view.top + (y - HEAD) / view.scale;
const eventY = (i) => toY(view.axis.position[i]);
/** The x of an event's mark: on its lane's line, or halfway for a lost message. */
const eventX = (i) => {
  if (events.kind[i] !== KIND.lost) return lifeX(events.lane[i]);
  const message = events.of[i];
  return (lifeX(messages.from[message]) + lifeX(messages.to[message])) / 2;
};

/** The scale at which the whole run fits, with a margin. */
const leastScale = () => (bodyHeight() - 14 - BELOW) / view.axis.length;
function mostScale() {
  const { name, fold, length } = view.axis;
  if (name === 'steps') return Math.max(ROW_MOST, leastScale());
  const unit = name === 'folded' ? fold / 40 : Math.max(1, length / 4e9);
  return Math.max(ROW_MOST / unit, leastScale());
}

function keepInside() {
  view.scale = Math.min(mostScale(), Math.max(leastScale(), view.scale));
  const margin = 14 / view.scale;
  const lowest = view.axis.length + BELOW / view.scale - bodyHeight() / view.scale;
  view.top = Math.max(-margin, Math.min(view.top, Math.max(-margin, lowest)));
  layOutLanes();
  view.left = Math.max(0, Math.min(view.left, lanesLength() - lanesWidth()));
}

function zoom(factor, y = HEAD + bodyHeight() / 2) {
  const fixed = toPosition(y);
  view.scale *= factor;
  view.scale = Math.min(mostScale(), Math.max(leastScale(), view.scale));
  view.top = fixed - (y - HEAD) / view.scale;
  changed();
}

function pan(dx, dy) {
  view.left += dx;
  view.top += dy / view.scale;
  changed();
}

function widen(factor) {
  const middle = (view.left + lanesWidth() / 2) / lanesLength();
  view.widen = Math.min(6, Math.max(1, view.widen * factor));
  layOutLanes();
  view.left = middle * lanesLength() - lanesWidth() / 2;
  changed();
}

/** Scrolls and zooms to an interval of positions. */
function showBetween(from, until) {
  const length = Math.max(until - from, 1e-9);
  view.scale = Math.min(mostScale(), (bodyHeight() - 60) / length);
  view.scale = Math.max(leastScale(), view.scale);
  view.top = (from + until) / 2 - bodyHeight() / 2 / view.scale;
  changed();
}

function fit() {
  view.scale = 0;
  view.top = 0;
  changed();
}

/** Scrolls an event into view, and zooms in if events are too dense there. */
function reveal(i) {
  const position = view.axis.position[i];
  const near = lastAtMost(visible, i);
  const [first, last] = [visible[Math.max(0, near - 20)], visible[Math.min(visible.length - 1, near + 20)]];
  if (visible.length > 40) {
    const room = Math.max(view.axis.position[last] - view.axis.position[first], 1e-9);
    view.scale = Math.min(mostScale(), Math.max(view.scale, bodyHeight() / room / 2));
  }
  const y = toY(position);
  if (!(y > HEAD + 40 && y < view.height - 60)) view.top = position - bodyHeight() * 0.45 / view.scale;
  const x = laneX(events.lane[i]);
  if (x < GUTTER) view.left += x - GUTTER;
  const beyond = x + laneWidth(events.lane[i]) - GUTTER - lanesWidth();
  if (beyond > 0) view.left += beyond;
  changed();
}

/** The range of indices in `visible` of the events between two heights on the screen, end exclusive. */
function placesBetween(y0, y1) {
  const { position } = view.axis;
  const first = (limit) => {
    let [low, high] = [0, visible.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (position[visible[middle]] < limit) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return [first(toPosition(y0)), first(toPosition(y1))];
}

function setAxis(name) {
  // Keeps the time in the middle and the number of events on the screen.
  const middle = view.axis && view.axis.time(toPosition(HEAD + bodyHeight() / 2));
  const inSight = view.axis && placesBetween(HEAD, view.height);
  const wholeInSight = view.axis && view.scale <= leastScale() * 1.01;
  const selectedY = view.axis && view.selected >= 0 ? eventY(view.selected) : NaN;
  view.axis = makeAxis(name, visible);
  if (inSight && !wholeInSight && inSight[1] - inSight[0] > 1) {
    const last = Math.min(inSight[1], visible.length) - 1;
    const first = Math.min(inSight[0], last);
    const room = Math.abs(view.axis.position[visible[last]] - view.axis.position[visible[first]]);
    view.scale = bodyHeight() / Math.max(room, 1e-9);
    keepInside();
    view.top = selectedY > HEAD && selectedY < view.height
      ? view.axis.position[view.selected] - (selectedY - HEAD) / view.scale
      : view.axis.of(middle) - bodyHeight() / 2 / view.scale;
  } else {
    view.scale = 0;
  }
  changed();
}
