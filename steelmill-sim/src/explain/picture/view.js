// Which part of the picture is on the screen, and where things are there. Pixels are CSS pixels of the canvas.

const HEAD = 30;          // the machines' names
const GUTTER_TIME = 96;   // the times
const GUTTER_CURVE = picture.failure_rates.length > 1 ? 62 : 0; // how often it fails when all goes otherwise from there on
const GUTTER = GUTTER_TIME + GUTTER_CURVE;
const OVERVIEW = 58;      // all of the run, at the right
const BELOW = 28;         // after the end of the run, for what failed to be told without hiding what led to it
const LANE_LEAST = 64;
const ROW_MOST = 90;      // zoomed in no further than this between two events

const view = {
  axis: null, width: 0, height: 0,
  top: 0,        // the position at the upper edge
  scale: 1,      // pixels for a unit of position
  left: 0,       // how far the lanes are scrolled, in pixels
  widen: 1,      // how much wider the lanes are than need be
  selected: -1,
};

const bodyHeight = () => Math.max(50, view.height - HEAD);
const lanesWidth = () => Math.max(80, view.width - GUTTER - OVERVIEW);

// A lane is as wide as it has something to say: hardly anything happens on a quiet one, and operations want room.
let laneEdges = new Float64Array(1);
function layOutLanes() {
  const busiest = Math.max(1, ...tally.lanes.values());
  const share = (lane) => (lanesWithOperations.has(lane) ? 1.55 : tally.lanes.get(lane) < Math.min(6, busiest / 50) ? .55 : 1);
  const shares = shownLanes.map(share);
  const total = shares.reduce((a, b) => a + b, 0);
  const unit = Math.max(LANE_LEAST, Math.min(420, lanesWidth() / Math.max(1, total))) * view.widen;
  laneEdges = new Float64Array(shares.length + 1);
  shares.forEach((share, place) => { laneEdges[place + 1] = laneEdges[place] + share * unit; });
}

const lanesLength = () => laneEdges[laneEdges.length - 1];
const laneWidth = (lane) => laneEdges[column[lane] + 1] - laneEdges[column[lane]];
/** The left edge of a lane; NaN where it is not shown. */
const laneX = (lane) => (lane < 0 || column[lane] < 0 ? NaN : GUTTER + laneEdges[column[lane]] - view.left);
/** The line that a machine's events stand on. */
const lifeX = (lane) => laneX(lane) + Math.min(Math.max(20, laneWidth(lane) * (lanesWithOperations.has(lane) ? .12 : .26)), 90);
const toY = (position) => HEAD + (position - view.top) * view.scale;
const toPosition = (y) => view.top + (y - HEAD) / view.scale;
const eventY = (i) => toY(view.axis.position[i]);
/** Where an event's mark is: on its lane's line, unless it is a message that got only half of the way. */
const eventX = (i) => {
  if (events.kind[i] !== KIND.lost) return lifeX(events.lane[i]);
  const message = events.of[i];
  return (lifeX(messages.from[message]) + lifeX(messages.to[message])) / 2;
};

/** The least scale shows all of it, with some room at either end. */
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

/** Shows all between two positions. */
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

/** Brings an event onto the screen, and zooms in where it would be one of too many. */
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

/** The places in `visible` of the events between two heights on the screen: from the first to before the second. */
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
  // What was in the middle stays there, and as much of it in sight as before, in events.
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
