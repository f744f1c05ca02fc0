/** The classify view: the images by the classes that one types, as a histogram whose bars show their images. */

import { ask, galleryPath } from "../api.js";
import { announce, busy, fill, h } from "../dom.js";
import { ClassesForm } from "../elements/classes-form.js";
import { Histogram } from "../elements/histogram.js";
import { notice } from "../elements/notice.js";
import { Pictures } from "../elements/pictures.js";
import { QueryHead } from "../elements/query-head.js";
import { empty } from "../elements/status.js";
import { counted } from "../format.js";
import { namedOf } from "../results.js";
import { body, isSearch } from "../state.js";

const EVERY = 100_000; // the API's limit for a class
const KEPT = 8;

/** @typedef {import("../elements/histogram.js").Classes} Classes */

/** @type {Map<string, Classes>} */
const kept = new Map();

/**
 * @param {HTMLElement} root
 * @param {import("../app.js").App} app
 * @returns {import("../views.js").View}
 */
export function mount(root, app) {
  return new ClassifyView(root, app);
}

class ClassifyView {
  /**
   * @param {HTMLElement} root
   * @param {import("../app.js").App} app
   */
  constructor(root, app) {
    this.app = app;
    this.asked = "";
    this.shown = "";
    /** @type {Classes|null} */
    this.classes = null;
    this.pictures = new Pictures(app, { from: { view: "search" } });
    this.grid = this.pictures.grid();
    this.head = new QueryHead(app, { onleave: () => this.histogram.focus(), hasFailed: () => !this.classes, again: () => this.run() });
    this.form = new ClassesForm(app, (c) => {
      if (`${c}` === `${app.state.c}` && !this.classes) this.run();
      else app.go({ c, bar: "", id: null });
    });
    this.histogram = new Histogram((name) => app.go({ bar: app.state.bar === name ? "" : name, id: null }));
    this.place = h("div", { class: "place" });
    this.title = h("h2", { id: "of-class", tabindex: -1 });
    this.images = h("section", { class: "of-class", "aria-labelledby": "of-class" }, this.title, this.grid);
    root.append(
      this.head.element,
      h("main", { id: "main", tabindex: -1, class: "results classify" }, h("div", { class: "sorting" }, this.form.element, this.place, ...this.histogram.elements), this.images),
      this.pictures.viewer,
      this.pictures.bar,
    );
  }

  unmount() {
    this.cancel?.abort();
    this.head.unlisten();
    this.pictures.unmount();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    return this.head.key(event);
  }

  /**
   * @param {import("../types.js").State|null} before
   * @param {import("../app.js").Place|null} place
   */
  update(before, place) {
    const { app } = this;
    this.head.show(before);
    document.title = `${["Classify", app.state.bar, app.gallery?.name].filter(Boolean).join(" · ")} · zsretrieve`;
    this.form.show(before);
    if (this.#asking !== this.asked || !this.classes) this.run(place);
    else this.#open(place);
    this.pictures.update();
  }

  /** The request for the histogram, null while there are no classes. */
  #body() {
    const { state } = this.app;
    const { prototypes } = this.form;
    if (!state.c.length && !prototypes) return null;
    const classes = prototypes ? { prototypes: prototypes.name } : { labels: state.c };
    const { where, explain, ...search } = body(state);
    const images = isSearch(state) && state.over ? { search: { ...search, k: Math.min(1000, Math.max(1, state.over)) } } : {};
    return { ...classes, ...images, ...(where ? { where } : {}) };
  }

  /** What distinguishes one histogram from another: also the revision, since a filter may pass others after a change. */
  get #asking() {
    const { name, revision } = this.app.gallery ?? {};
    return JSON.stringify([name, revision, this.#body()]);
  }

  /** @param {import("../app.js").Place|null} [place] */
  async run(place = null) {
    const wanted = this.#body();
    const key = this.#asking;
    this.cancel?.abort();
    this.cancel = new AbortController();
    this.asked = key;
    this.classes = null;
    fill(this.place);
    if (!wanted) {
      this.head.clearErrors();
      this.#clear(notice({ title: "What is in the images?", text: "Type classes above, and see how many images are nearest to each." }));
      return;
    }
    const { signal } = this.cancel;
    /** @type {Classes} */
    let classes;
    try {
      classes = kept.get(key) ?? (await busy(ask(`${galleryPath(this.app.gallery?.name ?? "")}/classify`, { body: wanted, signal })));
    } catch (error) {
      const message = signal.aborted ? null : await this.head.fail(error, () => !signal.aborted);
      if (message) this.#clear(message);
      return;
    }
    this.#draw(key, classes);
    this.#open(place);
  }

  /** @param {HTMLElement} message */
  #clear(message) {
    fill(this.place, message);
    fill(this.head.status);
    this.histogram.clear();
    this.images.hidden = true;
    this.shown = "";
  }

  /**
   * @param {string} key
   * @param {Classes} classes
   */
  #draw(key, classes) {
    const { gallery } = this.app;
    kept.delete(key);
    kept.set(key, classes);
    for (const old of kept.keys()) if (kept.size > KEPT) kept.delete(old);
    this.classes = classes;
    this.head.clearErrors();
    if (classes.n) this.histogram.show(classes);
    else this.#clear(empty(gallery?.n_images ?? 0));
    fill(this.head.status, h("span", {}, `${counted(classes.n, "image")} classified`), h("span", { class: "model" }, gallery?.model));
  }

  /** Show the images of the class that the address names. @param {import("../app.js").Place|null} place */
  #open(place) {
    const { app, classes } = this;
    const { bar } = app.state;
    const found = classes?.classes.find(({ class_name, n }) => class_name === bar && n);
    const showing = found ? `${this.asked} ${bar}` : "";
    this.histogram.mark(bar);
    this.images.hidden = !found;
    if (!found || showing === this.shown) {
      this.shown = showing;
      if (found && place) scrollTo(0, place.scroll ?? 0);
      return;
    }
    this.shown = showing;
    this.title.textContent = `${bar}: ${counted(found.n, "image")}`;
    const gallery = app.gallery?.name ?? "";
    const asked = { ...this.#body(), listed: EVERY };
    const rest = async (/** @type {AbortSignal} */ signal) => {
      const all = /** @type {Classes} */ (await ask(`${galleryPath(gallery)}/classify`, { body: asked, signal }));
      return all.classes.find(({ class_name }) => class_name === bar)?.ids ?? [];
    };
    const images = namedOf(gallery, found.ids, { total: Math.min(found.n, EVERY), rest, loaded: place?.loaded });
    this.pictures.fill(this.grid, images, () => {
      if (place) scrollTo(0, place.scroll ?? 0);
      else if (matchMedia("(max-width: 820px)").matches) this.title.scrollIntoView({ block: "start" });
    });
    announce(`${this.title.textContent}, the surest first`);
  }
}
