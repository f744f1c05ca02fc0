/** The map view: all images as points, lit where the query has found something, with what is in view as a list. */

import { ask, galleryPath } from "../api.js";
import { announce, busy, fill, h, icon, iconButton, on } from "../dom.js";
import { notice } from "../elements/notice.js";
import { Pictures } from "../elements/pictures.js";
import { QueryHead } from "../elements/query-head.js";
import { empty, summary } from "../elements/status.js";
import { count, counted } from "../format.js";
import { MapCanvas } from "../map/canvas.js";
import { loadMap } from "../map/load.js";
import { Tip } from "../map/tip.js";
import { labelsOf, litOf } from "../map/words.js";
import { Results, keyOf, namedOf } from "../results.js";
import { body, isSearch } from "../state.js";

const LIT = 1000; // the most that one request finds
const LISTED = 5000; // images of the list

/** @typedef {import("../types.js").State} State */

/**
 * @param {HTMLElement} root
 * @param {import("../app.js").App} app
 * @returns {import("../views.js").View}
 */
export function mount(root, app) {
  return new MapView(root, app);
}

class MapView {
  /**
   * @param {HTMLElement} root
   * @param {import("../app.js").App} app
   */
  constructor(root, app) {
    this.app = app;
    this.cancel = new AbortController();
    /** @type {import("../map/load.js").MapData|null} */
    this.data = null;
    /** The search whose hits are lit. @type {Results|null} */
    this.results = null;
    this.searched = "";
    this.fromMap = false;
    this.head = new QueryHead(app, { onleave: () => this.map.canvas.focus(), hasFailed: () => Boolean(this.results?.failed), again: () => this.search() });
    this.pictures = new Pictures(app);
    this.grid = this.pictures.grid();
    this.map = new MapCanvas();
    this.tip = new Tip();
    this.lasso = h("button", { type: "button", class: "quiet", title: "Lasso: drag around images to select them", "aria-label": "Lasso", "aria-pressed": "false", onclick: () => this.#toggleLasso() }, icon("lasso"));
    this.pick = h("button", { type: "button", "aria-keyshortcuts": "v", onclick: () => this.#selectInView() }, "Select all in view");
    const zoom = (/** @type {number} */ factor) => {
      this.map.camera.zoom(factor);
      this.map.moved();
    };
    this.tools = h(
      "div",
      { class: "map-tools", role: "toolbar", "aria-label": "Map" },
      iconButton("more", "Closer", () => zoom(1.6)),
      iconButton("less", "Farther", () => zoom(1 / 1.6)),
      iconButton("whole", "Whole map", () => this.map.look(null)),
      this.lasso,
    );
    this.map.covered = this.tools;
    this.failure = h("div");
    this.said = h("p", { class: "soft small" });
    this.labels = h("p", { class: "small" });
    this.stage = h("div", { class: "map-stage" }, this.map, this.tools, this.tip.element, h("p", { id: "map-keys", class: "hidden-text" }, "Arrow keys move, plus and minus zoom, 0 shows all. Enter opens the image nearest to the centre, x selects it, v selects all in view. The list after the map has the images in view."));
    this.side = h("section", { class: "map-side", "aria-labelledby": "in-view" }, h("h2", { id: "in-view" }, "In view"), this.failure, this.said, this.labels, this.pick, this.grid);
    this.place = h("div", { class: "place", hidden: true });
    root.append(this.head.element, h("main", { id: "main", tabindex: -1, class: "map-view" }, this.stage, this.side, this.place), this.pictures.viewer, this.pictures.bar);
    this.#listen();
    this.#load();
  }

  #listen() {
    const { app, map } = this;
    const idOf = (/** @type {number} */ place) => this.data?.points.ids[place] ?? -1;
    on(map, "settled", () => this.#settled());
    on(map, "open", (place) => {
      this.fromMap = true;
      app.openImage(idOf(place));
    });
    on(map, "pick", (place) => app.selection.mark([idOf(place)], !app.selection.has(idOf(place))));
    on(map, "lasso", (places) => {
      app.selection.mark(places.map(idOf), true);
      if (map.lassoing) this.#toggleLasso();
    });
    on(map, "point", (pointed) => {
      if (!pointed) return this.tip.hide();
      const corner = { left: Math.min(pointed.left + 16, map.camera.width - 190), top: Math.min(pointed.top + 16, map.camera.height - 220) };
      return this.tip.show(app.gallery?.name ?? "", idOf(pointed.place), corner);
    });
    on(this.grid, "open", () => (this.fromMap = false));
  }

  unmount() {
    this.cancel.abort();
    this.results?.stop();
    this.head.unlisten();
    this.tip.hide();
    this.pictures.unmount();
  }

  async #load() {
    const { app } = this;
    const gallery = app.gallery?.name ?? "";
    const { signal } = this.cancel;
    try {
      // As it is now: the map may have been made since the page was opened.
      const { has_map: exists, n_images: n } = await busy(ask(galleryPath(gallery), { signal }));
      if (!n) return this.#instead(empty(n));
      if (!exists) return this.#instead(this.#noMap());
      this.data = await busy(loadMap(gallery, signal));
    } catch (error) {
      if (!signal.aborted) this.#instead(notice({ error, again: () => this.#again() }));
      return undefined;
    }
    this.map.ofTexts = app.gallery?.holds_texts ?? false;
    this.map.show(gallery, this.data, app.state.at);
    this.#showSelection();
    return this.search();
  }

  #noMap() {
    const again = h("button", { type: "button", onclick: () => this.#again() }, "Look again");
    const title = `The gallery “${this.app.gallery?.name}” has no map yet.`;
    return notice({ title, text: "zsretrieve index map GALLERY, with its folder or @NAME, makes one with similar images close together.", actions: [again] });
  }

  #again() {
    this.#instead(null);
    this.#load();
  }

  /** @param {HTMLElement|null} message  what is shown in place of the map */
  #instead(message) {
    this.stage.hidden = this.side.hidden = message !== null;
    this.place.hidden = message === null;
    fill(this.place, message);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === "v") this.#selectInView();
    else if (event.key === "Escape" && this.map.lassoing) this.#toggleLasso();
    else return this.head.key(event);
    return true;
  }

  /** @param {State|null} before */
  update(before) {
    const { app, map } = this;
    const { state } = app;
    this.head.show(before);
    document.title = `${["Map", state.q, app.gallery?.name].filter(Boolean).join(" · ")} · zsretrieve`;
    this.pictures.update(!this.fromMap);
    if (state.id === null && before && before.id !== null && this.fromMap) map.canvas.focus();
    if (!this.data) return;
    if (!same(state.at, this.at)) {
      this.at = state.at;
      map.look(state.at);
    }
    this.search();
    this.#showSelection();
  }

  /** Light up what the query and the filters find. */
  async search() {
    const { app, map } = this;
    const { state } = app;
    const gallery = app.gallery?.name ?? "";
    const key = keyOf(gallery, state);
    if (!this.data || (key === this.searched && !this.results?.failed)) return;
    this.searched = key;
    this.results?.stop();
    const asked = isSearch(state) || state.where ? new Results(key, gallery, (_, signal) => ask(`${galleryPath(gallery)}/search`, { body: { ...body(state), explain: false, k: LIT }, signal })) : null;
    this.results = asked;
    fill(this.failure);
    if (!asked) {
      this.head.clearErrors();
      this.found = "";
      fill(this.head.status, h("span", {}, counted(this.data.points.n, "image")), h("span", { class: "model" }, app.gallery?.model ?? ""));
      this.#light([], false);
      return;
    }
    try {
      await busy(asked.load());
    } catch (error) {
      if (asked === this.results && /** @type {any} */ (error).name !== "AbortError") this.#fail(error);
      return;
    }
    if (asked !== this.results || !asked.answer) return;
    this.head.clearErrors();
    const { line, text } = summary(asked.answer, state);
    fill(this.head.status, ...line);
    const { hits, words } = litOf(asked, isSearch(state));
    const places = hits.map(({ id }) => this.data?.points.placeOf(id) ?? -1);
    const missing = places.filter((place) => place < 0).length;
    this.found = [words, missing && `${count(missing)} of them ${missing === 1 ? "is" : "are"} not on the map.`].filter(Boolean).join(" ");
    this.#light(places.filter((place) => place >= 0), true);
    announce(`${text}. ${this.found}`);
    map.draw();
  }

  /** @param {any} error */
  async #fail(error) {
    this.found = "";
    this.#light([], false);
    const { results } = this;
    const message = await this.head.fail(error, () => results === this.results);
    // The map is still there: only what stands at the box or the filters is new.
    if (message && (error.status === 0 || error.status >= 500)) fill(this.failure, message);
  }

  /**
   * @param {number[]} places  best first
   * @param {boolean} dimmed  whether the others recede
   */
  #light(places, dimmed) {
    const { map } = this;
    map.lit = places;
    if (map.dimmed !== dimmed) {
      map.dimmed = dimmed;
      map.changed();
    } else map.moved();
  }

  #showSelection() {
    const { app, map, data } = this;
    if (!data) return;
    map.selected = app.selection.ids.map((id) => data.points.placeOf(id)).filter((place) => place >= 0);
    map.draw();
  }

  /** The view rests: list what is in it, and keep it in the address. */
  #settled() {
    const { app, map, data } = this;
    if (!data) return;
    const at = same(map.camera.at, map.camera.all) ? null : { ...map.camera.at };
    if (!same(at, app.state.at)) {
      this.at = at;
      app.go({ at }, { replace: true });
    }
    const { inView: places, litInView } = map.overlay;
    const ids = Array.from(places.subarray(0, LISTED), (place) => data.points.ids[place]);
    const drawn = map.isSample ? ` This browser has no WebGL2, so only ${count(map.painter?.most ?? 0)} points of the map are drawn.` : "";
    const absent = data.missing ? ` ${counted(data.missing, "image")} of the gallery ${data.missing === 1 ? "is" : "are"} not on the map yet: zsretrieve index map GALLERY adds ${data.missing === 1 ? "it" : "them"}.` : "";
    const most = places.length > LISTED ? ` The first ${count(LISTED)} are listed.` : "";
    const lit = map.dimmed ? `, ${count(litInView)} of them lit` : "";
    this.said.textContent = `${counted(places.length, "image")}${lit}.${this.found ? ` ${this.found}` : ""}${most}${absent}${drawn}`;
    this.labels.textContent = labelsOf(places, data);
    this.pick.disabled = !places.length;
    if (`${ids}` === this.listed) return;
    this.listed = `${ids}`;
    this.pictures.fill(this.grid, namedOf(app.gallery?.name ?? "", ids));
    announce(`${this.said.textContent} ${this.labels.textContent}`);
  }

  #selectInView() {
    const { app, data, map } = this;
    if (data) app.selection.mark(Array.from(map.overlay.inView, (place) => data.points.ids[place]), true);
  }

  #toggleLasso() {
    this.map.lassoing = !this.map.lassoing;
    this.lasso.setAttribute("aria-pressed", String(this.map.lassoing));
  }
}

/**
 * Whether two views are the same, as exactly as addresses hold them.
 *
 * @param {import("../types.js").At|null|undefined} a
 * @param {import("../types.js").At|null|undefined} b
 */
function same(a, b) {
  if (!a || !b) return !a && !b;
  return Math.abs(a.x - b.x) < 1e-5 && Math.abs(a.y - b.y) < 1e-5 && Math.abs(a.zoom / b.zoom - 1) < 1e-3;
}
