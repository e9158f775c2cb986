// Search in events, log lines and operations; all words must match, in any order.

const search = { found: [], place: -1, text: '' };
const searchBox = document.getElementById('search');

function runSearch() {
  search.text = searchBox.value;
  const terms = search.text.toLowerCase().split(/\s+/).filter(Boolean);
  search.found = [];
  search.place = -1;
  if (terms.length > 0) {
    const texts = searchTexts();
    for (const i of visible) if (terms.every((term) => texts[i].includes(term))) search.found.push(i);
  }
  updateMatchCount();
  overview.stale = true;
  changed();
}

function step(by) {
  const { found } = search;
  if (found.length === 0) return;
  if (search.place < 0) {
    // Starts at the selection, or at the upper edge.
    const here = view.selected >= 0 ? view.selected : visible[Math.min(visible.length - 1, placesBetween(HEAD, HEAD + 1)[0])] ?? 0;
    const before = lastAtMost(found, by > 0 && view.selected < 0 ? here - 1 : by > 0 ? here : here - 1);
    search.place = by > 0 ? (before + 1) % found.length : (before + found.length) % found.length;
  } else {
    search.place = (search.place + by + found.length) % found.length;
  }
  updateMatchCount();
  select(found[search.place]);
}

function updateMatchCount() {
  const { found, place, text } = search;
  const said = text.trim() === '' ? '' : found.length === 0 ? 'none'
    : `${place < 0 ? '' : `${(place + 1).toLocaleString('en')} of `}${found.length.toLocaleString('en')}`;
  document.getElementById('matches').textContent = said;
  for (const id of ['previous', 'next']) {
    document.getElementById(id).disabled = found.length === 0;
    document.getElementById(id).hidden = text.trim() === '';
  }
}
