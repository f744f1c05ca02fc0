/** The line about a ranking, and what takes the place of images if there are none. */

import { h } from "../dom.js";
import { count, counted, duration, percent, score } from "../format.js";
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
  const { total, n_images: all, matching } = answer;
  const counts = total === all ? counted(all, "image") : `${count(total)} of ${counted(all, "image")}`;
  const match = isSearch(state) && matching && matching.n !== null && !matching.nothing ? `${counted(matching.n, "image")} ${matching.n === 1 ? "matches" : "match"}` : "";
  const exact = answer.exact ? "exact" : "approximate";
  const line = [
    match && h("strong", {}, match),
    h("span", {}, counts),
    h("span", {}, duration(answer.seconds)),
    isSearch(state) && h("span", { title: answer.exact ? "Every image was compared." : "The index may miss a few images." }, exact),
    h("span", { class: "model" }, answer.model),
  ].filter((part) => part instanceof Node);
  return { line, text: [match, counts].filter(Boolean).join(", "), empty: notices(answer, state) };
}

/**
 * @param {Answer} answer
 * @param {State} state
 */
function notices(answer, state) {
  const { hits, matching, n_images: all } = answer;
  if (!hits.length) return [empty(all, state.min === null ? undefined : `No image scores at least ${state.min}. Lower the score, or clear the filters.`)];
  if (!matching?.nothing || !isSearch(state)) return [];
  const best = hits[0].score ?? 0;
  return [
    h(
      "p",
      { class: "nothing", role: "note" },
      h("strong", {}, `Nothing ${state.where ? "that passes the filters" : "in this gallery"} seems to match.`),
      ` The best score, ${score(best)}, is below ${score(matching.threshold)}, which ${percent(matching.false_alarms)} of unrelated queries reach. These are the nearest images.`,
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
