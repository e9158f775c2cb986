// Causes, effects and log lines of the selected event.

const CHAIN_MOST = 5000;
const EFFECTS_MOST = 2000;

const related = { is: null, chain: [], effects: [] };

function relate(i) {
  related.is = null;
  related.chain = [];
  related.effects = [];
  if (i < 0) return;
  for (let cause = events.cause[i]; cause >= 0 && related.chain.length < CHAIN_MOST; cause = events.cause[cause]) related.chain.push(cause);
  const open = [i];
  for (let n = 0; n < open.length && related.effects.length < EFFECTS_MOST; n++) {
    for (let effect = effects.first[open[n]]; effect >= 0 && related.effects.length < EFFECTS_MOST; effect = effects.next[effect]) {
      related.effects.push(effect);
      open.push(effect);
    }
  }
  related.is = new Set([i, ...related.chain, ...related.effects]);
}

/** The direct effects of an event: a list, and the number of further ones. */
function effectsOf(i, most) {
  const list = [];
  let more = 0;
  for (let effect = effects.first[i]; effect >= 0; effect = effects.next[effect]) {
    if (list.length < most) list.push(effect);
    else more++;
  }
  return [list, more];
}

const logEvents = (() => {
  const [byTask, byLane] = [new Map(), new Map()];
  const add = (map, key, i) => (map.get(key) ?? map.set(key, []).get(key)).push(i);
  for (let i = 0; i < events.count; i++) {
    if (events.kind[i] !== KIND.log) continue;
    add(byLane, events.lane[i], i);
    if (events.task[i] >= 0) add(byTask, events.task[i], i);
  }
  return { byTask, byLane };
})();

/** Log lines around an event: those of its task, or, if it has none, of its machine; and which of the two. */
function logsAround(i, each) {
  const ofTask = logEvents.byTask.get(events.task[i]);
  const list = ofTask ?? logEvents.byLane.get(events.lane[i]) ?? [];
  const place = lastAtMost(list, i);
  return [list.slice(Math.max(0, place + 1 - each), place + 1 + each), ofTask ? 'task' : 'machine'];
}

function drawRelated() {
  const i = view.selected;
  if (i < 0) return;
  const step = (from, to) => {
    const [y0, y1] = [eventY(from), eventY(to)];
    if (Math.max(y0, y1) < HEAD - 20 || Math.min(y0, y1) > view.height + 20) return;
    const [x0, x1] = [eventX(from), eventX(to)];
    if (Number.isNaN(x0) || Number.isNaN(x1)) return;
    context.moveTo(x0, y0);
    if (x0 === x1 && y1 - y0 > 26) context.bezierCurveTo(x0 - 8, y0 + 8, x1 - 8, y1 - 8, x1, y1);
    else context.lineTo(x1, y1);
  };
  context.lineJoin = 'round';
  context.strokeStyle = colour.late;
  context.lineWidth = 2;
  context.setLineDash([5, 3]);
  context.beginPath();
  for (const effect of related.effects) step(events.cause[effect], effect);
  context.stroke();
  context.setLineDash([]);
  context.strokeStyle = colour.accent;
  context.lineWidth = 2.6;
  context.beginPath();
  let effect = i;
  for (const cause of related.chain) {
    step(cause, effect);
    effect = cause;
  }
  context.stroke();
  for (const cause of related.chain) markAgain(cause);
  if (related.effects.length < 300) related.effects.forEach(markAgain);
  const [x, y] = [eventX(i), eventY(i)];
  context.strokeStyle = colour.accent;
  context.lineWidth = 2.5;
  context.beginPath();
  context.arc(x, y, 8.5, 0, 7);
  context.stroke();
}

function markAgain(i) {
  const y = eventY(i);
  const x = eventX(i);
  if (y > HEAD - 8 && y < view.height + 8 && !Number.isNaN(x)) mark(i, x, y);
}
