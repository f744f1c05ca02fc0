/** Which classes are taken for which: the most confused pairs, and the matrix of all. */

import { fill, h } from "../dom.js";
import { count, counted } from "../format.js";
import { cellOf } from "./figures.js";
import { stateLink } from "./link.js";

/** @typedef {import("../app.js").App} App */
/** @typedef {{classes: string[], cells: [number, number, number][]}} Matrix  true, predicted, images */

const LARGEST = 60; // classes in a matrix that one can read
const FIRST = 12;

/**
 * @param {App} app
 * @param {Matrix} matrix
 */
export function confusion(app, matrix) {
  const { classes, cells } = matrix;
  const wrong = cells.filter(([truth, predicted]) => classes[truth] !== classes[predicted]);
  const occurring = new Set(cells.flatMap(([truth, predicted]) => [truth, predicted]));
  return h(
    "section",
    {},
    h("h2", {}, "Confusions"),
    ...(wrong.length ? pairs(app, classes, wrong.toSorted((a, b) => b[2] - a[2])) : [h("p", { class: "soft" }, "Every image was classified as its label says.")]),
    ...(occurring.size <= LARGEST
      ? table(app, matrix, [...occurring].sort((a, b) => a - b))
      : [h("p", { class: "soft" }, `${count(occurring.size)} classes are too many for a matrix; the confused pairs are listed above.`)]),
  );
}

/**
 * @param {App} app
 * @param {string[]} classes
 * @param {Matrix["cells"]} cells
 */
function pairs(app, classes, cells) {
  const list = h("ol", { class: "pairs" });
  const more = h("button", { type: "button", onclick: () => draw(cells.length) }, `Show all ${counted(cells.length, "pair")}`);
  const most = cells[0][2];
  const draw = (/** @type {number} */ n) => {
    fill(list, ...cells.slice(0, n).map(([truth, predicted, images]) => {
      const bar = h("span", { class: "fill" });
      bar.style.width = `${(images / most) * 100}%`;
      return h(
        "li",
        {},
        stateLink(app, cellOf(app, classes[truth], classes[predicted]), {}, h("span", { class: "name" }, classes[truth], h("span", { class: "soft" }, " taken for "), classes[predicted])),
        h("span", { class: "track", "aria-hidden": "true" }, bar),
        h("span", { class: "number" }, count(images)),
      );
    }));
    more.hidden = n >= cells.length;
  };
  draw(cells.length <= FIRST + 3 ? cells.length : FIRST);
  return [list, more];
}

/**
 * @param {App} app
 * @param {Matrix} matrix
 * @param {number[]} shown  the classes that occur
 */
function table(app, { classes, cells }, shown) {
  /** @type {Map<string, number>} */
  const of = new Map(cells.map(([truth, predicted, n]) => [`${truth} ${predicted}`, n]));
  /** @type {Map<number, number>} */
  const totals = new Map();
  for (const [truth, , n] of cells) totals.set(truth, (totals.get(truth) ?? 0) + n);
  const body = h("tbody");
  for (const truth of shown.filter((one) => totals.has(one))) {
    const row = h("tr", {}, h("th", { scope: "row" }, classes[truth]));
    for (const predicted of shown) {
      const n = of.get(`${truth} ${predicted}`);
      if (!n) {
        row.append(h("td", { class: truth === predicted ? "right" : "" }));
        continue;
      }
      const right = truth === predicted;
      const said = right ? `${classes[truth]}: ${counted(n, "image")} right` : `${classes[truth]} taken for ${classes[predicted]}: ${counted(n, "image")}`;
      const cell = h("td", { class: right ? "right" : "wrong" }, stateLink(app, cellOf(app, classes[truth], classes[predicted]), { "aria-label": said, title: said, tabindex: -1 }, count(n)));
      cell.style.setProperty("--share", String(n / (totals.get(truth) ?? n)));
      row.append(cell);
    }
    body.append(row);
  }
  body.querySelector("a")?.setAttribute("tabindex", "0");
  body.addEventListener("keydown", (event) => move(event, body));
  return [
    h("p", { id: "matrix-reads", class: "soft small" }, "Rows are labels, columns are predictions. Arrow keys move between the cells that have images."),
    h(
      "div",
      { class: "wide", tabindex: 0, role: "region", "aria-label": "Confusion matrix" },
      h(
        "table",
        { class: "matrix", "aria-describedby": "matrix-reads" },
        h("thead", {}, h("tr", {}, h("td"), ...shown.map((one) => h("th", { scope: "col" }, h("span", {}, classes[one]))))),
        body,
      ),
    ),
  ];
}

/**
 * Move to the next cell with images in the direction of an arrow key: along the row, or to the nearest row that has one in
 * or closest to the column.
 *
 * @param {KeyboardEvent} event
 * @param {HTMLTableSectionElement} body
 */
function move(event, body) {
  const from = /** @type {HTMLElement} */ (event.target).closest("td");
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const step = steps[/** @type {keyof typeof steps} */ (event.key)];
  if (!from || !step || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const row = /** @type {HTMLTableRowElement} */ (from.parentElement);
  const links = [...body.querySelectorAll("a")];
  const places = links.map((link) => {
    const cell = /** @type {HTMLTableCellElement} */ (link.parentElement);
    const down = /** @type {HTMLTableRowElement} */ (cell.parentElement).sectionRowIndex - row.sectionRowIndex;
    const right = cell.cellIndex - from.cellIndex;
    return step[0] ? { ahead: down * step[0], aside: Math.abs(right) } : { ahead: down ? 0 : right * step[1], aside: 0 };
  });
  let best = -1;
  for (const [i, { ahead, aside }] of places.entries()) {
    if (ahead <= 0) continue;
    if (best < 0 || ahead < places[best].ahead || (ahead === places[best].ahead && aside < places[best].aside)) best = i;
  }
  if (best < 0) return;
  for (const [i, link] of links.entries()) link.setAttribute("tabindex", i === best ? "0" : "-1");
  links[best].focus();
}
