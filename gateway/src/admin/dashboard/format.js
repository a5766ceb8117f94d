// Numbers and moments as a person reads them.

const number = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

export const count = (value) => (value < 100_000 ? number.format(value) : short.format(value));

/// How often in a second, to what a look can tell apart.
export const rate = (value) => (value === 0 || value >= 10 ? count(value) : value.toFixed(1));

export const share = (value) => (value === null ? '–' : `${(value * 100).toFixed(value < 1 && value > 0.995 ? 2 : 1)} %`);

/// A span that is given in microseconds.
export function span(micros) {
  if (micros === null || micros === undefined) return '–';
  if (micros < 1_000) return `${micros} µs`;
  const [value, unit] = micros < 1_000_000 ? [micros / 1_000, 'ms'] : [micros / 1_000_000, 's'];
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

/// A long span that is given in seconds.
export function age(seconds) {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 2 * 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} days`;
}

/// The time of day of a moment (RFC 3339), as clocks here show it.
export const timeOfDay = (moment) => clock.format(new Date(moment));

/// The same of a moment that is given in seconds.
export const timeOfSecond = (seconds) => clock.format(new Date(seconds * 1_000));
