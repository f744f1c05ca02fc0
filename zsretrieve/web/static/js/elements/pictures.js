/** Grids of images in a view, with the large image and the selection that they share. */

import { act } from "../actions.js";
import { busy, on } from "../dom.js";
import { forget } from "../results.js";
import { Grid } from "./grid.js";
import { notice } from "./notice.js";
import { SelectionBar } from "./selection-bar.js";
import { Viewer } from "./viewer.js";

/** @typedef {import("../results.js").Results} Results */

export class Pictures {
  /**
   * @param {import("../app.js").App} app
   * @param {{from?: Partial<import("../types.js").State>, onact?: (action: string) => void, restart?: () => void}} [options]
   *   what a search with an image begins with, see `act`; `onact` is called before it; `restart` asks again for all images,
   *   after a change of the gallery
   */
  constructor(app, { from = {}, onact = () => {}, restart = () => {} } = {}) {
    this.app = app;
    this.restart = restart;
    /** @type {Grid[]} */
    this.grids = [];
    this.viewer = new Viewer();
    this.bar = new SelectionBar();
    this.act = (/** @type {{action: string, item: {id: number}, box?: import("../types.js").Box}} */ { action, item, box }) => {
      onact(action);
      act(app, action, item.id, from, box);
    };
    on(this.viewer, "open", (id) => app.openImage(id));
    on(this.viewer, "act", this.act);
    on(this.viewer, "step", (step) => this.step(step));
    on(this.viewer, "shut", () => app.leaveImage());
    on(this.viewer, "prototypes", (p) => app.go({ p }, { replace: true }));
    app.loaded = () => this.grids.reduce((n, grid) => n + grid.cells.length, 0);
    app.following = (ids) => this.#following(ids);
  }

  /**
   * A new grid, which has no images yet.
   *
   * @param {Partial<Pick<Grid, "divide"|"caption"|"ragged">>} [looks]
   */
  grid(looks = {}) {
    const { app } = this;
    const grid = Object.assign(new Grid(), looks, {
      selection: app.selection,
      link: (/** @type {number} */ id) => app.link({ id }),
    });
    on(grid, "open", (id) => app.openImage(id));
    on(grid, "act", this.act);
    on(grid, "failed", (error) => grid.end.replaceChildren(notice({ error, again: () => this.#again(grid, error) })));
    this.grids.push(grid);
    return grid;
  }

  /**
   * Show images in a grid as soon as the first are there, and until then what it shows already.
   *
   * @param {Grid} grid
   * @param {Results} results
   * @param {() => void} [onfirst]  called when they are shown
   */
  async fill(grid, results, onfirst = () => {}) {
    grid.coming?.stop();
    grid.coming = results;
    const isWanted = () => this.grids.includes(grid) && grid.coming === results;
    try {
      // Also where they are here already: the grid is not in the page yet.
      await (results.answer ? null : busy(results.load()));
    } catch (error) {
      if (!isWanted() || /** @type {any} */ (error)?.name === "AbortError") return;
      grid.clear(results);
      grid.end.replaceChildren(notice({ error, again: () => this.fill(grid, results, onfirst) }));
      return;
    }
    if (!isWanted()) return;
    grid.show(results);
    onfirst();
    this.view();
  }

  /**
   * @param {Grid} grid
   * @param {import("../api.js").ApiError} error
   */
  #again(grid, { status }) {
    if (status !== 409) return grid.more();
    // Of a revision that is gone, there never will be more.
    if (grid.results) forget(grid.results);
    return this.restart();
  }

  /** Forget the grids, which are about to be replaced. */
  clear() {
    for (const { results, coming } of this.grids) for (const one of [results, coming]) one?.stop();
    this.grids = [];
  }

  unmount() {
    this.clear();
    this.viewer.close();
    this.app.loaded = () => 0;
    this.app.following = () => undefined;
  }

  /**
   * Show what the state says of the selection and the large image.
   *
   * @param {boolean} [refocus]  as `view`
   */
  update(refocus = true) {
    for (const grid of this.grids) grid.refresh();
    const inside = this.bar.contains(document.activeElement);
    this.bar.show(this.app);
    // The button that emptied the selection is gone with it.
    if (inside && this.bar.hidden) this.grids[0]?.focusAt(this.grids[0].current);
    this.view(refocus);
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

  /** @param {number[]} ids */
  #following(ids) {
    for (const { results } of this.grids) {
      const hits = results?.hits ?? [];
      const last = hits.findLastIndex(({ id }) => ids.includes(id));
      if (last >= 0) return (hits[last + 1] ?? hits[last]).id;
    }
    return undefined;
  }

  /**
   * Open or close the large image as the state says.
   *
   * @param {boolean} [refocus]  whether its place in the grid gets the focus when it is closed
   */
  view(refocus = true) {
    const { app, viewer } = this;
    const { id } = app.state;
    if (id !== null) {
      viewer.show(app, id, this.find(id)?.results ?? null);
    } else if (viewer.isOpen) {
      const found = refocus ? this.find(viewer.item?.id ?? -1) : null;
      viewer.close();
      found?.grid.focusAt(found.position);
    }
    const resumed = app.resume === undefined || viewer.isOpen ? null : this.find(app.resume);
    if (!resumed) return;
    app.resume = undefined;
    resumed.grid.focusAt(resumed.position);
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
}
