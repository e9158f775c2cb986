// The few events that matter, found from the faults of the plan, the operations that contradict each other, the machine that
// gave the wrong answer or failed, and what caused it. The page opens with these events alone.

const STORY_MOST = 12; // the maximum number of events in the list of what happened

const story = (() => {
  const { failure } = picture;
  const blamed = operations.invoke.map((_, n) => n).filter((n) => operations.blamed[n]);
  // Of operations that contradict each other, the last to return is the one that shows it.
  const verdict = blamed.reduce((last, n) => (last < 0 || endOfOperation(n) > endOfOperation(last) ? n : last), -1);
  const key = verdict >= 0 ? endOfOperation(verdict) : failure?.event ?? -1;
  const turn = turningPoint(verdict < 0 ? Infinity : events.at[key]);
  const strikes = picture.faults.map(({ event }) => event).filter((event) => event >= 0 && (key < 0 || event < key)).sort((a, b) => a - b);
  if (!failure) return { verdict, key, turn, strikes, answer: -1, machine: -1, log: -1, events: [], few: new Set() };

  const from = strikes[0] ?? (turn ? firstAt(turn.from) : 0);
  const until = key < 0 ? events.count : key;
  const answer = answerBefore(key, verdict >= 0 ? operations.lane[verdict] : failure.lane);
  const machine = answer >= 0 ? events.lane[answer] : failure.lane;
  const between = (is) => indicesBetween(from, until, is);
  const logs = between((i) => events.kind[i] === KIND.log && events.lane[i] === machine);
  const endings = between((i) => events.kind[i] === KIND.state && events.lane[i] === machine && isEnding(i));
  const log = mostTelling(logs, endings, answer < 0 ? -1 : daemonOf(answer));

  const told = new Set(strikes.slice(-4));
  for (const i of [spokenOf(strikes.at(-1) ?? -1), log, endings.at(-1) ?? -1, answer, failure.event]) if (i >= 0) told.add(i);
  blamed.slice(-4).forEach((n) => told.add(endOfOperation(n)));
  const troubled = between((i) => events.kind[i] === KIND.message && messages.fate[events.of[i]] !== FATE.delivered);
  if (verdict < 0) troubled.slice(0, 3).forEach((i) => told.add(i));
  const atTurn = turn ? indicesBetween(firstAt(turn.from), firstAt(turn.until + 1), isPlain) : [];
  if (told.size < 4) atTurn.filter((i) => events.kind[i] !== KIND.arrival).slice(-6).forEach((i) => told.add(i));
  if (told.size < STORY_MOST) logs.slice(told.size - STORY_MOST).forEach((i) => told.size < STORY_MOST && told.add(i));

  const few = new Set(told);
  const add = (list) => list.forEach((i) => addWhole(few, i));
  add(strikes.map(endOfFault).filter((i) => i >= 0));
  add(logs.slice(-8));
  add(between((i) => events.kind[i] === KIND.log && isLoudLog(i)).slice(-12));
  add(between((i) => events.kind[i] === KIND.state && events.lane[i] === machine).slice(-8));
  add(between((i) => events.kind[i] === KIND.fault || isRestart(i)).slice(0, 12));
  add(troubled.slice(0, 8));
  strikes.slice(-4).forEach((strike) => add(messagesAround(strike)));
  blamed.slice(-4).forEach((n) => add(wayOf(n)));
  add(causesOf(key).filter(isPlain).slice(0, 12));
  add(atTurn.slice(-16));
  return { verdict, key, turn, strikes, answer, machine, log, events: inOrder(told).slice(-STORY_MOST), few };
})();

/**
 * The two sampled times between which the failure became inevitable, at the latest when it had happened; null if unknown, or
 * if it was so from the beginning.
 */
function turningPoint(happened) {
  const { failure_rates } = picture;
  const certain = failure_rates.findLastIndex(({ failed, runs }) => failed < runs) + 1;
  if (certain < 1 || certain >= failure_rates.length) return null;
  const [from, until] = [failure_rates[certain - 1].until, failure_rates[certain].until];
  return { from: Math.min(from, happened), until: Math.min(until, happened) };
}

/** The message from another machine that led to an event without further waiting; -1 if there is none. */
function answerBefore(key, home) {
  if (key < 0 || home < 0) return -1;
  return causesOf(key, (cause) => events.kind[cause] === KIND.timer)
    .find((cause) => events.kind[cause] === KIND.message && events.lane[cause] !== home) ?? -1;
}

/** The causes of an event, latest first, until one that meets a condition. */
function causesOf(i, isEnd = () => false) {
  const chain = [];
  for (let cause = i < 0 ? -1 : events.cause[i]; cause >= 0 && chain.length < 5000 && !isEnd(cause); cause = events.cause[cause]) chain.push(cause);
  return chain;
}

/** The events on the way from an operation's reply back to its invocation. */
function wayOf(n) {
  const invoke = operations.invoke[n];
  return [invoke, ...causesOf(endOfOperation(n), (cause) => cause <= invoke).filter(isPlain)];
}

/** Of the log lines of a machine, the one that says most: where something ended, of the daemon that answered, loud, or rare. */
function mostTelling(logs, endings, daemon) {
  const times = new Map();
  for (let i = 0; i < events.count; i++) if (events.kind[i] === KIND.log) times.set(placeOf(i), (times.get(placeOf(i)) ?? 0) + 1);
  const isNearEnding = (i) => endings.some((end) => Math.abs(events.at[end] - events.at[i]) < 1e6);
  const worth = (i) => (isNearEnding(i) ? 4 : 0) + (daemon >= 0 && daemonOf(i) === daemon ? 2 : 0) + (isLoudLog(i) ? 1 : 0) + 1 / times.get(placeOf(i));
  return logs.reduce((best, i) => (best < 0 || worth(i) >= worth(best) ? i : best), -1);
}

/** The log line in which a scenario says what a fault of its own does: it begins with the fault's name; -1 if there is none. */
function spokenOf(strike) {
  if (strike < 0) return -1;
  const begin = `${eventText(strike)}: `;
  for (let i = strike; i < events.count && i < strike + 3000; i++) {
    if (events.kind[i] === KIND.log && !isTwin(i) && eventText(i).startsWith(begin)) return i;
  }
  return -1;
}

/** The event at which a fault ends; -1 if it does not, or at once. */
function endOfFault(strike) {
  const until = bands.find((band) => band.from === strike)?.until ?? -1;
  return until >= 0 && events.at[until] > events.at[strike] ? until : -1;
}

/** The messages to and from the machines that a fault strikes: the last ones before, and the first ones from then on. */
function messagesAround(strike) {
  const struck = bands.find((band) => band.from === strike)?.lanes ?? [];
  const concerns = (n) => !twinLanes.has(messages.to[n]) && (struck.includes(messages.from[n]) || struck.includes(messages.to[n]));
  const places = messages.sent.map((_, n) => n).filter(concerns);
  const next = places.findIndex((n) => messages.sent[n] >= strike);
  if (next < 0) return places.slice(-4).map((n) => messages.sent[n]);
  return places.slice(Math.max(0, next - 4), next + 6).map((n) => messages.sent[n]);
}

/** Adds an event; of a message both its departure and its arrival. */
function addWhole(set, i) {
  set.add(i);
  if (!isMessage(i)) return;
  const of = events.of[i];
  set.add(messages.sent[of]);
  if (messages.arrived[of] >= 0) set.add(messages.arrived[of]);
}

/** The red run's events of an interval that meet a condition. */
function indicesBetween(from, until, is) {
  const found = [];
  for (let i = Math.max(0, from); i < until; i++) if (!isTwin(i) && is(i)) found.push(i);
  return found;
}

function firstAt(time) {
  const found = events.at.findIndex((at) => at >= time);
  return found < 0 ? events.count : found;
}

function isMessage(i) {
  return events.kind[i] === KIND.message || events.kind[i] === KIND.arrival || events.kind[i] === KIND.lost;
}

/** What somebody sees from outside: not a task's beginning or end, a timer, or a state. */
function isPlain(i) {
  if (events.kind[i] === KIND.log) return !word(logs.target[events.of[i]]).startsWith('steelmill_sim::');
  return isMessage(i) || isRestart(i) || [KIND.invoke, KIND.return, KIND.fault, KIND.link].includes(events.kind[i]);
}

function isLoudLog(i) {
  return ['WARN', 'ERROR'].includes(word(logs.level[events.of[i]]));
}

/** Whether a machine starts, as opposed to recovering from something. */
function isRestart(i) {
  return events.kind[i] === KIND.machine && /^machine .* starts/.test(eventText(i));
}

function isEnding(i) {
  return /^(stopping|ended|down|winding down|pausing|draining)/.test(word(states.state[events.of[i]]));
}

/** Where a log line is written in the source, or else what it says. */
function placeOf(i) {
  const of = events.of[i];
  return logs.place[of] >= 0 ? logs.place[of] : logs.text[of];
}

function inOrder(set) {
  return [...set].sort((a, b) => a - b);
}
