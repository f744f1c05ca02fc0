/** The search view: query, filters, grid, large image, selection. */

import { act } from "../actions.js";
import { announce, fill, h } from "../dom.js";
import { notice } from "../elements/notice.js";
import { QueryHead } from "../elements/query-head.js";
import { savedSearches } from "../elements/saved.js";
import { SelectionBar } from "../elements/selection-bar.js";
import { dividing, summary } from "../elements/status.js";
import { Viewing } from "../elements/viewing.js";
import { count } from "../format.js";
import { allIds, forget, keyOf, resultsOf } from "../results.js";
import { isSearch } from "../state.js";

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
    this.viewing = new Viewing(app, (action, { id }) => this.act(action, id));
    this.grid = this.viewing.grid;
    this.all = h("button", { type: "button", hidden: true, onclick: () => this.selectAll() });
    this.head = new QueryHead(app, {
      ordered: true,
      tools: [h("button", { type: "button", "aria-haspopup": "dialog", title: "Saved searches", onclick: () => savedSearches(app) }, "Saved"), this.all],
      onleave: () => this.grid.focusAt(this.grid.current),
      onid: (id) => this.act("use", id),
      onagain: () => {
        const failed = Boolean(this.results?.failed);
        if (failed) this.run(null);
        return failed;
      },
    });
    this.bar = new SelectionBar();
    this.place = h("div", { class: "place" });
    root.append(this.head.element, h("main", { id: "main", tabindex: -1, class: "results" }, this.place, this.grid), this.viewing.viewer, this.bar);
    app.loaded = () => this.grid.cells.length;
    this.grid.addEventListener("failed", (event) => this.fail(/** @type {CustomEvent} */ (event).detail));
    this.changedSelection = () => {
      this.grid.refresh();
      this.bar.show(app);
      announce(`${app.selection.size} selected`);
    };
    app.selection.addEventListener("change", this.changedSelection);
  }

  unmount() {
    this.head.unlisten();
    this.results?.stop();
    this.viewing.viewer.close();
    this.app.selection.removeEventListener("change", this.changedSelection);
    this.app.loaded = () => 0;
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
    this.bar.show(app);
    document.title = `${[state.q, gallery].filter(Boolean).join(" · ")} · zsretrieve`;
    if (!this.results || this.results.key !== keyOf(gallery, state)) {
      // The large image of before does not wait for the next ranking.
      if (state.id === null) this.viewing.show(!this.refocus);
      this.run(place);
    } else {
      this.grid.refresh();
      if (place) scrollTo(0, place.scroll ?? 0);
      this.viewing.show(!this.refocus);
    }
  }

  /** @param {Place|null} place */
  async run(place) {
    const { app } = this;
    this.results?.stop();
    const results = resultsOf(app.gallery?.name ?? "", app.state, place?.loaded ?? 0);
    this.results = results;
    this.viewing.images = results;
    if (!results.answer) {
      document.documentElement.dataset.busy = "";
      try {
        await results.load();
      } catch (error) {
        if (results === this.results) this.fail(error);
        return;
      } finally {
        if (results === this.results) delete document.documentElement.dataset.busy;
      }
      if (results !== this.results) return;
    }
    this.shown(results, place);
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
    const n = this.matching?.n ?? answer.total;
    this.all.hidden = n === 0;
    fill(this.all, `Select all ${count(n)}${this.matching ? " that match" : ""}`);
    this.grid.hidden = false;
    this.grid.divide = dividing(answer, this.app.state);
    this.grid.show(results);
    announce(text);
    if (this.refocus) this.grid.focusAt(0);
    this.refocus = false;
    scrollTo(0, place?.scroll ?? 0);
    if (this.app.state.id !== null) this.viewing.show();
  }

  /** What says which images match, if some do and some may not. */
  get matching() {
    const { results } = this;
    const { matching = null } = results?.answer ?? {};
    return matching && matching.n !== null && !matching.nothing && isSearch(this.app.state) ? matching : null;
  }

  /** Select every image that matches, or all of the ranking, loaded or not. */
  async selectAll() {
    const { app, matching } = this;
    const { state } = app;
    const min = matching ? Math.max(matching.threshold, state.min ?? -1) : state.min;
    document.documentElement.dataset.busy = "";
    try {
      app.selection.mark(await allIds(app.gallery?.name ?? "", { ...state, min }, MOST_SELECTED), true);
    } catch (error) {
      this.head.error.textContent = /** @type {Error} */ (error).message;
    } finally {
      delete document.documentElement.dataset.busy;
    }
  }

  /** @param {any} error */
  async fail(error) {
    const { results } = this;
    if (error?.name === "AbortError" || !results) return;
    const again = () => {
      forget(results);
      this.results = null;
      this.run({ loaded: results.hits.length, scroll: scrollY });
    };
    if (results.answer) {
      this.head.clearErrors();
      // What is there stays; the end says why there is no more. Of a revision that is gone, there never will be.
      this.grid.end?.replaceChildren(notice({ error, again: error.status === 409 ? again : () => this.grid.more() }));
      return;
    }
    this.all.hidden = true;
    this.grid.hidden = true;
    this.grid.cells = [];
    const message = await this.head.fail(error, { again, isWanted: () => results === this.results });
    if (message) fill(this.place, message);
  }

  /**
   * @param {string} action
   * @param {number} id
   */
  act(action, id) {
    // The images that had the focus are about to be replaced.
    this.refocus = action !== "select" && (Boolean(this.grid.focused) || this.viewing.viewer.isOpen);
    act(this.app, action, id);
  }
}
