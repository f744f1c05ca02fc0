/** The line about a ranking, and what takes the place of images if there are none. */

import { h } from "../dom.js";
import { count, counted, duration, percent, score, scoresApart } from "../format.js";
import { isSearch } from "../state.js";
import { notice } from "./notice.js";

/** @typedef {import("../types.js").Answer} Answer */
/** @typedef {import("../types.js").Item} Item */
/** @typedef {import("../types.js").State} State */

/**
 * @param {Answer} answer
 * @param {State} state
 * @returns {{line: Node[], text: string, empty: HTMLElement[]}} the line, the same for screen readers, and notices
 */
export function summary(answer, state) {
  const { total, n_images: all } = answer;
  const counts = total === all ? counted(all, "image") : `${count(total)} of ${counted(all, "image")}`;
  const divides = dividingOf(answer, state);
  const above = divides ? `${count(divides.n)} above the threshold` : "";
  const missing = answer.n_missing ? `${count(answer.n_missing)} not compared` : "";
  const found = answer.expected && `, ${percent(answer.expected.recall.mean)} found`;
  const exact = answer.exact ? "exact" : missing ? "partial" : `approximate${found ?? ""}`;
  const line = [
    divides && h("strong", { title: `Scores of ${score(divides.threshold)} and more: ${percent(divides.false_alarms)} of unrelated queries reach that.` }, above),
    h("span", {}, counts),
    missing && h("strong", {}, missing),
    h("span", {}, duration(answer.seconds)),
    isSearch(state) && h("span", { title: aboutExact(answer) }, exact),
    h("span", { class: "model" }, answer.model),
  ].filter((part) => part instanceof Node);
  return { line, text: [above, counts, missing].filter(Boolean).join(", "), empty: notices(answer, state) };
}

/** @param {Answer} answer */
function aboutExact({ exact, expected, n_missing: missing }) {
  if (exact) return "Every image was compared.";
  if (missing) return `${counted(missing, "image")} could not be compared: the machines that hold them do not answer.`;
  if (!expected) return "The index may miss a few images; zsretrieve index tune measures how many.";
  return `About ${expected.recall.mean.toFixed(2)} of the ${expected.k} best images are found for ${expected.queries}.`;
}

/**
 * The threshold above which images probably match, if some of the ranking do and some may not.
 *
 * @param {Answer|null|undefined} answer
 * @param {State} state
 * @returns {{n: number, threshold: number, false_alarms: number}|null}
 */
export function dividingOf(answer, state) {
  const { n = null, threshold = 0, nothing, false_alarms = 0 } = answer?.matching ?? {};
  // A lowest score that is higher leaves out images that `n` counts.
  const isDivided = n !== null && !nothing && isSearch(state) && (state.min ?? -1) <= threshold;
  return isDivided ? { n, threshold, false_alarms } : null;
}

/**
 * @param {Answer} answer
 * @param {State} state
 */
function notices(answer, state) {
  const missing = answer.n_missing
    ? [h("p", { class: "nothing", role: "note" }, h("strong", {}, `${counted(answer.n_missing, "image")} could not be compared.`), " The machines that hold them do not answer. Search again in a minute.")]
    : [];
  return [...missing, ...ofMatching(answer, state)];
}

/**
 * @param {Answer} answer
 * @param {State} state
 */
function ofMatching(answer, state) {
  const { hits, matching, n_images: all } = answer;
  if (!hits.length) return [empty(all, state.min === null ? undefined : `No image scores at least ${state.min}. Lower the score, or clear the filters.`)];
  if (!matching?.nothing || !isSearch(state)) return [];
  const [best, threshold] = scoresApart(hits[0].score ?? 0, matching.threshold);
  return [
    h(
      "p",
      { class: "nothing", role: "note" },
      h("strong", {}, `Nothing ${state.where ? "that passes the filters" : "in this gallery"} seems to match.`),
      ` The best score, ${best}, is below ${threshold}, which ${percent(matching.false_alarms)} of unrelated queries reach. These are the nearest images.`,
    ),
  ];
}

/**
 * What takes the place of images where there are none.
 *
 * @param {number} all  images of the gallery
 * @param {string} [advice]  if it has some
 */
export function empty(all, advice = "Change or clear the filters.") {
  return all
    ? notice({ title: "No image passes.", text: advice })
    : notice({ title: "This gallery is empty.", text: "Add images: zsretrieve index add GALLERY FOLDER" });
}

/**
 * What says that the rest does not seem to match, between two images.
 *
 * @param {Answer} answer
 * @param {State} state
 * @returns {(item: Item, above: Item|undefined) => Node[]|null}
 */
export function dividing({ matching }, state) {
  if (!matching || matching.nothing || state.order !== "score" || !isSearch(state)) return () => null;
  const isBelow = (/** @type {Item} */ one) => (one.score ?? 0) < matching.threshold;
  return (item, above) => (above && isBelow(item) && !isBelow(above) ? [h("span", {}, `Below ${score(matching.threshold)}: probably not what you are looking for`)] : null);
}
