/** Numbers and dates as people read them. */

/** A whole number; loading what Intl needs would hold the first images back. @param {number} n */
export const count = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");

/**
 * @param {number} n
 * @param {string} singular
 * @param {string} [plural]
 */
export const counted = (n, singular, plural = `${singular}s`) => `${count(n)} ${n === 1 ? singular : plural}`;

/** @param {number|null|undefined} score */
export const score = (score) => (score === null || score === undefined ? "" : score.toFixed(3).replace("-", "−"));

/**
 * Two scores that differ, with as many digits as show that.
 *
 * @param {number} a
 * @param {number} b
 */
export function scoresApart(a, b) {
  let digits = 3;
  while (digits < 7 && a.toFixed(digits) === b.toFixed(digits)) digits += 1;
  return [a, b].map((one) => one.toFixed(digits).replace("-", "−"));
}

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1000) return counted(bytes, "byte");
  const units = ["kB", "MB", "GB"];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 0.001) return "under 1 ms";
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

/** @param {string} iso */
export function date(iso) {
  const when = new Date(/Z|[+-]\d\d:?\d\d$/.test(iso) ? iso : `${iso}Z`);
  const shown = () => when.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
  return Number.isNaN(when.getTime()) ? iso : `${shown()} UTC`;
}

/** @param {number} share of 1 */
export function percent(share) {
  const value = share * 100;
  if (value > 0 && value < 0.1) return "<0.1 %";
  return `${value > 0 && value < 1 ? value.toFixed(1) : Math.round(value)} %`;
}

/**
 * Counts as percentages that never add up to more than 100: whole ones by the largest remainder; those below 1 % have a
 * decimal and are rounded down.
 *
 * @param {number[]} counts
 */
export function percents(counts) {
  const total = counts.reduce((sum, n) => sum + n, 0);
  const whole = counts.map((n) => Math.floor((100 * n) / total));
  const tenths = counts.map((n) => Math.floor((1000 * n) / total));
  const large = [...counts.keys()].filter((i) => whole[i]);
  const small = [...counts.keys()].filter((i) => !whole[i]);
  const sum = (/** @type {number[]} */ of, /** @type {number[]} */ places) => places.reduce((sum, i) => sum + of[i], 0);
  const room = Math.min(Math.round((100 * sum(counts, large)) / total), Math.floor(100 - sum(tenths, small) / 10));
  const rest = (/** @type {number} */ i) => (100 * counts[i]) % total;
  large.sort((i, j) => rest(j) - rest(i));
  for (const i of large.slice(0, room - sum(whole, large))) whole[i] += 1;
  return counts.map((n, i) => (whole[i] ? `${whole[i]} %` : percent(tenths[i] / 1000 || n / total)));
}

/** @param {number} share  of 1, with a decimal */
export const precise = (share) => `${(share * 100).toFixed(1).replace("-", "−")} %`;

/** A difference of two shares in percentage points, with its sign. @param {number} difference */
export const points = (difference) => `${difference > 0 ? "+" : ""}${(difference * 100).toFixed(1).replace("-", "−")}`;

/** @param {number} weight */
export const weight = (weight) => String(Math.round(Math.abs(weight) * 100) / 100);
