// Starts the page, and fills the header.

function makeHeader() {
  const { failure } = picture;
  byId('title').textContent = picture.title;
  byId('when').append(...(failure ? [element('b', {}, 'failed'), ` at ${clock(failure.at, 1e3)} s`] : ['passed']));
  const { turn } = story;
  if (turn) {
    byId('when').append(', ', element('button', { type: 'button', title: 'Shows what happened then', on: { click: () => showAround(turn) } },
      `inevitable from ${clock(turn.until, 1e3)} s on`));
  }
  showTale();
  showFailure();
  for (const { text, event } of picture.faults) {
    byId('faults').append(element('li', {}, event < 0 ? element('span', { class: 'passed' }, `${text} (did not strike)`)
      : element('button', { type: 'button', title: 'Shows where it strikes', on: { click: () => select(event) } }, text)));
  }
  byId('replay').hidden = !picture.replay;
  byId('command').textContent = picture.replay ?? '';
  byId('copy').addEventListener('click', copy);
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
 * The initial view: the few events that matter, if they are chosen; else operations that cannot be ordered, else the moment
 * when the failure became inevitable, else the last fault that struck, else the failure at the end of the run, else all of it.
 */
function firstLook() {
  const blamed = operations.invoke.filter((_, n) => operations.blamed[n]);
  const { position } = view.axis;
  if (visible.length <= FEW_FROM) return fit();
  if (blamed.length > 0) {
    const ends = operations.return.filter((end, n) => operations.blamed[n] && end >= 0);
    const [from, until] = [Math.min(...blamed), Math.max(...ends, ...blamed)];
    showBetween(position[from], position[until]);
    const [first, end] = placesBetween(HEAD, view.height);
    if (end - first > 40) return undefined;
    return showBetween(position[visible[Math.max(0, lastAtMost(visible, from) - 15)]], position[visible[Math.min(visible.length - 1, lastAtMost(visible, until) + 15)]]);
  }
  if (picture.failure && story.turn) return showAround(story.turn);
  if (picture.failure && story.strikes.length > 0) {
    const place = lastAtMost(visible, story.strikes.at(-1));
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
window.picture = { data: picture, view, drawn, events, filter, search, related, story, eventText, eventY, twin, latencies, spotsOf, eventAt, lifeX, messages, operations, states, select, KIND, FATE,
  visible: () => visible, lanes: () => shownLanes };
