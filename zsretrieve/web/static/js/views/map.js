/** The map view: all images as points, lit where the query has found something, with what is in view as a list. */

import { act } from "../actions.js";
import { ask, galleryPath, thumbnail } from "../api.js";
import { announce, fill, h, icon, iconButton } from "../dom.js";
import { notice } from "../elements/notice.js";
import { QueryHead } from "../elements/query-head.js";
import { SelectionBar } from "../elements/selection-bar.js";
import { summary } from "../elements/status.js";
import { Viewing } from "../elements/viewing.js";
import { count, counted } from "../format.js";
import { Listed } from "../listed.js";
import { MapCanvas } from "../map/canvas.js";
import { loadMap } from "../map/load.js";
import { Results, keyOf } from "../results.js";
import { body, isSearch } from "../state.js";

const LIT = 1000; // the most that one request finds
const NEAREST = 50; // lit where it is not known what matches
const LISTED = 5000; // images of the list
const HOVER = 90; // ms

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
    this.head = new QueryHead(app, {
      onleave: () => this.map.canvas?.focus(),
      onid: (id) => act(app, "use", id),
      onagain: () => {
        const failed = this.results?.failed ?? false;
        if (failed) this.search();
        return failed;
      },
    });
    this.viewing = new Viewing(app);
    this.bar = new SelectionBar();
    this.map = new MapCanvas();
    this.tip = h("div", { class: "tip", hidden: true, "aria-hidden": "true" });
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
    this.said = h("p", { class: "soft small" });
    this.labels = h("p", { class: "small" });
    this.stage = h("div", { class: "map-stage" }, this.map, this.tools, this.tip, h("p", { id: "map-keys", class: "hidden-text" }, "Arrow keys move, plus and minus zoom, 0 shows all. Enter opens the image nearest to the centre, x selects it, v selects all in view. The list after the map has the images in view."));
    this.side = h("section", { class: "map-side", "aria-labelledby": "in-view" }, h("h2", { id: "in-view" }, "In view"), this.said, this.labels, this.pick, this.viewing.grid);
    this.place = h("div", { class: "place", hidden: true });
    root.append(this.head.element, h("main", { id: "main", tabindex: -1, class: "map-view" }, this.stage, this.side, this.place), this.viewing.viewer, this.bar);
    this.#listen();
    this.#load();
  }

  #listen() {
    const { app, map } = this;
    const on = (/** @type {string} */ name, /** @type {(detail: any) => void} */ run) => map.addEventListener(name, (event) => run(/** @type {CustomEvent} */ (event).detail));
    const idOf = (/** @type {number} */ place) => this.data?.points.ids[place] ?? -1;
    on("settled", () => this.#settled());
    on("open", (place) => {
      this.fromMap = true;
      app.openImage(idOf(place));
    });
    on("pick", (place) => app.selection.mark([idOf(place)], !app.selection.has(idOf(place))));
    on("lasso", (places) => {
      app.selection.mark(places.map(idOf), true);
      if (map.lassoing) this.#toggleLasso();
    });
    on("point", (detail) => this.#point(detail));
    this.viewing.grid.addEventListener("open", () => (this.fromMap = false));
    this.viewing.grid.addEventListener("failed", (event) => this.viewing.grid.end?.replaceChildren(notice({ error: /** @type {CustomEvent} */ (event).detail, again: () => this.viewing.grid.more() })));
    this.changedSelection = () => {
      this.viewing.grid.refresh();
      this.bar.show(app);
      this.#showSelection();
      announce(`${app.selection.size} selected`);
    };
    app.selection.addEventListener("change", this.changedSelection);
  }

  unmount() {
    this.cancel.abort();
    this.results?.stop();
    this.head.unlisten();
    clearTimeout(this.hovering);
    this.viewing.viewer.close();
    this.app.selection.removeEventListener("change", this.changedSelection ?? null);
  }

  async #load() {
    const { app } = this;
    const gallery = app.gallery?.name ?? "";
    document.documentElement.dataset.busy = "";
    try {
      // As it is now: the map may have been made since the page was opened.
      const { has_map: exists, n_images: n } = await ask(galleryPath(gallery), { signal: this.cancel.signal });
      if (!n) return this.#instead(notice({ title: "This gallery is empty.", text: "Add images: zsretrieve index add GALLERY FOLDER" }));
      if (!exists) return this.#instead(this.#noMap());
      this.data = await loadMap(gallery, this.cancel.signal);
    } catch (error) {
      if (!this.cancel.signal.aborted) this.#instead(notice({ error, again: () => this.#again() }));
      return undefined;
    } finally {
      delete document.documentElement.dataset.busy;
    }
    this.map.show(gallery, this.data, app.state.at);
    this.#showSelection();
    return this.search();
  }

  #noMap() {
    const again = h("button", { type: "button", onclick: () => this.#again() }, "Look again");
    return notice({ title: "This gallery has no map yet.", text: "zsretrieve index map GALLERY makes one, with similar images close together.", actions: [again] });
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
    this.bar.show(app);
    document.title = `${["Map", state.q, app.gallery?.name].filter(Boolean).join(" · ")} · zsretrieve`;
    if (!this.data) return;
    if (same(state.at, this.at)) this.search();
    else {
      this.at = state.at;
      map.look(state.at);
      this.search();
    }
    this.viewing.grid.refresh();
    this.#showSelection();
    this.viewing.show(!this.fromMap);
    if (state.id === null && before && before.id !== null && this.fromMap) map.canvas?.focus();
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
    if (!asked) {
      this.head.clearErrors();
      this.found = "";
      fill(this.head.status, h("span", {}, counted(this.data.points.n, "image")), h("span", { class: "model" }, app.gallery?.model ?? ""));
      this.#light([], false);
      return;
    }
    document.documentElement.dataset.busy = "";
    try {
      await asked.load();
    } catch (error) {
      if (asked === this.results && /** @type {any} */ (error).name !== "AbortError") this.#fail(error);
      return;
    } finally {
      if (asked === this.results) delete document.documentElement.dataset.busy;
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
    const message = await this.head.fail(error, { again: () => this.search(), isWanted: () => results === this.results });
    // The map is still there: only what stands at the box or the filters is new.
    if (message && (error.status === 0 || error.status >= 500)) fill(this.said, message);
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
    const { inView: places, litInView } = /** @type {import("../map/overlay.js").Overlay} */ (map.overlay);
    const ids = Array.from(places.subarray(0, LISTED), (place) => data.points.ids[place]);
    const drawn = map.isSample ? ` This browser has no WebGL2, so only ${count(map.painter?.most ?? 0)} points of the map are drawn.` : "";
    const absent = data.missing ? ` ${counted(data.missing, "image")} of the gallery ${data.missing === 1 ? "is" : "are"} not on the map yet: zsretrieve index map GALLERY adds ${data.missing === 1 ? "it" : "them"}.` : "";
    const most = places.length > LISTED ? ` The first ${count(LISTED)} are listed.` : "";
    const lit = map.dimmed ? `, ${count(litInView)} of them lit` : "";
    this.said.textContent = `${counted(places.length, "image")}${lit}.${this.found ? ` ${this.found}` : ""}${most}${absent}${drawn}`;
    fill(this.labels, ...labelsOf(places, data));
    this.pick.disabled = !places.length;
    if (`${ids}` === this.listed) return;
    this.listed = `${ids}`;
    const images = new Listed(app.gallery?.name ?? "", ids);
    this.viewing.images = images;
    this.viewing.grid.show(images);
    this.viewing.grid.more();
    announce(`${this.said.textContent} ${this.labels.textContent}`);
  }

  #selectInView() {
    const { app, data, map } = this;
    if (data) app.selection.mark(Array.from(map.overlay?.inView ?? [], (place) => data.points.ids[place]), true);
  }

  #toggleLasso() {
    this.map.lassoing = !this.map.lassoing;
    this.lasso.setAttribute("aria-pressed", String(this.map.lassoing));
  }

  /** @type {any} */
  hovering = 0;
  tipped = -1;

  /** @param {{place: number, left: number, top: number}|null} pointed */
  #point(pointed) {
    const { tip, data, app } = this;
    clearTimeout(this.hovering);
    if (!pointed || !data) {
      tip.hidden = true;
      this.tipped = -1;
      return;
    }
    const { place, left, top } = pointed;
    const beside = () => {
      tip.style.left = `${Math.min(left + 16, this.map.camera.width - 190)}px`;
      tip.style.top = `${Math.min(top + 16, this.map.camera.height - 220)}px`;
    };
    if (place === this.tipped) return beside();
    tip.hidden = true;
    this.tipped = place;
    this.hovering = setTimeout(async () => {
      const gallery = app.gallery?.name ?? "";
      const id = data.points.ids[place];
      const { hits } = await ask(`${galleryPath(gallery)}/items`, { body: { ids: [id] } }).catch(() => ({ hits: [] }));
      if (this.tipped !== place || !hits.length) return;
      const [item] = hits;
      fill(tip, !item.missing && h("img", { src: thumbnail(gallery, id, 256), alt: "" }), h("strong", {}, item.label ?? item.name), item.label && h("span", { class: "soft" }, item.name));
      beside();
      tip.hidden = false;
    }, HOVER);
  }
}

/**
 * Which hits are lit, and what to say about it.
 *
 * @param {Results} results
 * @param {boolean} ranked  else only filtered
 */
function litOf({ hits, answer }, ranked) {
  const { matching, total = 0 } = answer ?? {};
  if (!ranked) return { hits, words: total > hits.length ? `The first ${count(hits.length)} of ${count(total)} that pass the filters are lit.` : "" };
  if (!hits.length) return { hits, words: "" };
  const nearest = hits.slice(0, NEAREST);
  if (!matching) return { hits: nearest, words: `The best ${count(nearest.length)} are lit.` };
  if (matching.nothing) return { hits: nearest, words: `Nothing seems to match; the nearest ${count(nearest.length)} are lit.` };
  const found = hits.filter(({ score }) => (score ?? 0) >= matching.threshold);
  const more = (matching.n ?? 0) > found.length;
  return { hits: found, words: more ? `The best ${count(found.length)} of ${count(matching.n ?? 0)} that match are lit.` : "" };
}

/**
 * The labels that are most in view, with their counts.
 *
 * @param {Uint32Array} places
 * @param {import("../map/load.js").MapData} data
 */
function labelsOf(places, { points, captions }) {
  const counts = new Uint32Array(captions.length);
  for (let i = 0; i < places.length; i += 1) {
    const label = points.labels[places[i]];
    if (label >= 0 && label < counts.length) counts[label] += 1;
  }
  const most = Array.from(counts, (n, label) => /** @type {const} */ ([label, n])).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  const shown = most.slice(0, 8).map(([label, n]) => `${captions[label].label} ${count(n)}`);
  if (most.length > shown.length) shown.push(`${counted(most.length - shown.length, "more label")}`);
  return [shown.join(" · ")];
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
