// Latency over time, with the faults behind it: a small chart in the panel. Of operations, or of messages if there are none.

const LATENCY_WIDTH = 340;
const LATENCY_HEIGHT = 110;
const LATENCY_LEAST = 5; // with fewer there is nothing to see

/** What is drawn: when it began, how long it took (Infinity if it never ended), a click's event, and whether it is to blame. */
const latencies = (() => {
  const isOurs = (lane) => !twinLanes.has(lane);
  const numbers = (list) => list.map((_, n) => n);
  const point = (from, until, isBad) => ({ at: events.at[from], took: until < 0 ? Infinity : events.at[until] - events.at[from], event: until < 0 ? from : until, isBad });
  const ofOperations = numbers(operations.invoke).filter((n) => isOurs(operations.lane[n]))
    .map((n) => point(operations.invoke[n], operations.return[n], Boolean(operations.blamed[n])));
  if (ofOperations.length >= LATENCY_LEAST) return { of: 'operations', points: ofOperations };
  const ofMessages = numbers(messages.sent).filter((n) => isOurs(messages.to[n]))
    .map((n) => point(messages.sent[n], isGone(n) ? -1 : messages.arrived[n], isGone(n)));
  return { of: 'messages', points: ofMessages };
})();

function isGone(message) {
  return messages.fate[message] === FATE.lost || messages.fate[message] === FATE.reset;
}

/** The chart with its heading, for the panel. */
function latencyChart() {
  const { of, points } = latencies;
  if (points.length < LATENCY_LEAST) return [];
  const chart = element('canvas', { id: 'latency', width: LATENCY_WIDTH * 2, height: LATENCY_HEIGHT * 2, role: 'img',
    'aria-label': `How long ${of} took, over time, with the faults behind them` });
  const spots = spotsOf(points);
  queueMicrotask(() => drawLatencies(chart, spots));
  chart.addEventListener('click', (event) => {
    const box = chart.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) * LATENCY_WIDTH / box.width, (event.clientY - box.top) * LATENCY_HEIGHT / box.height];
    const away = (spot) => Math.hypot(spot.x - x, spot.y - y);
    const nearest = spots.reduce((best, spot) => (away(spot) < away(best) ? spot : best));
    if (away(nearest) < 20) select(nearest.event);
  });
  return [element('h3', {}, `How long ${of} took`), chart,
    element('p', { class: 'muted' }, `From 0 to ${clock(END, 1e6)} s, up to ${lasting(spots.most)}, in a logarithmic scale; faults behind. On top: never ended. Click one to see it.`)];
}

const latencyX = (at) => 4 + (LATENCY_WIDTH - 8) * (at / Math.max(1, END));

function spotsOf(points) {
  const known = points.map(({ took }) => took).filter((took) => took > 0 && took < Infinity);
  const least = known.reduce((a, b) => Math.min(a, b), Infinity);
  const most = known.reduce((a, b) => Math.max(a, b), 1);
  const span = Math.log(most / least) || 1;
  const y = (took) => (took === Infinity ? 5 : LATENCY_HEIGHT - 6 - (LATENCY_HEIGHT - 24) * Math.max(0, Math.log(Math.max(took, least) / least)) / span);
  return Object.assign(points.map((point) => ({ ...point, x: latencyX(point.at), y: y(point.took) })), { most });
}

function drawLatencies(chart, spots) {
  const c = chart.getContext('2d');
  c.scale(2, 2);
  c.fillStyle = colour.raised;
  c.fillRect(0, 0, LATENCY_WIDTH, LATENCY_HEIGHT);
  for (const band of bands) {
    if (band.lanes.some((lane) => twinLanes.has(lane))) continue;
    const x0 = latencyX(band.from >= 0 ? events.at[band.from] : 0);
    const x1 = latencyX(band.until >= 0 ? events.at[band.until] : END);
    c.globalAlpha = .22;
    c.fillStyle = band.kind === 'down' ? colour.gone : colour.bad;
    c.fillRect(x0, 0, Math.max(1.5, x1 - x0), LATENCY_HEIGHT);
  }
  c.globalAlpha = spots.length > 2000 ? .3 : .8;
  for (const isBad of [false, true]) {
    c.fillStyle = isBad ? colour.bad : colour.mark;
    for (const spot of spots) if (spot.isBad === isBad) c.fillRect(spot.x - (isBad ? 2.5 : 1), spot.y - (isBad ? 2.5 : 1), isBad ? 5 : 2, isBad ? 5 : 2);
  }
  c.globalAlpha = 1;
}
