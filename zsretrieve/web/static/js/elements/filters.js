/** `<zs-filters>`: filters by label, folder, date and size, and the SQL that they make. */

import { fill, h } from "../dom.js";
import { count } from "../format.js";
import * as sql from "../sql.js";

const MOST = 200; // boxes of a list; typing finds the others

/** Fires `filter` (detail: a patch of the state) and `shut`. */
export class Filters extends HTMLElement {
  /** @type {import("../types.js").Gallery|null} */
  gallery = null;
  wanted = sql.none();
  text = h("textarea", { name: "where", rows: 2, spellcheck: "false", autocapitalize: "off", "aria-describedby": "filter-error", placeholder: "label = 'cat' and width > 500" });
  alert = h("p", { id: "filter-error", class: "error", role: "alert" });
  note = h("p", { class: "soft small", hidden: true }, "Written by hand. Clicking a filter replaces it.");

  constructor() {
    super();
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      this.#apply();
    });
    this.addEventListener("change", (event) => this.#changed(/** @type {HTMLInputElement} */ (event.target)));
    this.addEventListener("keydown", (event) => {
      const target = /** @type {HTMLInputElement} */ (event.target);
      // Escape first empties a field that finds something.
      if (event.key !== "Escape" || (target.type === "search" && target.value)) return;
      event.preventDefault();
      this.dispatchEvent(new CustomEvent("shut"));
    });
  }

  /**
   * @param {import("../types.js").State} state
   * @param {import("../types.js").Gallery} gallery
   */
  show(state, gallery) {
    const { where, min, dedup } = state;
    const read = sql.read(where);
    this.wanted = read ?? sql.none();
    if (gallery !== this.gallery) this.#build(gallery);
    const wanted = this.wanted;
    for (const box of this.#inputs("[data-list]")) {
      box.checked = wanted[/** @type {"labels"|"folders"} */ (box.dataset.list)].includes(box.value);
    }
    const values = {
      from: wanted.from, to: wanted.to, pixels: wanted.pixels,
      least: wanted.least === null ? null : wanted.least / 1e6, most: wanted.most === null ? null : wanted.most / 1e6, min,
    };
    for (const [name, value] of Object.entries(values)) {
      const [input] = this.#inputs(`[name=${name}]`);
      if (input !== document.activeElement) input.value = value === null ? "" : String(value);
    }
    this.#inputs("[name=dedup]")[0].checked = dedup;
    if (this.text !== document.activeElement) this.text.value = where;
    this.note.hidden = read !== null;
  }

  /** @param {string} message  about the condition; nothing clears it */
  set error(message) {
    this.alert.textContent = message;
    this.text.setAttribute("aria-invalid", String(Boolean(message)));
  }

  /** @param {string} selector @returns {HTMLInputElement[]} */
  #inputs(selector) {
    return [...this.querySelectorAll(selector)].map((one) => /** @type {HTMLInputElement} */ (one));
  }

  /** @param {import("../types.js").Gallery} gallery */
  #build(gallery) {
    this.gallery = gallery;
    const { labels = [], folders = [] } = gallery;
    const day = (/** @type {string|null|undefined} */ iso) => iso?.slice(0, 10) ?? null;
    const range = { min: day(gallery.first_date), max: day(gallery.last_date) };
    fill(
      this,
      h(
        "div",
        { class: "filters" },
        labels.length > 0 && this.#list("labels", "Label", labels.map(({ label, n }) => [label, n])),
        folders.length > 1 && this.#list("folders", "Folder", folders.map(({ folder, n }) => [folder, n])),
        h(
          "fieldset",
          { class: "fields" },
          h("legend", {}, "Date and size"),
          field("From", { type: "date", name: "from", ...range }),
          field("To", { type: "date", name: "to", ...range }),
          field("Minimum side (px)", { type: "number", name: "pixels", min: 1, inputmode: "numeric", title: "The longer side" }),
          field("Minimum file size (MB)", { type: "number", name: "least", min: 0, step: "any" }),
          field("Maximum file size (MB)", { type: "number", name: "most", min: 0, step: "any" }),
        ),
        h(
          "fieldset",
          { class: "fields" },
          h("legend", {}, "Results"),
          field("Minimum score", { type: "number", name: "min", min: -1, max: 1, step: "any" }),
          h("label", { class: "tick" }, h("input", { type: "checkbox", name: "dedup" }), "Leave out near-duplicates"),
        ),
        h(
          "div",
          { class: "sql" },
          h("label", {}, h("span", {}, "SQL condition"), this.text),
          this.note,
          this.alert,
          h(
            "p",
            { class: "actions" },
            h("button", { type: "button", onclick: () => this.#apply() }, "Apply"),
            h("button", { type: "button", class: "plain", onclick: () => this.#fire({ where: "", min: null, dedup: false }) }, "Clear filters"),
          ),
        ),
      ),
    );
  }

  /**
   * A list of boxes, with a field that narrows it.
   *
   * @param {"labels"|"folders"} name
   * @param {string} legend
   * @param {[string, number][]} rows
   */
  #list(name, legend, rows) {
    const list = h("div", { class: "list", tabindex: 0, role: "group", "aria-label": legend });
    const show = (/** @type {string} */ text) => {
      const wanted = this.wanted[name];
      const finds = (/** @type {string} */ value) => value.toLowerCase().includes(text.trim().toLowerCase());
      // What is chosen is in sight.
      const fitting = [...rows.filter(([value]) => wanted.includes(value)), ...rows.filter(([value]) => !wanted.includes(value) && finds(value))];
      fill(
        list,
        ...fitting.slice(0, MOST).map(([value, n]) =>
          h(
            "label",
            { class: "tick" },
            h("input", { type: "checkbox", value, "data-list": name, checked: wanted.includes(value) }),
            h("span", { class: "value" }, value || "(top folder)"),
            h("small", {}, count(n)),
          ),
        ),
        fitting.length > MOST && h("p", { class: "soft small" }, `${count(fitting.length - MOST)} more: type to find them.`),
        !fitting.length && h("p", { class: "soft small" }, "None"),
      );
    };
    show("");
    return h(
      "fieldset",
      {},
      h("legend", {}, legend),
      rows.length > 8 && h("input", { type: "search", "aria-label": `Find a ${legend.toLowerCase()}`, placeholder: "Find", oninput: (/** @type {Event} */ event) => show(/** @type {HTMLInputElement} */ (event.target).value) }),
      list,
    );
  }

  /** @param {HTMLInputElement} input */
  #changed(input) {
    if (input.type === "number" && !input.reportValidity()) return undefined;
    const number = (scale = 1) => (input.value === "" || !Number.isFinite(input.valueAsNumber) ? null : Math.round(input.valueAsNumber * scale));
    const next = { ...this.wanted };
    const { list } = input.dataset;
    if (list === "labels" || list === "folders") {
      next[list] = input.checked ? [...next[list], input.value] : next[list].filter((one) => one !== input.value);
    } else if (input.name === "from" || input.name === "to") next[input.name] = input.value;
    else if (input.name === "pixels") next.pixels = number();
    else if (input.name === "least" || input.name === "most") next[input.name] = number(1e6);
    else if (input.name === "min") return this.#fire({ min: input.value === "" ? null : input.valueAsNumber });
    else if (input.name === "dedup") return this.#fire({ dedup: input.checked });
    else return undefined;
    return this.#fire({ where: sql.write(next) });
  }

  #apply() {
    this.#fire({ where: this.text.value.trim() });
  }

  /** @param {Partial<import("../types.js").State>} patch */
  #fire(patch) {
    this.dispatchEvent(new CustomEvent("filter", { detail: patch }));
  }
}

/**
 * @param {string} label
 * @param {Record<string, any>} properties
 */
function field(label, properties) {
  return h("label", { class: "field" }, h("span", {}, label), h("input", properties));
}

customElements.define("zs-filters", Filters);
