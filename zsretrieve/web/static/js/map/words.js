/** What the map view says of what is lit and in view. */

import { count, counted } from "../format.js";

const NEAREST = 50; // lit where it is not known what matches

/**
 * Which hits are lit, and what to say about it.
 *
 * @param {import("../results.js").Results} results
 * @param {boolean} ranked  else only filtered
 */
export function litOf({ hits, answer }, ranked) {
  const { matching, total = 0 } = answer ?? {};
  if (!ranked) return { hits, words: total > hits.length ? `The first ${count(hits.length)} of ${count(total)} that pass the filters are lit.` : "" };
  if (!hits.length) return { hits, words: "" };
  const nearest = hits.slice(0, NEAREST);
  if (!matching) return { hits: nearest, words: `The best ${count(nearest.length)} are lit.` };
  if (matching.nothing) return { hits: nearest, words: `Nothing seems to match; the nearest ${count(nearest.length)} are lit.` };
  const found = hits.filter(({ score }) => (score ?? 0) >= matching.threshold);
  const more = found.length === hits.length && total > hits.length;
  return { hits: found, words: more ? `The best ${count(found.length)} are lit.` : "" };
}

/**
 * The labels that are most in view, with their counts.
 *
 * @param {Uint32Array} places
 * @param {import("./load.js").MapData} data
 */
export function labelsOf(places, { points, captions }) {
  const counts = new Uint32Array(captions.length);
  for (let i = 0; i < places.length; i += 1) {
    const label = points.labels[places[i]];
    if (label >= 0 && label < counts.length) counts[label] += 1;
  }
  const most = Array.from(counts, (n, label) => /** @type {const} */ ([label, n])).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  const shown = most.slice(0, 8).map(([label, n]) => `${captions[label].label} ${count(n)}`);
  if (most.length > shown.length) shown.push(`${counted(most.length - shown.length, "more label")}`);
  return shown.join(" · ");
}
