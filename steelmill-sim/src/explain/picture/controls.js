// Toolbar, pointer and keyboard.

const byId = (id) => document.getElementById(id);

function filterChanged() {
  const selected = view.selected;
  applyFilter();
  overview.stale = true;
  setAxis(view.axis.name);
  if (selected >= 0 && !shown[selected]) select(-1);
  runSearch();
  updateFilterCounts();
}

function updateFilterCounts() {
  const say = (id, total, hidden) => {
    byId(id).querySelector('b').textContent = hidden === 0 ? '' : `${total - hidden}/${total}`;
  };
  say('machines', activeLanes.filter((lane) => !twinLanes.has(lane)).length, filter.hiddenLanes.size);
  say('daemons', eventCounts.daemons.size, filter.hiddenDaemons.size);
}

function makeKinds() {
  GROUPS.forEach(([name, label], group) => {
    if (eventCounts.groups[group] === 0 || name === 'other') return;
    const box = element('input', { type: 'checkbox', name, checked: filter.groups[group], on: { change: () => {
      filter.groups[group] = box.checked;
      filterChanged();
      showChips();
    } } });
    byId('kinds').append(element('label', { title: `${eventCounts.groups[group].toLocaleString('en')} events` }, box, element('span', {}, label)));
  });
}

/** Key events are no tasks and no handshakes; and the tasks of libraries can be shown beside the others only. */
function showChips() {
  const show = (name, isShown) => {
    const chip = byId('kinds').querySelector(`input[name=${name}]`);
    if (chip) chip.closest('label').hidden = !isShown;
  };
  const hasOwn = eventCounts.groups[GROUP.tasks] > 0;
  show('tasks', !filter.few);
  show('handshakes', !filter.few);
  show('library', !filter.few && (filter.groups[GROUP.tasks] || filter.groups[GROUP.library] || !hasOwn));
}

/** A menu of checkboxes, filled when it is first opened: there may be a thousand machines. */
function makeMenu(id, entries, hidden) {
  const menu = byId(id);
  const list = menu.querySelector('.list');
  menu.addEventListener('toggle', () => {
    if (!menu.open || list.childElementCount > 0) return;
    const boxes = entries.map(([key, name, count]) => {
      const box = element('input', { type: 'checkbox', checked: !hidden.has(key), 'data-name': name, on: { change: () => {
        if (box.checked) hidden.delete(key);
        else hidden.add(key);
        filterChanged();
      } } });
      return [key, box, element('label', {}, box, element('span', {}, name), element('span', { class: 'muted' }, count.toLocaleString('en')))];
    });
    const all = (checked) => () => {
      boxes.forEach(([key, box]) => {
        box.checked = checked;
        if (checked) hidden.delete(key);
        else hidden.add(key);
      });
      filterChanged();
    };
    list.append(element('div', { class: 'both' }, button('All', all(true)), button('None', all(false))), ...boxes.map(([, , label]) => label));
  });
  document.addEventListener('pointerdown', (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    menu.open = false;
    menu.querySelector('summary').focus();
    event.stopPropagation();
  });
}

function makeConnections() {
  const ends = new Map();
  messages.connection.forEach((connection, n) => {
    if (connection >= 0 && !ends.has(connection)) ends.set(connection, [messages.from[n], messages.to[n]]);
  });
  const list = byId('connection');
  for (const [connection, [from, to]] of [...ends].sort(([a], [b]) => a - b)) {
    list.append(element('option', { value: connection }, `${connections[connection]}: ${laneName(from)} – ${laneName(to)}`));
  }
  list.closest('label').hidden = ends.size === 0;
  list.addEventListener('change', () => setConnection(list.value === '' ? -1 : Number(list.value)));
}

/** Shows only the few events that matter, or all. */
function showFew(few) {
  if (story.few.size === 0 || few === filter.few) return;
  filter.few = few;
  byId('few').checked = few;
  showChips();
  filterChanged();
  if (few) fit();
  else firstLook();
}

function setConnection(connection) {
  showFew(false);
  filter.connection = connection;
  byId('connection').value = connection < 0 ? '' : String(connection);
  filterChanged();
}

function chooseAxis(name) {
  document.querySelector(`input[name=axis][value=${name}]`).checked = true;
  overview.stale = true;
  setAxis(name);
}

function toFailure() {
  const failure = picture.failure;
  if (!failure) return;
  if (failure.event >= 0) select(failure.event);
  else {
    view.top = view.axis.of(failure.at) - bodyHeight() / 2 / view.scale;
    changed();
  }
}

function makeToolbar() {
  makeKinds();
  showChips();
  makeMenu('machines', activeLanes.filter((lane) => !twinLanes.has(lane)).map((lane) => [lane, laneName(lane), eventCounts.lanes.get(lane)]), filter.hiddenLanes);
  makeMenu('daemons', [...eventCounts.daemons].map(([daemon, count]) => [daemon, daemon < 0 ? '(no daemon)' : word(daemon), count])
    .sort(([, a], [, b]) => (a < b ? -1 : 1)), filter.hiddenDaemons);
  makeConnections();
  document.querySelectorAll('input[name=axis]').forEach((input) => input.addEventListener('change', () => chooseAxis(input.value)));
  searchBox.addEventListener('input', () => {
    showFew(false);
    runSearch();
  });
  searchBox.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') step(event.shiftKey ? -1 : 1);
    else if (event.key === 'Escape') canvas.focus();
    else return;
    event.preventDefault();
  });
  const hide = byId('hide');
  hide.addEventListener('input', () => {
    filter.patterns = hide.value.toLowerCase().split(',').map((part) => part.trim()).filter(Boolean);
    filterChanged();
  });
  hide.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') canvas.focus();
  });
  byId('previous').addEventListener('click', () => step(-1));
  byId('next').addEventListener('click', () => step(1));
  byId('in').addEventListener('click', () => zoom(1.6));
  byId('out').addEventListener('click', () => zoom(1 / 1.6));
  byId('fit').addEventListener('click', fit);
  byId('end').addEventListener('click', toFailure);
  byId('end').hidden = !picture.failure;
  byId('few').closest('label').hidden = story.few.size === 0;
  byId('few').checked = filter.few;
  byId('few').addEventListener('change', () => showFew(byId('few').checked));
  byId('twin').hidden = !twin;
  byId('twin').addEventListener('click', toggleTwin);
  byId('theme').addEventListener('click', nextTheme);
  byId('ask').addEventListener('click', () => byId('keys').showModal());
}

function makePointer() {
  let drag = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const toOverview = (y) => {
    view.top = (y - HEAD) / bodyHeight() * view.axis.length - bodyHeight() / 2 / view.scale;
    changed();
  };
  canvas.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    const [x, y] = place(event);
    drag = { x, y, moved: false, overview: x > view.width - OVERVIEW && y > HEAD };
    canvas.setPointerCapture(event.pointerId);
    if (drag.overview) toOverview(y);
  });
  canvas.addEventListener('pointermove', (event) => {
    const [x, y] = place(event);
    if (!drag) return hover(x, y);
    if (drag.overview) return toOverview(y);
    if (!drag.moved && Math.hypot(x - drag.x, y - drag.y) < 4) return undefined;
    drag.moved = true;
    canvas.classList.add('dragged');
    pan(drag.x - x, drag.y - y);
    [drag.x, drag.y] = [x, y];
    return undefined;
  });
  const drop = (event) => {
    if (drag && !drag.moved && !drag.overview && event.type === 'pointerup') {
      select(eventAt(...place(event)), { bring: false });
    }
    drag = null;
    canvas.classList.remove('dragged');
  };
  canvas.addEventListener('pointerup', drop);
  canvas.addEventListener('pointercancel', drop);
  canvas.addEventListener('pointerleave', () => hover(-1, -1));
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    const [, y] = place(event);
    const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? bodyHeight() : 1;
    if (event.ctrlKey || event.metaKey) zoom(Math.exp(-event.deltaY * unit / 300), y);
    else if (event.shiftKey) pan((event.deltaX || event.deltaY) * unit, 0);
    else pan(event.deltaX * unit, event.deltaY * unit);
    hover(-1, -1);
  }, { passive: false });
}

function hover(x, y) {
  const hint = byId('hint');
  const i = x < 0 ? -1 : eventAt(x, y);
  canvas.classList.toggle('over', i >= 0);
  const text = x < 0 ? '' : i >= 0 ? `${eventText(i)}\n${origin(i)} · ${clock(events.at[i], 1e3)} s` : areaAt(x, y);
  hint.style.display = text ? 'block' : 'none';
  if (!text) return;
  hint.textContent = text;
  const [width, height] = [hint.offsetWidth, hint.offsetHeight];
  hint.style.left = `${Math.max(4, Math.min(x + 14, view.width - width - 4))}px`;
  hint.style.top = `${y + 18 + height > view.height ? y - height - 10 : y + 18}px`;
}

/** Selects the next or previous visible event; without a selection, starts at the edge of the screen. */
function walk(by) {
  if (visible.length === 0) return;
  let place;
  // The selected event may be hidden: then the last visible one is the previous.
  if (view.selected >= 0) place = lastAtMost(visible, view.selected) + (by < 0 && !shown[view.selected] ? 0 : by);
  else place = placesBetween(HEAD + (by > 0 ? 0 : bodyHeight()), HEAD)[0] - (by > 0 ? 0 : 1);
  select(visible[Math.max(0, Math.min(visible.length - 1, place))]);
}

const KEYS = {
  j: () => walk(1),
  k: () => walk(-1),
  c: () => view.selected >= 0 && events.cause[view.selected] >= 0 && select(events.cause[view.selected]),
  e: () => view.selected >= 0 && effects.first[view.selected] >= 0 && select(effects.first[view.selected]),
  '+': () => zoom(1.6),
  '=': () => zoom(1.6),
  '-': () => zoom(1 / 1.6),
  '[': () => widen(1 / 1.3),
  ']': () => widen(1.3),
  0: fit,
  f: toFailure,
  a: () => chooseAxis(AXES[(AXES.indexOf(view.axis.name) + 1) % AXES.length]),
  m: () => measureFrom(view.selected),
  s: () => showFew(!filter.few),
  g: toggleTwin,
  t: nextTheme,
  n: () => step(1),
  N: () => step(-1),
  '?': () => byId('keys').showModal(),
  '/': () => {
    searchBox.focus();
    searchBox.select();
  },
  Escape: () => select(-1),
};
const MOVES = {
  ArrowUp: () => [0, -60], ArrowDown: () => [0, 60], ArrowLeft: () => [-60, 0], ArrowRight: () => [60, 0],
  PageUp: () => [0, -bodyHeight() * .85], PageDown: () => [0, bodyHeight() * .85], Home: () => [0, -Infinity], End: () => [0, Infinity],
};

function makeKeys() {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest('input[type=search], select, dialog')) return;
    const key = KEYS[event.key];
    // Arrow keys are left to a focused control that uses them.
    const move = event.target === canvas || event.target === document.body ? MOVES[event.key] : undefined;
    if (key) key();
    else if (move) {
      const [x, y] = move();
      if (Number.isFinite(y)) pan(x * (event.shiftKey ? 5 : 1), y * (event.shiftKey ? 5 : 1));
      else {
        view.top = y < 0 ? -Infinity : view.axis.length;
        changed();
      }
    } else return;
    event.preventDefault();
  });
}
