// Hit testing: the event or area under the pointer.

/** The event at a point of the canvas; -1 if there is none. */
function eventAt(x, y) {
  if (x < GUTTER || x > GUTTER + lanesWidth() || y < HEAD) return -1;
  const [first, end] = placesBetween(y - 9, y + 9);
  let [best, distance] = [-1, 11];
  for (let n = first; n < end; n++) {
    const i = visible[n];
    const away = Math.hypot(eventX(i) - x, eventY(i) - y);
    // Of two at the same point, the later one is on top.
    if (away <= distance) [best, distance] = [i, away];
  }
  if (best >= 0) return best;
  const label = drawn.labels.findLast((it) => x >= it.x && x <= it.x + it.width && y >= it.y && y <= it.y + it.height);
  if (label) return label.i;
  const box = drawn.boxes.findLast((it) => x >= it.x && x <= it.x + it.width && y >= it.y && y <= it.y + it.height);
  if (box) {
    const { n } = box;
    const returned = operations.return[n];
    return returned >= 0 && Math.abs(y - (box.y + box.height)) < Math.abs(y - box.y) ? returned : operations.invoke[n];
  }
  return arrowAt(x, y);
}

function arrowAt(x, y) {
  let [best, distance] = [-1, 5];
  for (const n of drawn.arrows) {
    const [, y0, , y1] = ends(n);
    if (y < Math.min(y0, y1) - 6 || y > Math.max(y0, y1) + 6) continue;
    const away = awayFromArrow(n, x, y);
    if (away < distance) [best, distance] = [n, away];
  }
  if (best < 0) return -1;
  const [, y0, , y1] = ends(best);
  const isNearArrival = messages.arrived[best] >= 0 && Math.abs(y - y1) < Math.abs(y - y0);
  const near = isNearArrival ? messages.arrived[best] : messages.sent[best];
  return shown[near] ? near : messages.sent[best];
}

/** The text for a point without an event: machine, state, faults or failure rate; may be empty. */
function areaAt(x, y) {
  if (y < HEAD) {
    const place = lastAtMost(laneEdges, x - GUTTER + view.left);
    return x > GUTTER && x < GUTTER + lanesWidth() && place < shownLanes.length ? laneName(shownLanes[place]) : '';
  }
  if (x < GUTTER && x > GUTTER_TIME && GUTTER_CURVE) return failureRateAt(y);
  const inside = (it, slack) => x >= it.x - slack && x <= it.x + it.width + slack && y >= it.y && y <= it.y + it.height;
  const strip = drawn.strips.find((it) => inside(it, 1));
  if (strip) {
    const until = states.until[strip.n] < 0 ? END : events.at[states.until[strip.n]];
    return `${stateOwner(strip.n)}: ${word(states.state[strip.n])}, for ${lasting(until - (states.event[strip.n] < 0 ? 0 : events.at[states.event[strip.n]]))}`;
  }
  return drawn.faults.filter((it) => inside(it, 0)).map((it) => bands[it.n].text).filter((text, n, all) => all.indexOf(text) === n).join('\n');
}

function failureRateAt(y) {
  const time = view.axis.time(toPosition(y));
  const before = picture.failure_rates.findLast(({ until }) => until <= time);
  if (!before) return '';
  return `${before.failed} of ${before.runs} runs fail in the same way if everything after ${clock(before.until, 1e3)} s is drawn anew`;
}
