/** The head of the views that search: query, terms, filters, and a line about what they found. */

import { act } from "../actions.js";
import { thumbnail, uploadThumbnail } from "../api.js";
import { busy, fill, h, icon, on, wordsOf } from "../dom.js";
import { causeOf } from "../results.js";
import { isSearch } from "../state.js";
import { changed } from "../terms.js";
import { receive, upload } from "../uploads.js";
import { cropDialog } from "./crop.js";
import { Filters } from "./filters.js";
import { notice } from "./notice.js";
import { SearchBox } from "./search-box.js";
import { Terms } from "./terms.js";

export class QueryHead {
  /**
   * @param {import("../app.js").App} app
   * @param {{onleave: () => void, hasFailed: () => boolean, again: () => void, ordered?: boolean, tools?: Node[]}} options
   *   what is done when one goes down from the box; whether the last search failed, and another attempt at it;
   *   `tools` are what the view has beside the filters
   */
  constructor(app, { onleave, hasFailed, again, ordered = false, tools = [] }) {
    this.app = app;
    this.hasFailed = hasFailed;
    this.again = again;
    this.box = new SearchBox();
    this.terms = new Terms();
    this.filters = new Filters();
    this.filters.id = "filters";
    this.filters.hidden = true;
    this.filterButton = h("button", { type: "button", class: "toggle", "aria-expanded": "false", "aria-controls": "filters", onclick: () => this.toggleFilters() }, icon("filter"), h("span", {}, "Filters"));
    this.order = h(
      "select",
      { "aria-label": "Order", hidden: !ordered, onchange: () => app.go({ order: /** @type {any} */ (this.order.value) }) },
      h("option", { value: "score" }, "Best first"),
      h("option", { value: "date" }, "Newest first"),
    );
    this.error = h("p", { id: "query-error", class: "error", role: "alert" });
    this.status = h("div", { class: "status" });
    this.element = h("div", { class: "search" }, this.box, this.error, this.terms, h("div", { class: "row" }, this.filterButton, this.order, ...tools, this.status), this.filters);
    on(this.box, "search", (q) => this.#search(q));
    on(this.box, "image", (file) => this.#bring(file));
    on(this.box, "leave", onleave);
    on(this.terms, "change", (patch) => app.go(patch));
    on(this.terms, "part", (chip) => {
      const source = chip.kind === "upload" ? uploadThumbnail(chip.value, 512) : thumbnail(app.gallery?.name ?? "", chip.value, 512);
      cropDialog(source, (box) => app.go(changed(app.state, chip, { box })));
    });
    on(this.filters, "filter", (patch) => app.go(patch));
    on(this.filters, "shut", () => this.toggleFilters(false));
    this.unlisten = receive({ onfile: (file) => this.#bring(file), onid: (id) => act(app, "use", id), onother: (message) => (this.error.textContent = message) });
  }

  /** @param {import("../types.js").State|null} before */
  show(before) {
    const { app } = this;
    const { state } = app;
    // What is being typed stays.
    if (state.q !== before?.q) this.box.query = state.q;
    this.terms.show(state, app.gallery?.name ?? "", app.gallery?.holds_texts);
    this.order.value = state.order;
    this.order.options[0].text = isSearch(state) ? "Best first" : "In gallery order";
    const filtering = [state.where, state.min !== null, state.dedup].filter(Boolean).length;
    fill(this.filterButton, icon("filter"), h("span", {}, "Filters"), filtering > 0 && h("span", { class: "badge" }, filtering));
    if (!before || before.g !== state.g || !this.filters.gallery) this.#describe();
    else this.filters.show(state, this.filters.gallery);
  }

  /** Labels for completions and filters; the search does not wait for them. */
  async #describe() {
    await null; // the search is asked for first
    try {
      const details = await this.app.details();
      this.box.labels = details.labels ?? [];
      this.filters.show(this.app.state, details);
    } catch {
      // The search says what is wrong with the server.
    }
  }

  clearErrors() {
    this.error.textContent = this.filters.error = "";
  }

  /**
   * Say what is wrong with a search beside what is to be corrected.
   *
   * @param {any} error
   * @param {() => boolean} isWanted  whether nothing else is asked for by now
   * @returns {Promise<HTMLElement|null>} what takes the place of images; null if it is no longer wanted
   */
  async fail(error, isWanted) {
    this.clearErrors();
    fill(this.status);
    const { cause, message } = await causeOf(error, this.app.gallery?.name ?? "", this.app.state.where);
    if (!isWanted()) return null;
    if (cause === "server") return notice({ error, again: this.again });
    if (cause === "query") {
      this.error.textContent = message;
      return notice({ title: "Nothing was searched.", text: "See the error under the search box." });
    }
    this.filters.error = message;
    this.toggleFilters(true);
    this.filters.text.focus();
    return notice({ title: "The filter cannot be applied.", text: "See the error under the SQL condition." });
  }

  /** @param {string} q */
  #search(q) {
    if (q === this.app.state.q && this.hasFailed()) this.again();
    else this.app.go({ q, id: null });
  }

  /** @param {Blob} file */
  async #bring(file) {
    try {
      const term = await busy(upload(file));
      this.app.go({ t: [...this.app.state.t, term], id: null });
    } catch (error) {
      this.error.textContent = wordsOf(error);
    }
  }

  /** @param {boolean} [open] */
  toggleFilters(open = Boolean(this.filters.hidden)) {
    this.filters.hidden = !open;
    this.filterButton.setAttribute("aria-expanded", String(open));
    if (!open) this.filterButton.focus();
    else /** @type {HTMLElement|null} */ (this.filters.querySelector("input, textarea"))?.focus();
  }

  /**
   * @param {KeyboardEvent} event
   * @returns {boolean} whether the key was one of the head
   */
  key({ key }) {
    if (key === "/") this.box.focus();
    else if (key === "f") this.toggleFilters();
    else return false;
    return true;
  }
}
