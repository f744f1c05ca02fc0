/** The parts of the viewer's panel. */

import { h } from "../dom.js";
import * as format from "../format.js";
import { stateLink } from "./link.js";
import { place } from "./region.js";
import { thumb, title } from "./thumb.js";

/** @typedef {import("../types.js").Item} Item */

/** Score, path, date and size. @param {Item} item */
export function facts(item) {
  /** @type {[string, string|null|undefined|false][]} */
  const rows = [
    ["Score", item.score !== null && item.score !== undefined && format.score(item.score)],
    ["Region", place(item.box)],
    ["Label", item.label],
    ["Image", item.image],
    ["Path", item.path],
    ["Date", item.date && format.date(item.date)],
    ["Size", [item.width && item.height && `${item.width} × ${item.height} px`, item.bytes && format.size(item.bytes)].filter(Boolean).join(", ")],
    ["ID", String(item.id)],
  ];
  return h("dl", { class: "facts" }, ...rows.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** The score of each term of the query. @param {Item} item */
export function terms(item) {
  if (!item.terms || item.terms.length < 2) return null;
  return h("section", {}, h("h3", {}, "Score of each term"), bars(item.terms.map(({ label, weight, score }) => ({ name: `${weight < 0 ? "− " : ""}${label}`, share: Math.max(0, score), text: format.score(score) }))));
}

/**
 * The nearest classes.
 *
 * @param {import("../types.js").Details} details
 * @param {import("../app.js").App} app
 * @param {(name: string) => void} onchoose  other prototypes
 */
export function classes(details, app, onchoose) {
  if (!details.classes?.length) return null;
  const rows = details.classes.slice(0, 5).map(({ class_name, score, probability }) => ({
    name: class_name,
    share: probability ?? Math.max(0, score),
    text: probability === null || probability === undefined ? format.score(score) : format.percent(probability),
  }));
  const chosen = app.prototypes?.name;
  const choice =
    app.fitting.length > 1 &&
    h(
      "select",
      { "aria-label": "Prototypes", onchange: (/** @type {Event} */ event) => onchoose(/** @type {HTMLSelectElement} */ (event.target).value) },
      ...app.fitting.map(({ name }) => h("option", { value: name, selected: name === chosen }, name)),
    );
  return h("section", {}, h("h3", {}, "Nearest classes"), choice, bars(rows));
}

/**
 * Images that look alike.
 *
 * @param {import("../types.js").Details} details
 * @param {import("../app.js").App} app
 * @param {(id: number) => void} onopen
 */
export function neighbours(details, app, onopen) {
  const { neighbours: items = [] } = details;
  if (!items.length) return null;
  return h(
    "section",
    {},
    h("h3", {}, app.gallery?.holds_texts ? "Nearest texts" : "Nearest images"),
    h(
      "ul",
      { class: "neighbours" },
      ...items.map((item) =>
        h(
          "li",
          {},
          stateLink(
            app,
            { id: item.id },
            { go: () => onopen(item.id), title: `${title(item)}, score ${format.score(item.score)}`, "aria-label": `${title(item)}, score ${format.score(item.score)}` },
            item.text ? h("span", { class: "said" }, item.text) : item.missing ? h("span", { class: "missing" }, "Missing") : thumb(app.gallery?.name ?? "", item, "84px", { lazy: false }),
          ),
        ),
      ),
    ),
  );
}

/** @param {{name: string, share: number, text: string}[]} rows */
function bars(rows) {
  return h(
    "ul",
    { class: "bars" },
    ...rows.map(({ name, share, text }) => {
      const fill = h("span", { class: "fill" });
      fill.style.width = `${Math.min(1, share) * 100}%`;
      return h("li", {}, h("span", { class: "name" }, name), h("span", { class: "track", "aria-hidden": "true" }, fill), h("span", { class: "number" }, text));
    }),
  );
}
