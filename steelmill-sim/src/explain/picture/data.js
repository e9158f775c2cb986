// Decodes the page's data (see columns.rs): columns become typed arrays.

const picture = JSON.parse(document.getElementById('data').textContent);
const words = picture.words;
const lanes = picture.lanes;
const tasks = picture.tasks;
const messages = picture.messages;
const connections = picture.connections;
const logs = picture.logs;
const operations = picture.operations;
const states = picture.states;
const bands = picture.bands;
const KIND = Object.fromEntries(picture.kinds.map((name, number) => [name, number]));
const FATE = Object.fromEntries(picture.fates.map((name, number) => [name, number]));

const events = decode(picture.events);
const END = picture.end;

function decode(columns) {
  const count = columns.at.length;
  const at = new Float64Array(count);
  const cause = Int32Array.from(columns.cause);
  let now = 0;
  for (let i = 0; i < count; i++) {
    // Times are encoded as differences to the previous event, causes as distances in events; 0 is no cause.
    now += columns.at[i];
    at[i] = now;
    cause[i] = cause[i] > 0 ? i - cause[i] : -1;
  }
  return {
    count, at, cause,
    kind: Uint8Array.from(columns.kind),
    lane: Int32Array.from(columns.lane),
    task: Int32Array.from(columns.task),
    of: Int32Array.from(columns.of),
  };
}

// Effects, the inverse of causes, as linked lists: the first effect of each event, and the next with the same cause.
const effects = (() => {
  const first = new Int32Array(events.count).fill(-1);
  const next = new Int32Array(events.count).fill(-1);
  for (let i = events.count - 1; i >= 0; i--) {
    const cause = events.cause[i];
    if (cause < 0) continue;
    next[i] = first[cause];
    first[cause] = i;
  }
  return { first, next };
})();

const word = (number) => (number < 0 ? '' : words[number]);
const laneName = (lane) => (lane < 0 ? 'outside of machines' : `${lanes[lane] ?? `machine ${lane}`}${twinLanes.has(lane) ? ' ✓' : ''}`);

/** The daemon that owns an event's task, as an index into `words`; -1 if there is none. */
const daemonOf = (i) => (events.task[i] < 0 ? -1 : tasks.daemon[events.task[i]]);

/** The text of an event, one line. */
function eventText(i) {
  const of = events.of[i];
  switch (events.kind[i]) {
    case KIND.message: return `to ${laneName(messages.to[of])}: ${content(of)}`;
    case KIND.arrival: return `from ${laneName(messages.from[of])}: ${content(of)}`;
    case KIND.lost: return `lost, from ${laneName(messages.from[of])} to ${laneName(messages.to[of])}: ${content(of)}`;
    case KIND.log: return word(logs.text[of]);
    case KIND.state: return `${stateOwner(of)} ${word(states.state[of])}`;
    case KIND.invoke: return `invokes ${word(operations.what[of])}`;
    case KIND.return: return operationText(of);
    default: return word(of);
  }
}

function content(message) {
  const what = word(messages.what[message]);
  const bytes = messages.bytes[message];
  return bytes > 0 ? `${what ? `${what}, ` : ''}${bytes} ${bytes === 1 ? 'byte' : 'bytes'}` : what;
}

/** The label of a message's arrow: its content without the length. */
const short = (message) => word(messages.what[message]) || `${messages.bytes[message]} B`;

function stateOwner(state) {
  const daemon = word(states.daemon[state]);
  const factory = word(states.factory[state]);
  return daemon ? `${daemon} (${factory})` : factory;
}

/** The event at which an operation ends: its invocation, if it never returned. */
const endOfOperation = (n) => (operations.return[n] < 0 ? operations.invoke[n] : operations.return[n]);

function operationText(operation) {
  return word(operations.told[operation]).replace(' -> ', ' → ');
}

/** The machine, daemon and task of an event. */
function origin(i) {
  const task = events.task[i];
  const parts = [laneName(events.lane[i])];
  if (task >= 0) {
    if (tasks.daemon[task] >= 0) parts.push(word(tasks.daemon[task]));
    parts.push(word(tasks.name[task]));
  }
  return parts.join(' · ');
}

/** The searchable text of each event, in lower case; made on first use. */
const searchTexts = (() => {
  let texts = null;
  return () => {
    texts ??= Array.from({ length: events.count }, (_, i) => {
      const extra = events.kind[i] === KIND.log ? ` ${word(logs.target[events.of[i]])}` : '';
      return `${eventText(i)} ${origin(i)}${extra}`.toLowerCase();
    });
    return texts;
  };
})();
