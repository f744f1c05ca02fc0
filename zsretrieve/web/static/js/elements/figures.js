/** The figures of an evaluation, and its table of classes. */

import { fill, h } from "../dom.js";
import { count, counted, precise } from "../format.js";
import { stateLink } from "./link.js";

/** @typedef {{low: number, high: number, level: number}} Interval */
/** @typedef {{class_name: string, n_scored: number, n_correct: number, recall: number, interval: Interval|null}} ClassResult */

/** @param {Interval|null|undefined} interval */
export const range = (interval) => (interval ? `${precise(interval.low).replace(" %", "")} to ${precise(interval.high)}` : "");

/**
 * Precision and recall, with what they are of.
 *
 * @param {any} report
 */
export function figures(report) {
  const level = Math.round((report["prec@1_interval"]?.level ?? 0.95) * 100);
  const { n_classes: classes, n_classes_scored: scored } = report;
  const over = scored === classes ? `over all ${count(classes)} classes` : `over the ${count(scored)} of ${count(classes)} classes with images`;
  /** @type {[string, number|null, Interval|null, string][]} */
  const rows = [
    ["Prec@1", report["prec@1"], report["prec@1_interval"], `${count(report.n_correct)} of ${counted(report.n_scored, "image")} right`],
    ["Prec@5", report["prec@5"], report["prec@5_interval"], "the right class is among the best five"],
    ["Mean recall", report.mean_per_class_recall, report.mean_per_class_recall_interval, over],
  ];
  const left = [
    report.n_unlabelled > 0 && `${counted(report.n_unlabelled, "image")} without a label ${report.n_unlabelled === 1 ? "is" : "are"} left out`,
    report.n_skipped > 0 && `${counted(report.n_skipped, "file")} could not be read`,
    report.n_tied > 0 && `${counted(report.n_tied, "image")} had equal scores for two classes`,
  ].filter(Boolean);
  return h(
    "section",
    { "aria-label": "Figures" },
    h(
      "dl",
      { class: "figures" },
      ...rows.filter(([, value]) => value !== null && value !== undefined).map(([name, value, interval, of]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, h("strong", {}, precise(value ?? 0)), h("span", { class: "soft" }, range(interval)), h("small", { class: "soft" }, of))),
      ),
    ),
    h("p", { class: "soft small" }, [`The ranges are ${level} % confidence intervals.`, ...left.map((one) => `${one}.`)].join(" ")),
  );
}

const FIRST = 20; // rows before the rest is asked for

/** @type {[string, string, (a: ClassResult, b: ClassResult) => number][]} */
const ORDERS = [
  ["class", "Class", (a, b) => a.class_name.localeCompare(b.class_name)],
  ["n", "Images", (a, b) => b.n_scored - a.n_scored],
  ["right", "Right", (a, b) => b.n_correct - a.n_correct],
  ["recall", "Recall", (a, b) => a.recall - b.recall || b.n_scored - a.n_scored],
];

/**
 * The table of the classes, the worst first.
 *
 * @param {import("../app.js").App} app
 * @param {ClassResult[]} classes
 */
export function perClass(app, classes) {
  const body = h("tbody");
  const table = h("table", { class: "classes" });
  const more = h("button", { type: "button", onclick: () => draw(true) }, `Show all ${count(classes.length)} classes`);
  const heads = ORDERS.map(([name, title]) =>
    h("th", { scope: "col", class: name }, h("button", { type: "button", class: "plain", onclick: () => app.go({ own: { ...app.state.own, sort: name === "recall" ? "" : name } }, { replace: true }) }, title)),
  );
  table.append(h("thead", {}, h("tr", {}, ...heads)), body);
  let sort = "";
  let all = false;
  const draw = (every = all) => {
    all = every || classes.length <= FIRST + 5;
    sort = app.state.own.sort || "recall";
    const index = Math.max(0, ORDERS.findIndex(([name]) => name === sort));
    for (const [i, head] of heads.entries()) {
      const [name] = ORDERS[i];
      if (i === index) head.setAttribute("aria-sort", name === "n" || name === "right" ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    const rows = classes.toSorted(ORDERS[index][2]).slice(0, all ? undefined : FIRST);
    fill(body, ...rows.map((one) => row(app, one)));
    more.hidden = all;
  };
  draw();
  const section = h("section", {}, h("h2", {}, "Classes"), h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Recall of each class" }, table), more);
  return { section, sorted: () => (app.state.own.sort || "recall") !== sort && draw() };
}

/**
 * @param {import("../app.js").App} app
 * @param {ClassResult} one
 */
function row(app, { class_name: name, n_scored, n_correct, recall, interval }) {
  const bar = h("span", { class: "interval", "aria-hidden": "true" });
  bar.style.setProperty("--recall", String(recall));
  bar.style.setProperty("--low", String(interval?.low ?? recall));
  bar.style.setProperty("--high", String(interval?.high ?? recall));
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, name),
    h("td", { class: "n" }, count(n_scored)),
    h("td", { class: "right" }, n_correct ? stateLink(app, cellOf(app, name, name), { "aria-label": `${count(n_correct)} right of ${name}` }, count(n_correct)) : "0"),
    h("td", { class: "recall" }, h("span", { class: "measured" }, bar, h("span", { class: "number" }, precise(recall)), h("small", { class: "soft" }, range(interval)))),
  );
}

/**
 * The state that shows the images of one class that were classified as another.
 *
 * @param {import("../app.js").App} app
 * @param {string} truth
 * @param {string} predicted
 */
export const cellOf = (app, truth, predicted) => ({ own: { ...app.state.own, true: truth, predicted }, id: null });
