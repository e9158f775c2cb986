// What happened, in words: one sentence for each step from the fault to the failure. A click shows the step.

const FAULTS_TOLD = 3;

/** The steps, as pairs of an event (-1 if there is none) and its sentence; empty if the run passed. */
function tale() {
  const { failure } = picture;
  if (!failure) return [];
  const told = [];
  const earlier = story.strikes.length - FAULTS_TOLD;
  if (earlier > 0) told.push([story.strikes[0], `${earlier === 1 ? 'One fault strikes' : `${earlier} faults strike`} from ${seconds(story.strikes[0])} on.`]);
  story.strikes.slice(-FAULTS_TOLD).forEach((strike) => told.push([strike, faultTold(strike)]));
  if (told.length === 0 && story.turn && story.verdict < 0) told.push([firstAt(story.turn.from), `From ${clock(story.turn.until, 1e6)} s on it is bound to fail.`]);
  if (story.log >= 0) told.push([story.log, `At ${seconds(story.log)} ${laneName(events.lane[story.log])} logs “${eventText(story.log)}”.`]);
  if (story.verdict >= 0) {
    told.push([story.key, verdictTold(story.verdict)]);
  } else {
    if (story.answer >= 0) told.push([story.answer, `At ${seconds(story.answer)} ${laneName(events.lane[story.answer])} sends ${eventText(story.answer).replace(/^to ([^:]*): (.*)$/, '$1 “$2”')}.`]);
    told.push([failure.event, `At ${clock(failure.at, 1e6)} s ${failureTold()}.`]);
  }
  return told;
}

const seconds = (i) => `${clock(events.at[i], 1e6)} s`;

function faultTold(strike) {
  const said = spokenOf(strike);
  const end = endOfFault(strike);
  const what = said >= 0 ? `${eventText(said)} (at ${seconds(said)})` : eventText(strike);
  return `At ${seconds(strike)} ${what}${end >= 0 && said < 0 ? `, until ${seconds(end)}` : ''}.`;
}

/** The operation that contradicts another, and that other: the last one to return before it was invoked. */
function verdictTold(n) {
  const [what, reply] = operationText(n).split(' → ');
  const who = story.answer >= 0 ? laneName(story.machine) : 'a server';
  const does = reply === undefined ? `confirms ${owned(n)} ${what}` : `answers ${owned(n)} ${what} with ${reply}`;
  const before = operations.invoke.map((_, other) => other)
    .filter((other) => operations.blamed[other] && other !== n && operations.return[other] >= 0 && operations.return[other] < operations.invoke[n])
    .reduce((last, other) => (last < 0 || operations.return[other] > operations.return[last] ? other : last), -1);
  const though = before < 0 ? 'which no order of the operations explains'
    : `though ${owned(before)} ${operationText(before)} had returned at ${seconds(operations.return[before])}`;
  return `At ${seconds(endOfOperation(n))} ${who} ${does}, ${though}.`;
}

const owned = (n) => `${word(operations.client[n])}’s`;

function failureTold() {
  const { failure } = picture;
  const first = failure.text.split('\n')[0].replace(/[.:]$/, '');
  if (failure.lane > 0) return `${laneName(failure.lane)} fails: ${first}`;
  return /^(deadlock|livelock|time limit)/.test(first) ? `there is a ${first}` : `the check fails: ${first}`;
}

function showTale() {
  byId('story').append(...tale().flatMap(([i, text]) => [
    i < 0 ? text : element('button', { type: 'button', title: 'Shows this event', 'data-event': i, on: { click: () => select(i) } }, text), ' ']));
}

/** The list of the events that matter most, for the panel. */
function storyList() {
  if (!picture.failure || story.events.length === 0) return [];
  const list = element('ol', { id: 'story-events' }, ...story.events.map((i) => element('li', {}, element('button', { type: 'button',
    'data-event': i, on: { click: () => select(i) } }, element('span', { class: 'what' }, i === picture.failure.event ? failureTold() : eventText(i)),
  element('span', { class: 'at' }, seconds(i)), element('span', { class: 'who' }, origin(i))))));
  return [element('h2', {}, 'What happened'), list];
}

// The text of a failure is shown up to so many lines, and without its backtrace; the rest is a click away.
const FAILURE_LINES = 10;

function showFailure() {
  byId('failure').hidden = !picture.failure;
  if (!picture.failure) return;
  // The header is small: empty lines are removed.
  const lines = picture.failure.text.replace(/\n(\s*\n)+/g, '\n').split('\n');
  // One line is a part of the sentence above it.
  byId('failure').hidden = lines.length === 1 && story.verdict < 0;
  const backtrace = lines.findIndex((line) => /^\s*(0: |stack backtrace)/.test(line));
  const shown = Math.min(backtrace < 0 ? lines.length : backtrace, lines.length <= FAILURE_LINES + 2 ? lines.length : FAILURE_LINES);
  byId('failure').append(lines.slice(0, shown).join('\n'));
  const rest = lines.slice(shown);
  if (rest.length === 0) return;
  byId('failure').append(element('details', {}, element('summary', {}, `${rest.length} more lines${backtrace === shown ? ': the backtrace' : ''}`), rest.join('\n')));
}
