/** The keys, and the dialog that lists them. */

import { h } from "./dom.js";
import { sheet } from "./elements/sheet.js";

/** @type {[string, [string, string][]][]} */
const KEYS = [
  ["Anywhere", [["/", "Search box"], ["f", "Filters"], ["?", "These keys"], ["Esc", "Close; clear the selection"]]],
  [
    "Images",
    [
      ["← → ↑ ↓", "Move; Home and End for the first and last"],
      ["Enter", "Large image"],
      ["m", "More like this"],
      ["l", "Less like this"],
      ["s", "Search with this image"],
      ["x", "Select; Shift+X up to here"],
      ["Shift+arrow", "Select while moving"],
      ["a", "Select all that are loaded"],
    ],
  ],
  [
    "Large image",
    [
      ["← →", "Previous and next image"],
      ["c", "Search with a part: arrows move it, Shift+arrows resize, Enter searches"],
      ["o", "Original file"],
    ],
  ],
  ["Confusion matrix", [["← → ↑ ↓", "Move between the cells that have images"], ["Enter", "Images of the cell"]]],
  [
    "Map",
    [
      ["← → ↑ ↓", "Move"],
      ["+ − 0", "Closer, farther, the whole map"],
      ["Enter, x", "Open or select the ringed image"],
      ["v", "Select all images in view"],
      ["Shift+drag", "Select with a lasso"],
    ],
  ],
  ["Terms", [["+ −", "More or less weight"], ["n", "Subtract instead of add"], ["Delete", "Remove"]]],
];

/** Show the keys. */
export function showKeys() {
  const sections = KEYS.map(([title, rows]) =>
    h(
      "section",
      {},
      h("h3", {}, title),
      h("dl", {}, ...rows.map(([key, action]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, action)))),
    ),
  );
  sheet("Keys", [h("div", { class: "keys" }, ...sections)]);
}
