// What happened, in words: the few events that matter, found from the plan, the blamed operations and their causes.

const STORY_MOST = 12;

const story = (() => {
  const blamed = operations.invoke.map((_, n) => n).filter((n) => operations.blamed[n]);
  // Of operations that contradict each other, the last to return is the one that shows it.
  const verdict = blamed.reduce((last, n) => (last < 0 || endOfOperation(n) > endOfOperation(last) ? n : last), -1);
  const strikes = picture.faults.map(({ event }) => event).filter((event) => event >= 0);
  const found = new Set(strikes);
  blamed.slice(-4).forEach((n) => found.add(operations.invoke[n]).add(endOfOperation(n)));
  if (picture.failure?.event >= 0) found.add(picture.failure.event);

  const key = verdict >= 0 ? endOfOperation(verdict) : picture.failure?.event ?? -1;
  let answer = -1; // the message that brought the reply of the verdict's operation
  for (let cause = key, n = 0; cause >= 0 && n < 5000; cause = events.cause[cause], n++) {
    if (verdict >= 0 && answer < 0 && events.kind[cause] === KIND.message && events.lane[cause] !== events.lane[key]) answer = cause;
    if (events.kind[cause] === KIND.state && found.size < STORY_MOST) found.add(cause);
  }
  // The last log line, and the last state, of the machine that answered.
  let [log, state] = [-1, -1];
  for (let i = answer; i >= 0 && (log < 0 || state < 0); i--) {
    if (events.lane[i] !== events.lane[answer]) continue;
    if (log < 0 && events.kind[i] === KIND.log) log = i;
    if (state < 0 && events.kind[i] === KIND.state) state = i;
  }
  for (const i of [answer, log, state]) if (i >= 0) found.add(i);
  return { verdict, answer, log, lastStrike: strikes.length > 0 ? Math.max(...strikes) : -1,
    events: [...found].sort((a, b) => a - b).slice(-STORY_MOST) };
})();

/** A sentence about the failure; empty if there is nothing to say beyond its text. */
function storyText() {
  if (!picture.failure) return '';
  const at = (i) => `at ${clock(events.at[i], 1e6)} s`;
  const parts = [];
  if (story.lastStrike >= 0) parts.push(`${eventText(story.lastStrike)} ${at(story.lastStrike)}`);
  if (story.log >= 0) parts.push(`${laneName(events.lane[story.log])} said “${eventText(story.log)}” ${at(story.log)}`);
  if (story.verdict >= 0) {
    const n = story.verdict;
    const who = story.answer >= 0 ? `${laneName(events.lane[story.answer])} answered ` : '';
    parts.push(`${who}${word(operations.client[n])}’s ${operationText(n)} ${at(endOfOperation(n))}, which cannot be ordered`);
  }
  return parts.length > 0 ? `${parts.join('; ')}.` : '';
}

/** The list of the events that matter, for the panel. */
function storyList() {
  if (!picture.failure || story.events.length === 0) return [];
  const list = element('ol', { id: 'story-events' }, ...story.events.map((i) => element('li', {}, element('button', { type: 'button',
    'data-event': i, on: { click: () => select(i) } }, element('span', { class: 'what' }, eventText(i)),
  element('span', { class: 'at' }, `${clock(events.at[i], 1e6)} s`), element('span', { class: 'who' }, origin(i))))));
  return [element('h2', {}, 'What happened'), list];
}

/** The event that the address names (`#event=12`); -1 if none. */
function linkedEvent() {
  const named = /^#event=(\d+)$/.exec(location.hash);
  return named && Number(named[1]) < events.count ? Number(named[1]) : -1;
}

async function copyLink(i) {
  location.hash = `event=${i}`;
  try {
    await navigator.clipboard.writeText(location.href);
  } catch {
    // The clipboard may be refused for a page from disk: the link is in the address bar.
  }
  document.getElementById('spoken').textContent = 'The address is now a link to this event.';
}
