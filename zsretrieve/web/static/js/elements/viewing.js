/** The large image of a view that has a grid: opened, turned and closed as the address says. */

import { act } from "../actions.js";
import { Grid } from "./grid.js";
import { Viewer } from "./viewer.js";

/** @typedef {import("../results.js").Results|import("../listed.js").Listed} Images */

export class Viewing {
  /**
   * @param {import("../app.js").App} app
   * @param {(action: string, item: import("../types.js").Item) => void} [deed]  what is done with an image
   */
  constructor(app, deed = (action, { id }) => act(app, action, id)) {
    this.app = app;
    /** @type {Images|null} */
    this.images = null;
    /** Where the focus goes when the image is closed and the grid does not have it. @type {() => void} */
    this.back = () => {};
    this.grid = new Grid();
    this.viewer = new Viewer();
    const { grid, viewer } = this;
    grid.selection = app.selection;
    grid.link = (id) => app.link({ id });
    const on = (/** @type {HTMLElement} */ element, /** @type {string} */ name, /** @type {(detail: any) => void} */ run) =>
      element.addEventListener(name, (event) => run(/** @type {CustomEvent} */ (event).detail));
    for (const element of [grid, viewer]) on(element, "act", ({ action, item }) => deed(action, item));
    for (const element of [grid, viewer]) on(element, "open", (id) => app.openImage(id));
    on(viewer, "step", (step) => this.#step(step));
    on(viewer, "shut", () => app.leaveImage());
    on(viewer, "part", ({ item, box }) => app.go({ view: app.state.view === "map" ? "map" : "search", q: "", t: [{ kind: "id", value: String(item.id), weight: 1, box }], more: [], less: [], id: null }));
    on(viewer, "prototypes", (p) => app.go({ p }, { replace: true }));
    on(viewer, "help", () => document.dispatchEvent(new KeyboardEvent("keydown", { key: "?" })));
  }

  /**
   * Open or close the large image as the state says.
   *
   * @param {boolean} [refocus]  whether its place in the grid gets the focus when it is closed
   */
  show(refocus = true) {
    const { app, images, viewer } = this;
    const { id } = app.state;
    if (id === null) {
      const last = viewer.item?.id;
      if (!viewer.isOpen) return;
      viewer.close();
      if (!refocus) return;
      const index = last === undefined ? -1 : (images?.indexOf(last) ?? -1);
      if (index >= 0) this.grid.focusAt(index);
      else this.back();
      return;
    }
    viewer.show(app, id, images);
  }

  /** @param {number} step */
  async #step(step) {
    const { app, images } = this;
    if (!images || app.state.id === null) return;
    const index = images.indexOf(app.state.id) + step;
    if (index >= images.hits.length - 5) await this.grid.more();
    const hit = images.hits[index];
    if (hit) app.go({ id: hit.id }, { replace: true });
  }
}
