// Intervals: faults as bands, lifecycle states as strips along a lane, operations as boxes.

/** Draws faults: a machine's fills its lane, a link's is drawn on both lanes and joined. */
function drawBands() {
  for (const [n, band] of bands.entries()) {
    const y0 = band.from >= 0 ? eventY(band.from) : toY(0);
    const y1 = Math.max(y0 + 2, band.until >= 0 ? eventY(band.until) : toY(view.axis.length));
    if (y1 < HEAD || y0 > view.height) continue;
    const strikes = band.lanes.filter((lane) => !Number.isNaN(laneX(lane)));
    if (strikes.length === 0) continue;
    const paint = band.kind === 'down' ? colour.gone : colour.bad;
    for (const lane of strikes) {
      const [x, width] = [laneX(lane), laneWidth(lane)];
      if (x > GUTTER + lanesWidth() || x + width < GUTTER) continue;
      context.globalAlpha = band.kind === 'down' ? .16 : band.kind === 'link' ? .17 : .24;
      context.fillStyle = hatch(band.kind === 'link' ? 'falling' : band.kind === 'down' ? 'level' : 'rising', paint);
      context.fillRect(x + 1, y0, width - 2, y1 - y0);
      context.globalAlpha = .9;
      context.fillStyle = paint;
      context.fillRect(x + 1, y0, band.kind === 'link' ? 2 : 3, y1 - y0);
      context.globalAlpha = 1;
      drawn.faults.push({ n, x, y: y0, width, height: y1 - y0 });
    }
    if (band.kind === 'link' && strikes.length === 2) {
      const [a, b] = strikes.map(lifeX);
      context.strokeStyle = paint;
      context.lineWidth = 1.5;
      context.setLineDash([7, 3]);
      context.beginPath();
      for (const y of [y0, y1]) {
        context.moveTo(a, Math.round(y) + .5);
        context.lineTo(b, Math.round(y) + .5);
      }
      context.stroke();
      context.setLineDash([]);
      for (const [x, other, isHit] of [[a, b, !band.one_way], [b, a, true]]) {
        if (isHit) cross(x + Math.sign(other - x) * 11, y0, paint);
      }
    }
  }
}

/** Labels faults that began above the upper edge. */
function drawBandWords() {
  const taken = new Map(); // the number of labels at the upper edge, by lane
  context.font = FONT;
  context.textAlign = 'left';
  for (const { n, x, y, width, height } of drawn.faults) {
    if (y > HEAD - 4 || y + height < HEAD + 24) continue;
    const lines = taken.get(x) ?? 0;
    if (lines > 3) continue;
    taken.set(x, lines + 1);
    const text = fitted(`▲ ${bands[n].text}`, width - 14);
    const top = HEAD + 4 + lines * 17;
    context.fillStyle = colour.badSoft;
    context.fillRect(x + 5, top, context.measureText(text).width + 6, 15);
    context.fillStyle = bands[n].kind === 'down' ? colour.gone : colour.bad;
    context.fillText(text, x + 8, top + 8);
  }
}

function cross(x, y, paint) {
  context.strokeStyle = paint;
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(x - 4, y - 4);
  context.lineTo(x + 4, y + 4);
  context.moveTo(x - 4, y + 4);
  context.lineTo(x + 4, y - 4);
  context.stroke();
}

// Every factory and daemon has a strip; strips that do not overlap share a slot. If a lane has more strips than fit beside
// its line, they are narrower.
const STRIP_MOST = 5;
const STRIP_LEAST = 2;
const ENDED = words.indexOf('ended');
const [stripPlaces, stripsOfLane] = (() => {
  const places = new Int32Array(states.event.length);
  const free = new Map(); // for each lane the events until which its slots are taken
  const owners = new Map();
  for (let n = 0; n < states.event.length; n++) {
    const key = `${states.lane[n]} ${states.factory[n]} ${states.daemon[n]}`;
    // An ended daemon is not drawn, so it takes no slot.
    const until = states.state[n] === ENDED ? states.event[n] : states.until[n] < 0 ? events.count : states.until[n];
    const lane = free.get(states.lane[n]) ?? free.set(states.lane[n], []).get(states.lane[n]);
    let place = owners.get(key);
    if (place === undefined || lane[place].key !== key) {
      place = lane.findIndex((taken) => taken.until <= states.event[n]);
      if (place < 0) place = lane.length;
      owners.set(key, place);
    }
    lane[place] = { until, key };
    places[n] = place;
  }
  return [places, new Map([...free].map(([lane, taken]) => [lane, taken.length]))];
})();

/** Colour and pattern of a state and its health, so that it does not depend on colour alone; no pattern (null) if it is not drawn. */
function stateLook(name) {
  const [state, health = ''] = name.split(', ');
  switch (health.split(':')[0]) {
    case 'degraded': return [colour.late, 'dots'];
    case 'failing': case 'unresponsive': case 'not ready': return [colour.late, 'falling'];
  }
  switch (state) {
    case 'waiting': case 'preparing': case 'prepared': return [colour.wait, 'rising'];
    case 'winding down': case 'pausing': case 'down': return [colour.bad, 'falling'];
    case 'draining': case 'stopping': return [colour.leave, 'level'];
    case 'finished': return [colour.gone, 'dots'];
    case 'ended': return [colour.gone, null];
    default: return [colour.good, ''];
  }
}

function drawStrips() {
  if (!filter.groups[3]) return;
  const seen = new Set();
  for (let n = 0; n < states.event.length; n++) {
    const [left, right] = [laneX(states.lane[n]) + 2, lifeX(states.lane[n]) - 9];
    const each = Math.min(STRIP_MOST, Math.max(STRIP_LEAST, (right - left) / stripsOfLane.get(states.lane[n])));
    const x = right - (stripPlaces[n] + 1) * each;
    if (!(x > GUTTER - each && x < GUTTER + lanesWidth()) || x < left - .01) continue;
    const y0 = states.event[n] < 0 ? toY(0) : eventY(states.event[n]);
    const y1 = states.until[n] < 0 ? toY(view.axis.length) : eventY(states.until[n]);
    if (y1 < HEAD || y0 > view.height) continue;
    const [paint, pattern] = stateLook(word(states.state[n]));
    if (pattern === null) continue;
    // Zoomed out, thousands fall onto the same few pixels.
    const spot = `${Math.round(x)} ${Math.round(y0)} ${Math.round(y1)}`;
    if (seen.has(spot)) continue;
    seen.add(spot);
    const height = Math.max(1.5, y1 - y0 - .5);
    context.globalAlpha = pattern ? .3 : .85;
    context.fillStyle = paint;
    context.fillRect(x, y0, each - 1, height);
    context.globalAlpha = 1;
    if (pattern) {
      context.fillStyle = hatch(pattern, paint);
      context.fillRect(x, y0, each - 1, height);
    }
    if (drawn.strips.length < MARKS_MOST) drawn.strips.push({ n, x, y: y0, width: each - 1, height });
  }
}

// Overlapping operations of a client are drawn side by side.
const [operationPlaces, operationShares, lanesWithOperations] = (() => {
  const count = operations.invoke.length;
  const [places, shares, clusters] = [new Int32Array(count), new Int32Array(count).fill(1), new Map()];
  for (let n = 0; n < count; n++) {
    const lane = operations.lane[n];
    let cluster = clusters.get(lane);
    if (!cluster || cluster.end <= operations.invoke[n]) clusters.set(lane, cluster = { end: 0, taken: [], members: [] });
    // An operation without a return must not take a slot for ever.
    const until = operations.return[n] < 0 ? operations.invoke[n] + 1 : operations.return[n];
    let place = cluster.taken.findIndex((end) => end <= operations.invoke[n]);
    if (place < 0) place = cluster.taken.length;
    cluster.taken[place] = until;
    cluster.end = Math.max(cluster.end, until);
    cluster.members.push(n);
    places[n] = place;
    // Overlapping operations are equally wide.
    if (cluster.taken.length > shares[cluster.members[0]]) for (const member of cluster.members) shares[member] = cluster.taken.length;
    else shares[n] = cluster.taken.length;
  }
  return [places, shares, new Set(clusters.keys())];
})();
const operationRoom = (lane) => (lanesWithOperations.has(lane) && filter.groups[2] ? Math.min(180, laneWidth(lane) * (laneWidth(lane) < 220 ? .78 : .6)) : 0);

function drawOperations() {
  if (!filter.groups[2]) return;
  const seen = new Set();
  for (const isBlamed of [false, true]) {
    for (let n = 0; n < operations.invoke.length; n++) {
      if (Boolean(operations.blamed[n]) !== isBlamed || !shown[operations.invoke[n]]) continue;
      const lane = operations.lane[n];
      if (isCommon(lane, operations.return[n])) continue;
      const life = lifeX(lane);
      if (!(life > GUTTER - 420 && life < GUTTER + lanesWidth() + 20)) continue;
      const y0 = eventY(operations.invoke[n]);
      // Without a return, the length of the operation is unknown.
      const y1 = operations.return[n] < 0 ? y0 + 16 : eventY(operations.return[n]);
      if (y1 < HEAD - 4 || y0 > view.height + 4) continue;
      // Of the few that matter, those that cannot be ordered have all the room.
      const isAlone = isBlamed && filter.few;
      const each = operationRoom(lane) / (isAlone ? 1 : operationShares[n]);
      const x = life + 7 + (isAlone ? 0 : operationPlaces[n] * each);
      const width = Math.max(4, each - 3);
      const spot = `${Math.round(x)} ${Math.round(y0)} ${Math.round(y1)}`;
      if (!isBlamed && seen.has(spot)) continue;
      seen.add(spot);
      // Large enough for its text.
      const height = Math.max(isBlamed ? 16 : 3, y1 - y0);
      drawOperation(n, x, isBlamed ? (y0 + y1 - height) / 2 : y0, width, height, isBlamed, Boolean(operations.open[n]));
    }
  }
}

function drawOperation(n, x, y, width, height, isBlamed, isOpen) {
  context.fillStyle = isBlamed ? colour.badSoft : colour.operation;
  context.fillRect(x, y, width, height);
  if (isBlamed) {
    context.globalAlpha = .25;
    context.fillStyle = hatch('rising', colour.bad);
    context.fillRect(x, y, width, height);
    context.globalAlpha = 1;
  }
  context.strokeStyle = isBlamed ? colour.bad : colour.line;
  context.lineWidth = isBlamed ? 2 : 1;
  // An operation with an unknown outcome has no lower edge.
  context.beginPath();
  if (isOpen) {
    context.setLineDash([3, 3]);
    context.moveTo(x, y + height);
    context.lineTo(x, y);
    context.lineTo(x + width, y);
    context.lineTo(x + width, y + height);
  } else {
    context.rect(x, y, width, height);
  }
  context.stroke();
  context.setLineDash([]);
  if ((height >= 12 || isBlamed) && width > 24) {
    context.font = isBlamed ? `600 ${MONO}` : MONO;
    context.textAlign = 'left';
    const text = `${isBlamed ? '✗ ' : ''}${operationText(n)}`;
    const line = height < 12 ? y + height / 2 : Math.max(y + 8, Math.min(HEAD + 9, y + height - 8));
    if (isBlamed) haloed(fitted(text, width - 8), x + 4, line, colour.bad);
    else {
      context.fillStyle = colour.ink;
      context.fillText(fitted(text, width - 8), x + 4, line);
    }
  }
  if (drawn.boxes.length < MARKS_MOST) drawn.boxes.push({ n, x, y, width, height });
}
