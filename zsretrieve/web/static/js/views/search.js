/** The search view: query, filters, grid, large image, selection. */

import { announce, busy, fill, h, wordsOf } from "../dom.js";
import { Pictures } from "../elements/pictures.js";
import { QueryHead } from "../elements/query-head.js";
import { savedSearches } from "../elements/saved.js";
import { dividing, dividingOf, summary } from "../elements/status.js";
import { count } from "../format.js";
import { allIds, keyOf, resultsOf } from "../results.js";

/** @typedef {import("../types.js").State} State */
/** @typedef {import("../app.js").Place} Place */

const MOST_SELECTED = 100_000; // the API's limit for what one can do with a selection

/**
 * @param {HTMLElement} root
 * @param {import("../app.js").App} app
 * @returns {import("../views.js").View}
 */
export function mount(root, app) {
  return new SearchView(root, app);
}

class SearchView {
  /**
   * @param {HTMLElement} root
   * @param {import("../app.js").App} app
   */
  constructor(root, app) {
    this.app = app;
    /** @type {import("../results.js").Results|null} */
    this.results = null;
    /** Whether the first image gets the focus when the next ranking is shown. */
    this.refocus = false;
    this.pictures = new Pictures(app, {
      // The images that had the focus are about to be replaced.
      onact: (action) => (this.refocus = action !== "select" && (Boolean(this.grid.focused) || this.pictures.viewer.isOpen)),
      restart: () => this.again(),
    });
    this.grid = this.pictures.grid();
    this.all = h("button", { type: "button", hidden: true, onclick: () => this.selectAll() });
    this.head = new QueryHead(app, {
      ordered: true,
      tools: [h("button", { type: "button", "aria-haspopup": "dialog", title: "Saved searches", onclick: () => savedSearches(app) }, "Saved"), this.all],
      onleave: () => this.grid.focusAt(this.grid.current),
      hasFailed: () => Boolean(this.results?.failed),
      again: () => this.again(),
    });
    this.place = h("div", { class: "place" });
    root.append(this.head.element, h("main", { id: "main", tabindex: -1, class: "results" }, this.place, this.grid), this.pictures.viewer, this.pictures.bar);
  }

  unmount() {
    this.head.unlisten();
    this.results?.stop();
    this.pictures.unmount();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    return this.head.key(event);
  }

  /**
   * @param {State|null} before
   * @param {Place|null} place
   */
  update(before, place) {
    const { app } = this;
    const { state } = app;
    const gallery = app.gallery?.name ?? "";
    this.head.show(before);
    document.title = `${[state.q, gallery].filter(Boolean).join(" · ")} · zsretrieve`;
    const isNew = this.results?.key !== keyOf(gallery, state);
    if (place && !isNew) scrollTo(0, place.scroll ?? 0);
    // The large image of before does not wait for the next ranking, and that of the next waits for it.
    if (!isNew || state.id === null) this.pictures.update(!this.refocus);
    if (isNew) this.run(place);
  }

  /** @param {Place|null} place */
  async run(place) {
    const { app } = this;
    this.results?.stop();
    const results = resultsOf(app.gallery?.name ?? "", app.state, place?.loaded ?? 0);
    this.results = results;
    try {
      if (!results.answer) await busy(results.load());
    } catch (error) {
      if (results === this.results) this.fail(error);
      return;
    }
    if (results === this.results) this.shown(results, place);
  }

  /**
   * @param {import("../results.js").Results} results
   * @param {Place|null} place
   */
  shown(results, place) {
    const { answer } = results;
    if (!answer) return;
    this.head.clearErrors();
    const { line, text, empty } = summary(answer, this.app.state);
    fill(this.head.status, ...line);
    fill(this.place, ...empty);
    const above = dividingOf(answer, this.app.state);
    const n = above?.n ?? answer.total;
    this.all.hidden = n === 0;
    fill(this.all, `Select all ${count(n)}${above ? " above the threshold" : ""}`);
    this.grid.hidden = false;
    this.grid.divide = dividing(answer, this.app.state);
    this.grid.show(results);
    announce(text);
    if (this.refocus) this.grid.focusAt(0);
    this.refocus = false;
    scrollTo(0, place?.scroll ?? 0);
    this.pictures.update();
  }

  /** Select every image above the threshold, or all of the ranking, loaded or not. */
  async selectAll() {
    const { app } = this;
    const { state } = app;
    const gallery = app.gallery?.name ?? "";
    const min = dividingOf(this.results?.answer, state)?.threshold ?? state.min;
    try {
      const ids = await busy(allIds(gallery, { ...state, min }, MOST_SELECTED));
      if (gallery === app.gallery?.name) app.selection.mark(ids, true);
    } catch (error) {
      this.head.error.textContent = wordsOf(error);
    }
  }

  /** Ask for all images again. */
  again() {
    this.run({ loaded: this.results?.hits.length, scroll: scrollY });
  }

  /** @param {any} error */
  async fail(error) {
    const { results } = this;
    if (error?.name === "AbortError" || !results) return;
    this.all.hidden = true;
    this.grid.hidden = true;
    this.grid.clear(results);
    const message = await this.head.fail(error, () => results === this.results);
    if (message) fill(this.place, message);
  }
}
