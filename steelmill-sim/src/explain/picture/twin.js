// A green run beside the red one: its machines follow as lanes of their own, shown on demand. What both runs have in common at
// the beginning is drawn in the red run's lanes alone.

const twin = picture.twin;
const twinLanes = new Set(twin ? twin.lanes : []);
const isTwin = (i) => twinLanes.has(events.lane[i]);
/** The red run's lane of a green run's. */
const originalLane = (lane) => (twinLanes.has(lane) ? twin.lanes.indexOf(lane) : lane);

/** Of a green run's part of the picture only what goes beyond the common part is drawn. */
const isCommon = (lane, last) => twinLanes.has(lane) && last < twin.common;

const TWIN_FEW = 24; // how many of the first events that differ are among the few that matter

/** What happens first where the runs part, and the green run's answer to what the red run answered wrongly. */
function fewOfTwin() {
  const few = new Set();
  if (!twin) return few;
  const apart = indicesOfBoth(twin.common, isPlain);
  for (const inTwin of [false, true]) apart.filter((i) => isTwin(i) === inTwin).slice(0, TWIN_FEW).forEach((i) => addWhole(few, i));
  const { verdict } = story;
  if (verdict < 0) return few;
  const same = operations.invoke.findIndex((_, n) => twinLanes.has(operations.lane[n]) && operations.client[n] === operations.client[verdict]
    && operations.what[n] === operations.what[verdict] && operations.key[n] === operations.key[verdict] && endOfOperation(n) >= twin.common);
  if (same >= 0) wayOf(same).concat(endOfOperation(same)).forEach((i) => addWhole(few, i));
  return few;
}

function indicesOfBoth(from, is) {
  const found = [];
  for (let i = from; i < events.count && found.length < 2000; i++) if (is(i)) found.push(i);
  return found;
}

function toggleTwin() {
  if (!twin) return;
  filter.twin = !filter.twin;
  byId('twin').setAttribute('aria-pressed', String(filter.twin));
  filterChanged();
  showPanel();
  if (filter.few) fit();
  else if (filter.twin) showBetween(...[-15, 40].map((by) => view.axis.position[visible[Math.max(0, Math.min(visible.length - 1, lastAtMost(visible, twin.common) + by))]]));
}

/** A line from which on the runs differ. */
function drawParting() {
  if (!twin || !filter.twin || twin.common >= events.count) return;
  const y = Math.round(eventY(twin.common)) - 4.5;
  context.strokeStyle = colour.good;
  context.lineWidth = 1.5;
  context.setLineDash([10, 4]);
  context.beginPath();
  context.moveTo(GUTTER, y);
  context.lineTo(GUTTER + lanesWidth(), y);
  context.stroke();
  context.setLineDash([]);
  context.font = `600 ${FONT}`;
  context.textAlign = 'right';
  haloed('the same until here', GUTTER + lanesWidth() - 6, y - 8, colour.good);
}

/** What the green run is, for the panel. */
function twinText() {
  if (!twin || !filter.twin) return [];
  return [element('h2', {}, 'Beside it: a run that passes'), element('p', { class: 'muted' },
    `Its machines are marked ✓. It is the nearest run that passes: ${twin.differs}. Both are the same until ${clock(events.at[Math.min(twin.common, events.count - 1)], 1e3)} s.`)];
}
