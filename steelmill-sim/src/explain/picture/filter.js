// Filters events by machine, daemon, connection and kind, or down to the few that matter. A lane without events is never
// shown.

const GROUPS = [
  ['messages', 'Messages', ['message', 'arrival', 'lost']],
  ['logs', 'Logs', ['log']],
  ['operations', 'Operations', ['invoke', 'return']],
  ['states', 'States', ['state']],
  ['faults', 'Faults', ['fault', 'machine', 'link']],
  ['tasks', 'Tasks', ['spawn', 'end', 'timer']],
  ['other', 'Other', ['count', 'failure']],
  // Of a TCP handshake that went well, all but the first message.
  ['handshakes', 'Handshakes', []],
  // Tasks that a library has spawned.
  ['library', 'Library tasks', []],
];
const GROUP = Object.fromEntries(GROUPS.map(([name], group) => [name, group]));
const groupOfKind = new Uint8Array(picture.kinds.length);
GROUPS.forEach(([, , kinds], group) => kinds.forEach((kind) => { groupOfKind[KIND[kind]] = group; }));

const groupOf = (i) => {
  const group = groupOfKind[events.kind[i]];
  if (group === GROUP.messages && isHandshake(events.of[i])) return GROUP.handshakes;
  return group === GROUP.tasks && isOfLibrary(events.task[i]) ? GROUP.library : group;
};

function isHandshake(message) {
  return messages.fate[message] === FATE.delivered && messages.bytes[message] === 0 && ['accepted', 'connected'].includes(word(messages.what[message]));
}

/** Whether a task was spawned by a dependency: cargo keeps those in its registry, rustc the standard library in its own folder. */
function isOfLibrary(task) {
  return task >= 0 && /registry[/\\]src|git[/\\]checkouts|^\/?rustc|steelmill-(core|sim|runtime)[/\\]src/.test(word(tasks.place[task]));
}

// A run with more events than this opens with the few that matter, unless they are fewer than it takes to tell anything.
const FEW_FROM = 150;
const FEW_LEAST = 6;

const filter = {
  groups: GROUPS.map(([name]) => !['tasks', 'handshakes', 'library'].includes(name)),
  few: events.count > FEW_FROM && story.few.size >= FEW_LEAST, // only the story's
  twin: false, // the green run, too
  hiddenLanes: new Set(),
  hiddenDaemons: new Set(), // indices into `words`; -1 is no daemon
  connection: -1,
  patterns: [], // in lower case; events that contain one are hidden
};

/** The number of events by kind, by lane and by daemon. */
const eventCounts = (() => {
  const [groups, perLane, daemons] = [new Array(GROUPS.length).fill(0), new Map(), new Map()];
  const add = (map, key) => map.set(key, (map.get(key) ?? 0) + 1);
  for (let i = 0; i < events.count; i++) {
    groups[groupOf(i)]++;
    add(perLane, events.lane[i]);
    add(daemons, daemonOf(i));
  }
  // A machine that is only sent to has a lane, too.
  for (const to of messages.to) if (to >= 0 && !perLane.has(to)) perLane.set(to, 0);
  perLane.delete(-1);
  return { groups, lanes: perLane, daemons };
})();

/** The lanes with events, in order. */
const activeLanes = [...eventCounts.lanes.keys()].sort((a, b) => a - b);

const shown = new Uint8Array(events.count);
let visible = new Int32Array(0); // the shown events, in order
let shownLanes = [];             // the shown lanes, in order
const column = new Int32Array(lanes.length).fill(-1); // the index of a lane in `shownLanes`

/** A machine is hidden or shown in both runs. */
const isHidden = (lane) => filter.hiddenLanes.has(originalLane(lane)) || (twinLanes.has(lane) && !filter.twin);

const twinFew = (() => {
  let few = null;
  return () => few ??= fewOfTwin();
})();

function passes(i) {
  const kind = events.kind[i];
  if (kind === KIND.failure) return true;
  if (isTwin(i) && !filter.twin) return false;
  if (filter.few && !story.few.has(i) && !(filter.twin && twinFew().has(i))) return false;
  if (!filter.groups[groupOf(i)]) return false;
  if (events.lane[i] >= 0 && isHidden(events.lane[i])) return false;
  if (filter.patterns.length > 0 && filter.patterns.some((pattern) => searchTexts()[i].includes(pattern))) return false;
  if (filter.hiddenDaemons.size > 0 && filter.hiddenDaemons.has(daemonOf(i))) return false;
  if (isMessage(i)) {
    const message = events.of[i];
    if (filter.connection >= 0 && messages.connection[message] !== filter.connection) return false;
    if (isHidden(messages.from[message]) || isHidden(messages.to[message])) return false;
  }
  return true;
}

function applyFilter() {
  const indices = new Int32Array(events.count);
  let count = 0;
  for (let i = 0; i < events.count; i++) {
    shown[i] = passes(i) ? 1 : 0;
    if (shown[i]) indices[count++] = i;
  }
  visible = indices.subarray(0, count);
  shownLanes = activeLanes.filter((lane) => !isHidden(lane));
  column.fill(-1);
  shownLanes.forEach((lane, place) => { column[lane] = place; });
}
