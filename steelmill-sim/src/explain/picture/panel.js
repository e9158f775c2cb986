// Side panel: details of the selected event with its log lines, causes and effects; without a selection, the legend.

const panel = document.getElementById('panel');
const LISTED = 12;

/** Creates an element. String children become text nodes, never markup. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'on') Object.entries(value).forEach(([event, then]) => made.addEventListener(event, then));
    else if (value === true) made.setAttribute(key, '');
    else if (value !== false && value !== null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== ''));
  return made;
}

function select(i, { bring = true, focus = false } = {}) {
  view.selected = i;
  relate(i);
  showPanel();
  if (i >= 0) {
    if (bring) reveal(i);
    document.getElementById('spoken').textContent = `${eventText(i)}; ${origin(i)}; at ${clock(events.at[i], 1e3)} seconds`;
  }
  if (focus) canvas.focus({ preventScroll: true });
  changed();
}

function showPanel() {
  const i = view.selected;
  panel.replaceChildren(...(i < 0 ? legend() : described(i)));
  panel.scrollTop = 0;
}

function described(i) {
  const kind = picture.kinds[events.kind[i]];
  const of = events.of[i];
  const task = events.task[i];
  const rows = [['when', `${clock(events.at[i])} s`]];
  if (picture.failure) {
    const before = picture.failure.at - events.at[i];
    rows.push(['', before === 0 ? 'at the moment of failure' : `${lasting(Math.abs(before))} ${before > 0 ? 'before' : 'after'} the failure`]);
  }
  if (view.mark >= 0 && view.mark !== i) rows.push(['since mark', since(events.at[i] - events.at[view.mark])]);
  rows.push(['machine', laneName(events.lane[i])]);
  if (task >= 0) {
    if (tasks.daemon[task] >= 0) rows.push(['daemon', word(tasks.daemon[task])]);
    if (tasks.factory[task] >= 0) rows.push(['factory', word(tasks.factory[task])]);
    rows.push(['task', word(tasks.name[task])]);
    rows.push(['spawned at', word(tasks.place[task])]);
  }
  let name = { message: 'message leaves', arrival: 'message arrives', lost: 'message lost', log: 'log line', invoke: 'operation begins', return: 'operation returns' }[kind] ?? kind;
  if (isMessage(i)) {
    const sent = events.at[messages.sent[of]];
    rows.push(['from', laneName(messages.from[of])], ['to', laneName(messages.to[of])]);
    if (messages.connection[of] >= 0) rows.push(['connection', connections[messages.connection[of]]]);
    if (messages.bytes[of] > 0) rows.push(['bytes', messages.bytes[of].toLocaleString('en')]);
    const fate = picture.fates[messages.fate[of]].replace('under_way', 'in flight');
    const arrived = messages.arrived[of];
    rows.push(['fate', arrived >= 0 && (messages.fate[of] === FATE.delivered || messages.fate[of] === FATE.late)
      ? `${fate}, after ${lasting(events.at[arrived] - sent)}` : fate]);
    if (messages.why[of] >= 0) rows.push(['reason', word(messages.why[of])]);
  }
  if (kind === 'log') {
    rows.push(['level', word(logs.level[of])], ['target', word(logs.target[of])]);
    if (logs.place[of] >= 0) rows.push(['logged at', word(logs.place[of])]);
    name = `log line, ${word(logs.level[of])}`;
  }
  if (kind === 'invoke' || kind === 'return') {
    rows.push(['client', word(operations.client[of])], ['key', word(operations.key[of])]);
    rows.push(['took', operations.return[of] < 0 ? 'never returned' : lasting(events.at[operations.return[of]] - events.at[operations.invoke[of]])]);
    if (operations.open[of]) rows.push(['outcome', 'unknown: it may take effect later, or never']);
    if (operations.blamed[of]) rows.push(['verdict', '✗ cannot be ordered']);
  }
  if (kind === 'state') rows.push(['state', word(states.state[of])]);

  const parts = [
    element('p', { class: 'muted' }, name),
    element('h2', { class: kind === 'log' || isMessage(i) ? 'mono' : '' }, eventText(i)),
    element('dl', {}, ...rows.flatMap(([term, value]) => [element('dt', {}, term), element('dd', {}, value)])),
    element('div', { class: 'steps' },
      button('Cause', () => select(events.cause[i]), events.cause[i] < 0),
      button('Effect', () => select(effects.first[i]), effects.first[i] < 0),
      isMessage(i) && messages.arrived[of] >= 0
        ? button(kind === 'message' ? 'Arrival' : 'Departure', () => select(kind === 'message' ? messages.arrived[of] : messages.sent[of])) : null,
      isMessage(i) && messages.connection[of] >= 0
        ? button('Only this connection', () => setConnection(messages.connection[of])) : null,
      button(view.mark === i ? 'Measure no longer' : 'Measure from here', () => measureFrom(i)),
      button('Copy link', () => copyLink(i)),
      button('Close', () => select(-1))),
  ];
  const [near, logSource] = logsAround(i, 4);
  if (near.length > 0) {
    parts.push(element('h3', {}, `Log lines of the ${logSource} around it`));
    parts.push(element('ol', { id: 'logs' }, ...near.map((log) => entry(log, log === i))));
  }
  parts.push(element('h3', {}, `Causes, latest first${related.chain.length > 0 ? ` (${related.chain.length})` : ''}`));
  parts.push(related.chain.length === 0 ? element('p', { class: 'muted' }, 'None: it has no cause, or the trace does not contain it.')
    : growing('causes', 'chain', related.chain));
  const [list, more] = effectsOf(i, 400);
  parts.push(element('h3', {}, `Effects${list.length > 0 ? ` (${list.length + more})` : ''}`));
  parts.push(list.length === 0 ? element('p', { class: 'muted' }, 'None that is shown here.') : growing('effects', 'effects', list));
  return parts;
}

/** Measures times from an event; given the same event again, no longer. */
function measureFrom(i) {
  view.mark = i === view.mark ? -1 : i;
  showPanel();
  changed();
}

function button(text, then, disabled = false) {
  return element('button', { type: 'button', disabled, on: { click: then } }, text);
}

/** A list entry for an event; a click selects it. */
function entry(i, isHere = false) {
  const level = events.kind[i] === KIND.log ? ` level-${word(logs.level[events.of[i]]).toLowerCase()}` : '';
  const arrow = { message: '→ ', arrival: '← ', lost: '× ' }[picture.kinds[events.kind[i]]] ?? '';
  return element('li', isHere ? { class: 'here' } : {}, element('button', { type: 'button', 'data-event': i, on: { click: () => select(i) } },
    element('span', { class: `what${level}` }, `${arrow}${eventText(i)}`),
    element('span', { class: 'at' }, isHere ? 'here' : since(events.at[i] - events.at[Math.max(0, view.selected)])),
    element('span', { class: 'who' }, origin(i))));
}

const since = (nanos) => (nanos === 0 ? '±0' : `${nanos > 0 ? '+' : '−'}${lasting(Math.abs(nanos))}`);

/** A list of events with a button that shows more. */
function growing(id, look, list) {
  const made = element('ol', { id, class: look }, ...list.slice(0, LISTED).map((i) => entry(i)));
  const grow = () => {
    const from = made.querySelectorAll('[data-event]').length;
    made.lastElementChild.remove();
    made.append(...list.slice(from, from + 200).map((i) => entry(i)));
    if (from + 200 < list.length) made.append(more(list.length - from - 200));
  };
  const more = (left) => element('li', {}, button(`${left} more`, grow));
  if (list.length > LISTED) made.append(more(list.length - LISTED));
  return made;
}

/** The legend, drawn with the same functions as the picture. */
function legend() {
  const samples = [];
  const sample = (text, draw) => {
    const small = element('canvas', { width: 56 * 2, height: 20 * 2, 'aria-hidden': 'true' });
    samples.push({ small, draw });
    return [small, element('span', {}, text)];
  };
  const line = (dash, paint, end) => (c) => {
    c.strokeStyle = c.fillStyle = colour[paint];
    c.lineWidth = paint === 'mark' ? 1 : 1.6;
    c.setLineDash(dash);
    c.beginPath();
    c.moveTo(3, 5);
    c.lineTo(end === 'cross' || end === 'bar' ? 38 : 50, end === 'cross' || end === 'bar' ? 12 : 15);
    c.stroke();
    c.setLineDash([]);
    c.lineWidth = 2;
    c.beginPath();
    if (end === 'head') { c.moveTo(53, 16); c.lineTo(44, 17); c.lineTo(46, 10.5); c.fill(); }
    if (end === 'cross') { c.moveTo(34, 8); c.lineTo(42, 16); c.moveTo(34, 16); c.lineTo(42, 8); c.stroke(); }
    if (end === 'bar') { c.moveTo(40, 6); c.lineTo(36, 18); c.stroke(); }
  };
  const area = (pattern, paint, edge) => (c) => {
    c.globalAlpha = edge ? .4 : 1;
    if (!edge && pattern === '') { c.fillStyle = colour[paint]; c.fillRect(18, 1, 6, 18); return; }
    c.fillStyle = hatch(pattern, colour[paint]);
    c.fillRect(edge ? 4 : 18, 1, edge ? 48 : 6, 18);
    c.globalAlpha = 1;
    c.fillStyle = colour[paint];
    if (edge) c.fillRect(4, 1, 3, 18);
  };
  const box = (blamed) => (c) => {
    c.fillStyle = blamed ? colour.badSoft : colour.operation;
    c.fillRect(6, 2, 44, 16);
    c.lineWidth = blamed ? 2 : 1;
    c.strokeStyle = blamed ? colour.bad : colour.line;
    c.strokeRect(6, 2, 44, 16);
    c.fillStyle = blamed ? colour.bad : colour.ink;
    c.font = MONO;
    c.fillText(blamed ? '✗ GET' : 'GET', blamed ? 10 : 17, 14);
  };
  const marks = (...shapes) => (c) => shapes.forEach(([shape, paint], n) =>
    drawMark(c, shape, 28 + 18 * (n - (shapes.length - 1) / 2), 10, colour[paint]));
  const folded = (c) => {
    c.strokeStyle = colour.line;
    c.fillStyle = colour.line;
    c.fillRect(27.25, 0, 1.5, 20);
    c.lineWidth = 1;
    tear(c, 28, 10);
  };
  const made = [
    ...twinText(),
    ...storyList(),
    ...latencyChart(),
    element('h2', {}, 'Legend'),
    element('p', { class: 'muted' }, 'Machines side by side, virtual time downwards. Click an event, or press J, to see its log lines, its causes and its effects.'),
    element('h3', {}, 'Messages'),
    element('div', { class: 'legend' },
      ...sample('delivered', line([], 'mark', 'head')), ...sample('late: cut, held, or lost and retransmitted', line([7, 3], 'late', 'head')),
      ...sample('lost', line([], 'bad', 'cross')), ...sample('reset', line([2, 3], 'reset', 'bar')), ...sample('in flight at the end of the run', line([2, 3], 'muted', ''))),
    element('h3', {}, 'Events'),
    element('div', { class: 'legend' },
      ...sample('a message is sent, and arrives', marks(['message', 'mark'], ['arrival', 'mark'])),
      ...sample('a log line, a warning, an error', marks(['log', 'mark'], ['alarm', 'late'], ['alarm', 'bad'])),
      ...sample('a state change of a factory or daemon', marks(['state', 'good'])),
      ...sample('a fault; a machine starts or recovers', marks(['fault', 'bad'], ['machine', 'mark'])),
      ...sample('a link is cut, healed, …', marks(['link', 'bad'])),
      ...sample('a task is spawned, ends; a timer fires', marks(['spawn', 'mark'], ['end', 'mark'], ['timer', 'mark']))),
    element('h3', {}, 'Along a lane'),
    element('div', { class: 'legend' },
      ...sample('an idle gap, shortened', folded),
      ...sample('a fault of a machine', area('rising', 'bad', true)), ...sample('a fault of a link, on both lanes', area('falling', 'bad', true)),
      ...sample('the machine is down', area('level', 'gone', true)),
      ...sample('factory or daemon: starting', area('rising', 'wait')), ...sample('running', area('', 'good')),
      ...sample('stopping, or serving on before it does', area('level', 'leave')), ...sample('failed: down, or about to restart', area('falling', 'bad')), ...sample('finished: its run has returned', area('dots', 'gone')),
      ...sample('degraded', area('dots', 'late')), ...sample('running, but not ready: failing, or not asked yet', area('falling', 'late')),
      ...sample('a client\'s operation, from invocation to return', box(false)), ...sample('one that cannot be ordered', box(true))),
    ...(picture.failure_rates.length > 1 ? [element('h3', {}, 'Left of the lanes'),
      element('p', { class: 'muted' }, '“fails” is the percentage of runs that still fail if everything after that time is drawn anew.')] : []),
    element('h3', {}, 'When an event is selected'),
    element('p', { class: 'muted' }, 'A solid blue line leads back through its causes, a dashed line to its effects.'),
  ];
  queueMicrotask(() => samples.forEach(({ small, draw }) => {
    const c = small.getContext('2d');
    c.scale(2, 2);
    draw(c);
  }));
  return made;
}
