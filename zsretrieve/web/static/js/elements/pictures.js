/** Grids of images in a view, with the large image and the selection that they share. */

import { announce, h } from "../dom.js";
import { Results } from "../results.js";
import { Grid } from "./grid.js";
import { notice } from "./notice.js";
import { SelectionBar } from "./selection-bar.js";
import { Viewer } from "./viewer.js";

/** @typedef {import("../types.js").Item} Item */

export class Pictures {
  /**
   * @param {import("../app.js").App} app
   * @param {HTMLElement} root  where the large image and the bar are put
   */
  constructor(app, root) {
    this.app = app;
    /** @type {Grid[]} */
    this.grids = [];
    this.viewer = new Viewer();
    this.bar = new SelectionBar();
    root.append(this.viewer, this.bar);
    const on = (/** @type {string} */ name, /** @type {(detail: any) => void} */ run) =>
      this.viewer.addEventListener(name, (event) => run(/** @type {CustomEvent} */ (event).detail));
    on("open", (id) => app.openImage(id));
    on("act", ({ action, item }) => this.act(action, item));
    on("step", (step) => this.step(step));
    on("shut", () => app.leaveImage());
    on("part", ({ item, box }) => this.search({ t: [{ kind: "id", value: String(item.id), weight: 1, box }] }));
    on("prototypes", (p) => app.go({ p }, { replace: true }));
    on("help", () => document.dispatchEvent(new KeyboardEvent("keydown", { key: "?" })));
    this.selected = () => {
      this.update();
      announce(`${app.selection.size} selected`);
    };
    app.selection.addEventListener("change", this.selected);
    app.loaded = () => this.grids.reduce((n, grid) => n + grid.cells.length, 0);
  }

  /**
   * A new grid; its images come when they are there.
   *
   * @param {Results} results
   * @param {Partial<Pick<Grid, "divide"|"caption"|"ragged">>} [looks]
   * @param {() => void} [onfirst]  called when the first page is shown
   */
  grid(results, looks = {}, onfirst = () => {}) {
    const grid = Object.assign(new Grid(), looks, {
      selection: this.app.selection,
      link: (/** @type {number} */ id) => this.app.link({ id }),
    });
    const on = (/** @type {string} */ name, /** @type {(detail: any) => void} */ run) =>
      grid.addEventListener(name, (event) => run(/** @type {CustomEvent} */ (event).detail));
    on("open", (id) => this.app.openImage(id));
    on("act", ({ action, item }) => this.act(action, item));
    on("failed", (error) => grid.end?.replaceChildren(notice({ error, again: () => grid.more() })));
    this.grids.push(grid);
    this.#start(grid, results, onfirst);
    return grid;
  }

  /**
   * @param {Grid} grid
   * @param {Results} results
   * @param {() => void} onfirst
   */
  async #start(grid, results, onfirst) {
    const isWanted = () => this.grids.includes(grid);
    try {
      // Also where they are here already: the grid is not in the page yet.
      await (results.answer ? Promise.resolve() : results.load());
    } catch (error) {
      if (!isWanted() || /** @type {any} */ (error)?.name === "AbortError") return;
      grid.replaceChildren(notice({ error, again: () => this.#start(grid, results, onfirst) }));
      return;
    }
    if (!isWanted()) return;
    grid.show(results);
    onfirst();
    this.view();
  }

  /** Forget the grids, which are about to be replaced. */
  clear() {
    for (const { results } of this.grids) if (results instanceof Results) results.stop();
    this.grids = [];
  }

  unmount() {
    this.clear();
    this.viewer.close();
    this.app.selection.removeEventListener("change", this.selected);
    this.app.loaded = () => 0;
  }

  /** Show what the state says of the selection and the large image. */
  update() {
    for (const grid of this.grids) grid.refresh();
    this.bar.show(this.app);
    this.view();
  }

  /** @param {KeyboardEvent} event */
  key({ key }) {
    const { selection } = this.app;
    if (key !== "Escape" || !selection.size) return false;
    selection.clear();
    return true;
  }

  /**
   * The grid that has an image, and where.
   *
   * @param {number} id
   */
  find(id) {
    for (const grid of this.grids) {
      const position = grid.results?.indexOf(id) ?? -1;
      if (grid.results && position >= 0) return { grid, results: grid.results, position };
    }
    return null;
  }

  /** Open or close the large image as the state says. */
  view() {
    const { app, viewer } = this;
    const { id } = app.state;
    if (id !== null) {
      viewer.show(app, id, this.find(id)?.results ?? null);
    } else if (viewer.isOpen) {
      const found = this.find(viewer.item?.id ?? -1);
      viewer.close();
      found?.grid.focusAt(found.position);
    }
  }

  /** @param {number} step */
  async step(step) {
    const found = this.find(this.app.state.id ?? -1);
    if (!found) return;
    const { grid, results, position } = found;
    if (position + step >= results.hits.length - 5) await grid.more();
    const hit = results.hits[position + step];
    if (hit) this.app.go({ id: hit.id }, { replace: true });
  }

  /**
   * @param {string} action
   * @param {Item} item
   */
  act(action, { id }) {
    const { selection } = this.app;
    if (action === "select") selection.mark([id], !selection.has(id));
    else if (action === "use") this.search({ q: `id:${id}` });
    else this.search({ [action]: [id] });
  }

  /**
   * Leave for the search view.
   *
   * @param {Partial<import("../types.js").State>} patch
   */
  search(patch) {
    this.app.go({ view: "search", own: {}, q: "", t: [], more: [], less: [], where: "", min: null, id: null, ...patch });
  }
}

/**
 * What links to another state of the page.
 *
 * @param {import("../app.js").App} app
 * @param {Partial<import("../types.js").State>} patch
 * @param {Record<string, any>} properties
 * @param {...(Node|string|number|null|undefined|false)} children
 */
export function stateLink(app, patch, properties, ...children) {
  return h(
    "a",
    {
      href: app.link(patch),
      onclick: (/** @type {MouseEvent} */ event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        app.go(patch);
      },
      ...properties,
    },
    ...children,
  );
}
