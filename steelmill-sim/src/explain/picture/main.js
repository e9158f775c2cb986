// Starts the page, and fills the header.

function makeHeader() {
  const { failure } = picture;
  byId('title').textContent = picture.title;
  byId('when').append(...(failure ? [element('b', {}, 'failed'), ` at ${clock(failure.at, 1e3)} s`] : ['passed']));
  const turn = turningPoint();
  if (turn) {
    byId('when').append(', ', element('button', { type: 'button', title: 'Shows what happened then', on: { click: () => showAround(turn) } },
      `inevitable from ${clock(turn.until, 1e3)} s on`));
  }
  byId('story').textContent = storyText();
  // The header is small: empty lines are removed.
  byId('failure').textContent = failure ? failure.text.replace(/\n(\s*\n)+/g, '\n') : '';
  for (const { text, event } of picture.faults) {
    byId('faults').append(element('li', {}, event < 0 ? element('span', { class: 'passed' }, `${text} (did not strike)`)
      : element('button', { type: 'button', title: 'Shows where it strikes', on: { click: () => select(event) } }, text)));
  }
  operations.blamed.forEach((blamed, n) => {
    if (!blamed) return;
    const look = element('button', { type: 'button', class: 'blamed', title: 'Cannot be ordered: shows where it returned', on: { click: () => select(
      endOfOperation(n)) } }, `${word(operations.client[n])} ${operationText(n)}`);
    byId('faults').append(element('li', {}, look));
  });
  byId('replay').hidden = !picture.replay;
  byId('command').textContent = picture.replay ?? '';
  byId('copy').addEventListener('click', copy);
}

/** The two sampled times between which the failure became inevitable; null if unknown. */
function turningPoint() {
  const { failure_rates } = picture;
  const certain = failure_rates.findLastIndex(({ failed, runs }) => failed < runs) + 1;
  if (failure_rates.length < 2 || certain >= failure_rates.length) return null;
  return { from: failure_rates[Math.max(0, certain - 1)].until, until: failure_rates[certain].until };
}

/** Scrolls to the interval between two times, with some context. */
function showAround({ from, until }) {
  if (visible.length === 0) return;
  const place = (time, further) => visible[Math.max(0, Math.min(visible.length - 1, visible.findLastIndex((i) => events.at[i] <= time) + further))];
  select(-1);
  showBetween(view.axis.position[place(from, -5)], view.axis.position[place(until, 5)]);
}

async function copy() {
  const { replay } = picture;
  try {
    await navigator.clipboard.writeText(replay);
  } catch {
    // The clipboard may be refused for a page from disk: then the command is at least selected.
    getSelection().selectAllChildren(byId('command'));
    document.execCommand('copy');
  }
  byId('copy').textContent = 'Copied';
  setTimeout(() => { byId('copy').textContent = 'Copy'; }, 1500);
}

/**
 * The initial view: operations that cannot be ordered, else the moment when the failure became inevitable, else the last
 * fault that struck, else the failure at the end of the run, else all of it.
 */
function firstLook() {
  const blamed = operations.invoke.filter((_, n) => operations.blamed[n]);
  const { position } = view.axis;
  if (visible.length <= 150) return fit();
  if (blamed.length > 0) {
    const ends = operations.return.filter((end, n) => operations.blamed[n] && end >= 0);
    const [from, until] = [Math.min(...blamed), Math.max(...ends, ...blamed)];
    showBetween(position[from], position[until]);
    const [first, end] = placesBetween(HEAD, view.height);
    if (end - first > 40) return undefined;
    return showBetween(position[visible[Math.max(0, lastAtMost(visible, from) - 15)]], position[visible[Math.min(visible.length - 1, lastAtMost(visible, until) + 15)]]);
  }
  const turn = picture.failure && turningPoint();
  if (turn) return showAround(turn);
  if (picture.failure && story.lastStrike >= 0) {
    const place = lastAtMost(visible, story.lastStrike);
    return showBetween(position[visible[Math.max(0, place - 15)]], position[visible[Math.min(visible.length - 1, place + 40)]]);
  }
  if (picture.failure) return showBetween(position[visible[visible.length - Math.min(100, visible.length)]], view.axis.length);
  return fit();
}

applyFilter();
setTheme(storedTheme());
systemIsDark.addEventListener('change', () => setTheme(theme));
makeHeader();
makeToolbar();
makePointer();
makeKeys();
resize();
view.axis = makeAxis('folded', visible);
runSearch();
updateFilterCounts();
firstLook();
if (linkedEvent() >= 0) select(linkedEvent());
else showPanel();
frame();
addEventListener('hashchange', () => linkedEvent() >= 0 && select(linkedEvent()));
new ResizeObserver(resize).observe(canvas.parentElement);

// For tests, and for debugging in the console.
window.picture = { data: picture, view, drawn, events, filter, search, related, story, eventText, eventY, eventAt, lifeX, messages, operations, states, select, KIND, FATE,
  visible: () => visible, lanes: () => shownLanes };
