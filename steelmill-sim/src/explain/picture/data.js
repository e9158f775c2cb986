// What the page was given, decoded: columns become typed arrays, and numbers get their words.

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
    // Times stand as what passed since the event before, causes as how many events ago; no cause is 0.
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

// The inverse of the causes, as linked lists: the first effect of each event, and the next one of the same cause.
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
const laneName = (lane) => (lane < 0 ? 'world' : lanes[lane] ?? `machine ${lane}`);

/** The daemon that an event's task works for, as a number of `words`; -1 where there is none. */
const daemonOf = (i) => (events.task[i] < 0 ? -1 : tasks.daemon[events.task[i]]);

/** What happened, in a line. */
function told(i) {
  const of = events.of[i];
  switch (events.kind[i]) {
    case KIND.message: return `to ${laneName(messages.to[of])}: ${content(of)}`;
    case KIND.arrival: return `from ${laneName(messages.from[of])}: ${content(of)}`;
    case KIND.lost: return `lost, from ${laneName(messages.from[of])} to ${laneName(messages.to[of])}: ${content(of)}`;
    case KIND.log: return word(logs.text[of]);
    case KIND.state: return `${stateOwner(of)} ${word(states.state[of])}`;
    case KIND.invoke: return `asks ${word(operations.what[of])}`;
    case KIND.return: return operationText(of);
    default: return word(of);
  }
}

function content(message) {
  const what = word(messages.what[message]);
  const bytes = messages.bytes[message];
  return bytes > 0 ? `${what ? `${what}, ` : ''}${bytes} ${bytes === 1 ? 'byte' : 'bytes'}` : what;
}

/** A message on its arrow: what is in it, without its length. */
const short = (message) => word(messages.what[message]) || `${messages.bytes[message]} B`;

function stateOwner(state) {
  const daemon = word(states.daemon[state]);
  const factory = word(states.factory[state]);
  return daemon ? `${daemon} (${factory})` : factory;
}

function operationText(operation) {
  return word(operations.told[operation]).replace(' -> ', ' → ');
}

/** Whose doing an event was: machine, daemon and task. */
function whose(i) {
  const task = events.task[i];
  const parts = [laneName(events.lane[i])];
  if (task >= 0) {
    if (tasks.daemon[task] >= 0) parts.push(word(tasks.daemon[task]));
    parts.push(word(tasks.name[task]));
  }
  return parts.join(' · ');
}

/** All that a search looks at, in small letters; made when first asked for. */
const haystack = (() => {
  let texts = null;
  return () => {
    texts ??= Array.from({ length: events.count }, (_, i) => {
      const extra = events.kind[i] === KIND.log ? ` ${word(logs.target[events.of[i]])}` : '';
      return `${told(i)} ${whose(i)}${extra}`.toLowerCase();
    });
    return texts;
  };
})();
