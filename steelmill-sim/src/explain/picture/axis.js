// Where an event stands on the way from the top to the bottom. Three axes put the events in the same order:
//
// - time: as time passes. True, but a minute of idling leaves no room for the millisecond that matters.
// - folded: as time passes, but a gap between two events takes at most as much room as `fold`; so where things happen
//   distances are true, and where nothing does they are cut short and marked.
// - steps: each event that is shown takes one step.
//
// Positions are in units of their own; the view has the scale. Events that are not shown lie between those that are.

const FOLDED_SHARE = .6;
const AXES = ['time', 'folded', 'steps'];

function makeAxis(name, visible) {
  const at = events.at;
  const fold = name === 'time' ? Infinity : foldOf(visible);
  // Events of the same moment lie a little apart, so that a click can tell them from each other.
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
  // What is not shown is put where its time is, after the last event that is shown and came before it.
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
    /** Where a time is. */
    of(time) {
      const n = lastAtMost(anchorsAt, time);
      return n >= anchorsAt.length - 1 ? y : between(time, n);
    },
    /** What time a position is. */
    time(where) {
      const n = Math.max(0, Math.min(lastAtMost(anchorsPosition, where), anchorsAt.length - 2));
      const [p0, p1] = [anchorsPosition[n], anchorsPosition[n + 1]];
      const share = p1 > p0 ? Math.min(1, Math.max(0, (where - p0) / (p1 - p0))) : 0;
      return anchorsAt[n] + share * (anchorsAt[n + 1] - anchorsAt[n]);
    },
  };
}

/** Longer gaps than this are cut short: chosen so that what is folded takes three fifths of the length, at most. */
function foldOf(visible) {
  const gaps = new Float64Array(visible.length + 1);
  let before = 0;
  visible.forEach((i, n) => {
    gaps[n] = events.at[i] - before;
    before = events.at[i];
  });
  gaps[visible.length] = Math.max(0, END - before);
  gaps.sort();
  // From the shortest gap up: if all that are longer were folded to this length, how much would they take?
  let sum = 0;
  for (let n = 0; n < gaps.length; n++) {
    sum += gaps[n];
    const folded = (gaps.length - 1 - n) * gaps[n];
    if (sum > 0 && folded <= (sum + folded) * FOLDED_SHARE) {
      // Somewhere between this gap and the next the share is met exactly.
      const longer = gaps.length - 1 - n;
      return longer === 0 ? Math.max(gaps[n], 1) : Math.max(1, Math.min(gaps[n + 1], sum * FOLDED_SHARE / (1 - FOLDED_SHARE) / longer));
    }
  }
  return 1;
}

/** The place of the last element that is not above `value`; -1 where there is none. */
function lastAtMost(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
