/** How two sets of prototypes differ on the same images. */

import { h } from "../dom.js";
import { count, counted, points, precise } from "../format.js";
import { itemsOf } from "../results.js";
import { range } from "./figures.js";

/** @typedef {import("../types.js").Item & {true_class: string, first_class: string, second_class: string, won: boolean}} Flip */
/** @typedef {{class_name: string, n: number, first_correct: number, second_correct: number, change: number}} Change */

const CHANGES = 8;

/**
 * @param {any} answer
 * @param {string} first  name
 * @param {string} second
 * @param {string} gallery
 * @param {import("./pictures.js").Pictures} pictures
 */
export function comparison(answer, first, second, gallery, pictures) {
  const { low, high, level } = answer.interval;
  const better = answer.difference > 0 ? second : first;
  const certain = low > 0 || high < 0;
  const verdict =
    answer.difference === 0
      ? "Both find equally many labels."
      : certain
        ? `${better} finds more labels.`
        : `${better} finds more labels here, but chance could explain the difference.`;
  const shift = h("span", { class: "difference", "aria-hidden": "true" });
  // The interval on a line with zero in its middle.
  const reach = Math.max(Math.abs(low), Math.abs(high)) || 1;
  for (const [name, value] of Object.entries({ low, high, value: answer.difference })) shift.style.setProperty(`--${name}`, String(0.5 + value / reach / 2.1));
  const counts = [
    ["Both right", answer.both_right],
    [`Only ${first} right`, answer.only_first_right],
    [`Only ${second} right`, answer.only_second_right],
    ["Both wrong", answer.both_wrong],
  ];
  /** @type {Flip[]} */
  const flips = answer.flips;
  return h(
    "section",
    { class: "comparison" },
    h("h2", {}, `${second} compared with ${first}`),
    h(
      "dl",
      { class: "figures" },
      h("div", {}, h("dt", {}, "Difference of Prec@1"), h("dd", {}, h("strong", {}, `${points(answer.difference)} points`), h("span", { class: "soft" }, `${points(low)} to ${points(high)}`), h("small", { class: "soft" }, `on the same ${counted(answer.n, "image")}, p = ${answer.p_value < 0.001 ? "under 0.001" : answer.p_value.toFixed(3)}`)), shift),
      ...[[first, answer.first], [second, answer.second]].map(([name, side]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, h("strong", {}, precise(side["prec@1"])), h("span", { class: "soft" }, range(side.interval)), h("small", { class: "soft" }, `${count(side.n_correct)} right`))),
      ),
    ),
    h("p", {}, verdict, h("span", { class: "soft small" }, ` The paired interval is of ${Math.round(level * 100)} %; p is of McNemar’s exact test.`)),
    h("ul", { class: "counts" }, ...counts.map(([name, n]) => h("li", {}, h("strong", {}, count(n)), ` ${name}`))),
    changes(`Classes that ${second} finds better`, answer.won),
    changes(`Classes that ${first} finds better`, answer.lost),
    ...flipped(`Only ${second} is right`, flips.filter(({ won }) => won), gallery, pictures),
    ...flipped(`Only ${first} is right`, flips.filter(({ won }) => !won), gallery, pictures),
  );
}

/**
 * @param {string} title
 * @param {Change[]} rows
 */
function changes(title, rows) {
  if (!rows.length) return null;
  return h(
    "div",
    {},
    h("h3", {}, title),
    h(
      "ul",
      { class: "changes" },
      ...rows.slice(0, CHANGES).map(({ class_name, n, first_correct, second_correct }) => h("li", {}, class_name, h("span", { class: "soft" }, ` ${count(first_correct)} → ${count(second_correct)} of ${count(n)}`))),
      rows.length > CHANGES && h("li", { class: "soft" }, `and ${counted(rows.length - CHANGES, "other class", "other classes")}`),
    ),
  );
}

/**
 * @param {string} title
 * @param {Flip[]} flips
 * @param {string} gallery
 * @param {import("./pictures.js").Pictures} pictures
 */
function flipped(title, flips, gallery, pictures) {
  if (!flips.length) return [];
  const caption = (/** @type {any} */ flip) => ({ name: flip.true_class, more: `${flip.first_class} → ${flip.second_class}` });
  const grid = pictures.grid({ caption, ragged: true });
  pictures.fill(grid, itemsOf(gallery, flips));
  return [h("h3", {}, `${title}: ${counted(flips.length, "image")}`), grid];
}
