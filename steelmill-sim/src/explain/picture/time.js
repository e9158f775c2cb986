// Formats times and durations, given in nanoseconds of virtual time.

/** A time in seconds, with the decimals needed to distinguish times `step` apart: `12.345 678`. */
function clock(at, step = 1) {
  const digits = step >= 1e9 ? 0 : step >= 1e6 ? 3 : step >= 1e3 ? 6 : 9;
  const text = (at / 1e9).toFixed(digits);
  const [whole, rest] = text.split('.');
  return rest ? `${whole}.${rest.match(/.{3}/g).join(' ')}` : whole;
}

/** A duration, to three digits: `4.25 ms`. */
function lasting(nanos) {
  const abs = Math.abs(nanos);
  const [size, unit] = abs >= 1e9 ? [1e9, 's'] : abs >= 1e6 ? [1e6, 'ms'] : abs >= 1e3 ? [1e3, 'µs'] : [1, 'ns'];
  return `${Number((nanos / size).toPrecision(abs >= 1e12 ? 5 : 3))} ${unit}`;
}

/** The largest of 1, 2, 5, 10, ... that is at most `most`. */
function roundStep(most) {
  const size = 10 ** Math.floor(Math.log10(most));
  const lead = most / size;
  return size * (lead >= 5 ? 5 : lead >= 2 ? 2 : 1);
}
