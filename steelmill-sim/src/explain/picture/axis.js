// Vertical axes: map times and events to positions. All three keep the order of events:
//
// - time: linear in virtual time. Long idle periods leave little room for busy ones.
// - folded: linear, but a gap between two events is at most `fold` long. Longer gaps are shortened and marked.
// - steps: one step for each visible event.
//
// The unit of positions depends on the axis; the view has the scale. Hidden events lie between visible ones.

const FOLDED_SHARE = .6;
const AXES = ['time', 'folded', 'steps'];

function makeAxis(name, visible) {
  const at = events.at;
  const fold = name === 'time' ? Infinity : foldOf(visible);
  // Simultaneous events are spaced, so that each can be clicked.
  const apart = name === 'folded' ? fold / 40 : 0;
  const position = new Float64Array(events.count);
  const anchorsAt = new Float64Array(visible.length + 2);
  const anchorsPosition = new Float64Array(visible.length + 2);
  const folds = [];
  let y = 0;
  let before = 0;
  for (let n = 0; n <= visible.length; n++) {
    const time = n < visible.length ? at[visible[n]] : Math.max(END, before);
    const gap = time - before;
    const from = y;
    if (name === 'steps') y += 1;
    else y += Math.min(gap, fold) + apart;
    if (gap > fold) folds.push({ from, until: y, gap, start: before });
    anchorsAt[n + 1] = time;
    anchorsPosition[n + 1] = y;
    before = time;
  }
  // A hidden event is positioned by its time, after the visible event before it.
  for (let i = 0, n = 0; i < events.count; i++) {
    if (n < visible.length && visible[n] === i) {
      position[i] = anchorsPosition[++n];
      continue;
    }
    position[i] = between(at[i], n);
  }

  function between(time, n) {
    const [t0, t1] = [anchorsAt[n], anchorsAt[n + 1]];
    const [p0, p1] = [anchorsPosition[n], anchorsPosition[n + 1]];
    return t1 > t0 ? p0 + (p1 - p0) * Math.min(1, Math.max(0, (time - t0) / (t1 - t0))) : p0;
  }

  return {
    name, position, folds, fold,
    length: Math.max(y, 1e-9),
    /** The position of a time. */
    of(time) {
      const n = lastAtMost(anchorsAt, time);
      return n >= anchorsAt.length - 1 ? y : between(time, n);
    },
    /** The time at a position. */
    time(where) {
      const n = Math.max(0, Math.min(lastAtMost(anchorsPosition, where), anchorsAt.length - 2));
      const [p0, p1] = [anchorsPosition[n], anchorsPosition[n + 1]];
      const share = p1 > p0 ? Math.min(1, Math.max(0, (where - p0) / (p1 - p0))) : 0;
      return anchorsAt[n] + share * (anchorsAt[n + 1] - anchorsAt[n]);
    },
  };
}

/** The maximum length of a gap, chosen so that shortened gaps take at most `FOLDED_SHARE` of the axis. */
function foldOf(visible) {
  const gaps = new Float64Array(visible.length + 1);
  let before = 0;
  visible.forEach((i, n) => {
    gaps[n] = events.at[i] - before;
    before = events.at[i];
  });
  gaps[visible.length] = Math.max(0, END - before);
  gaps.sort();
  // From the shortest gap up: the share of the longer gaps if all were shortened to this one's length.
  let sum = 0;
  for (let n = 0; n < gaps.length; n++) {
    sum += gaps[n];
    const folded = (gaps.length - 1 - n) * gaps[n];
    if (sum > 0 && folded <= (sum + folded) * FOLDED_SHARE) {
      // The exact share is met between this gap and the next.
      const longer = gaps.length - 1 - n;
      return longer === 0 ? Math.max(gaps[n], 1) : Math.max(1, Math.min(gaps[n + 1], sum * FOLDED_SHARE / (1 - FOLDED_SHARE) / longer));
    }
  }
  return 1;
}

/** The index of the last element that is at most `value`; -1 if there is none. */
function lastAtMost(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
