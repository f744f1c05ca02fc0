/** The classify view: the images by the classes that one types, as a histogram whose bars show their images. */

import { act } from "../actions.js";
import { ask, galleryPath } from "../api.js";
import { announce, fill, h } from "../dom.js";
import { notice } from "../elements/notice.js";
import { QueryHead } from "../elements/query-head.js";
import { SelectionBar } from "../elements/selection-bar.js";
import { Viewing } from "../elements/viewing.js";
import { count, counted, percent } from "../format.js";
import { Listed } from "../listed.js";
import { body, isSearch } from "../state.js";

const BARS = 100; // shown at first
const NAMED = 60; // classes without images that are named
const EVERY = 100_000; // the API's limit for a class
const KEPT = 8;
const BEST = [60, 200, 1000];

/**
 * @typedef {Object} Histogram
 * @property {{class_name: string, n: number, share: number, ids: number[]}[]} classes  most images first
 * @property {number} n
 */

/** @type {Map<string, Histogram>} */
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
    this.all = false;
    /** @type {Histogram|null} */
    this.histogram = null;
    this.viewing = new Viewing(app, (action, { id }) => act(app, action, id, action === "select" ? {} : { view: "search" }));
    const { grid } = this.viewing;
    this.head = new QueryHead(app, {
      onleave: () => /** @type {HTMLElement|null} */ (this.list.querySelector("button"))?.focus(),
      onid: (id) => act(app, "use", id),
      onagain: () => {
        const failed = !this.histogram;
        if (failed) this.run();
        return failed;
      },
    });
    this.bar = new SelectionBar();
    this.text = h("textarea", { id: "classes", rows: 3, spellcheck: "false", autocapitalize: "off", placeholder: "cat, dog, neither", "aria-describedby": "classes-hint" });
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.#submit();
    });
    this.source = h("select", { "aria-label": "Kind of classes", onchange: () => this.#choose() });
    this.over = h("select", { "aria-label": "Images to classify", onchange: () => app.go({ over: Number(this.over.value) || null }) });
    this.labels = h("button", { type: "button", class: "plain", hidden: true, onclick: () => this.#useLabels() }, "Use the gallery's labels");
    this.typed = h("div", { class: "typed" }, h("label", { for: "classes" }, "Classes"), this.text, h("p", { id: "classes-hint", class: "soft small" }, "One per line, or separated by commas. Each image goes to the class whose text is nearest."), h("p", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Classify"), this.labels));
    const form = h("form", { class: "classes", "aria-label": "What to classify" }, h("p", { class: "actions" }, this.source, this.over), this.typed);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.heading = h("h2", { id: "histogram" });
    this.list = h("ul", { class: "histogram", "aria-labelledby": "histogram" });
    this.list.addEventListener("keydown", (event) => this.#key(event));
    this.rest = h("p", { class: "soft small" });
    this.more = h("button", { type: "button", hidden: true, onclick: () => this.#showAll() });
    this.place = h("div", { class: "place" });
    this.title = h("h2", { id: "of-class", tabindex: -1 });
    this.pictures = h("section", { class: "of-class", "aria-labelledby": "of-class" }, this.title, grid);
    root.append(
      this.head.element,
      h("main", { id: "main", tabindex: -1, class: "results classify" }, h("div", { class: "sorting" }, form, this.place, this.heading, this.list, this.more, this.rest), this.pictures),
      this.viewing.viewer,
      this.bar,
    );
    grid.addEventListener("failed", (event) => grid.end?.replaceChildren(notice({ error: /** @type {CustomEvent} */ (event).detail, again: () => grid.more() })));
    app.loaded = () => grid.cells.length;
    this.changedSelection = () => {
      grid.refresh();
      this.bar.show(app);
      announce(`${app.selection.size} selected`);
    };
    app.selection.addEventListener("change", this.changedSelection);
    app.details().then(({ labels = [] }) => (this.labels.hidden = !labels.length), () => {});
  }

  unmount() {
    this.cancel?.abort();
    this.head.unlisten();
    this.viewing.viewer.close();
    this.app.selection.removeEventListener("change", this.changedSelection);
    this.app.loaded = () => 0;
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
    const { state } = app;
    this.head.show(before);
    this.bar.show(app);
    document.title = `${["Classify", state.bar, app.gallery?.name].filter(Boolean).join(" · ")} · zsretrieve`;
    this.#controls(before);
    if (this.#asking !== this.asked || !this.histogram) this.run(place);
    else this.#open(place);
    this.viewing.grid.refresh();
    this.viewing.show();
  }

  /** What is typed, unless there are prototypes and nothing is. */
  get #prototypes() {
    const { state, prototypes } = this.app;
    return state.c.length || this.typing ? undefined : prototypes;
  }

  /** @param {import("../types.js").State|null} before */
  #controls(before) {
    const { app } = this;
    const { state } = app;
    if (state.c.length) this.typing = false;
    const fitting = app.catalogue.prototypes.filter(({ galleries }) => galleries.includes(app.gallery?.name ?? ""));
    const chosen = this.#prototypes;
    this.source.hidden = !fitting.length;
    fill(this.source, ...fitting.map(({ name, n_classes: n }) => h("option", { value: name, selected: name === chosen?.name }, `${name} (${counted(n, "class", "classes")})`)), h("option", { value: "", selected: !chosen }, "Classes that I type"));
    this.typed.hidden = chosen !== undefined;
    if (!before || `${before.c}` !== `${state.c}`) this.text.value = state.c.join("\n");
    const searching = isSearch(state);
    const bests = state.over && !BEST.includes(state.over) ? [...BEST, state.over] : BEST;
    fill(
      this.over,
      h("option", { value: "" }, state.where ? "All that pass the filters" : "The whole gallery"),
      ...bests.map((n) => h("option", { value: n, disabled: !searching, selected: searching && n === state.over }, `The best ${count(n)} of the search`)),
    );
  }

  #choose() {
    const p = this.source.value;
    this.typing = !p;
    if (p) this.app.go({ p, c: [], bar: "" });
    else {
      this.app.go({ c: [], bar: "" }, { replace: true });
      this.text.focus();
    }
  }

  async #useLabels() {
    const { labels = [] } = await this.app.details();
    this.text.value = labels.map(({ label }) => label).join("\n");
    this.#submit();
  }

  #submit() {
    const lines = this.text.value.split("\n").map((line) => line.trim());
    // A comma in a class of several lines is part of its name.
    const names = (lines.filter(Boolean).length > 1 ? lines : this.text.value.split(",")).map((name) => name.trim()).filter(Boolean);
    const c = [...new Set(names)];
    if (`${c}` === `${this.app.state.c}` && !this.histogram) this.run();
    else this.app.go({ c, bar: "", id: null });
  }

  /** The request for the histogram, null while there are no classes. */
  #body() {
    const { state } = this.app;
    const prototypes = this.#prototypes;
    if (!state.c.length && !prototypes) return null;
    const classes = prototypes ? { prototypes: prototypes.name } : { labels: state.c };
    const { where, explain, ...search } = body(state);
    const images = isSearch(state) && state.over ? { search: { ...search, k: Math.min(1000, Math.max(1, state.over)) } } : {};
    return { ...classes, ...images, ...(where ? { where } : {}) };
  }

  /** What tells one histogram from another: also the revision, since a filter may pass others after a change. */
  get #asking() {
    const { name, revision } = this.app.gallery ?? {};
    return JSON.stringify([name, revision, this.#body()]);
  }

  /** @param {import("../app.js").Place|null} [place] */
  async run(place = null) {
    const { app } = this;
    const gallery = app.gallery?.name ?? "";
    const wanted = this.#body();
    const key = this.#asking;
    this.cancel?.abort();
    this.cancel = new AbortController();
    this.asked = key;
    this.histogram = null;
    this.all = false;
    fill(this.place);
    if (!wanted) {
      this.head.clearErrors();
      this.#clear(notice({ title: "What is in the images?", text: "Type classes above, and see how many images are nearest to each." }));
      return;
    }
    let found = kept.get(key);
    if (!found) {
      document.documentElement.dataset.busy = "";
      const { signal } = this.cancel;
      try {
        found = /** @type {Histogram} */ (await ask(`${galleryPath(gallery)}/classify`, { body: wanted, signal }));
      } catch (error) {
        const message = signal.aborted ? null : await this.head.fail(error, { again: () => this.run(), isWanted: () => !signal.aborted });
        if (message) this.#clear(message);
        return;
      } finally {
        if (!signal.aborted) delete document.documentElement.dataset.busy;
      }
      if (key !== this.asked) return;
    }
    kept.delete(key);
    kept.set(key, found);
    for (const old of kept.keys()) if (kept.size > KEPT) kept.delete(old);
    this.histogram = found;
    this.head.clearErrors();
    this.#draw(found);
    this.#open(place);
  }

  /** @param {HTMLElement} message */
  #clear(message) {
    fill(this.place, message);
    fill(this.head.status);
    fill(this.list);
    this.rest.textContent = this.heading.textContent = "";
    this.more.hidden = this.pictures.hidden = true;
    this.shown = "";
  }

  /** @param {Histogram} histogram */
  #draw({ classes, n }) {
    const { app } = this;
    const model = app.gallery?.model ?? "";
    fill(this.head.status, h("span", {}, `${counted(n, "image")} classified`), h("span", { class: "model" }, model));
    if (!n) {
      this.#clear(app.gallery?.n_images ? notice({ title: "No image passes.", text: "Change or clear the filters." }) : notice({ title: "This gallery is empty.", text: "Add images: zsretrieve index add GALLERY FOLDER" }));
      return;
    }
    const some = classes.filter((one) => one.n > 0);
    const none = classes.filter((one) => !one.n).map(({ class_name }) => class_name);
    const most = some[0].share;
    this.heading.textContent = `${counted(n, "image")} in ${counted(some.length, "class", "classes")}`;
    fill(this.list, ...some.slice(0, this.all ? some.length : BARS).map((one) => this.#bar(one, most)));
    this.more.hidden = this.list.children.length === some.length;
    this.more.textContent = `Show ${counted(some.length - this.list.children.length, "more class", "more classes")}`;
    const named = none.slice(0, NAMED).join(", ");
    const further = none.length > NAMED ? ` and ${count(none.length - NAMED)} more` : "";
    this.rest.textContent = none.length ? `Without images: ${named}${further}.` : "";
    announce(`${this.heading.textContent}. Most: ${some[0].class_name}, ${count(some[0].n)}.`);
  }

  #showAll() {
    const next = this.list.children.length;
    this.all = true;
    if (this.histogram) this.#draw(this.histogram);
    this.#press();
    /** @type {HTMLElement|null|undefined} */ (this.list.children[next]?.querySelector("button"))?.focus();
  }

  /**
   * @param {{class_name: string, n: number, share: number}} one
   * @param {number} most  the largest share
   */
  #bar({ class_name: name, n, share }, most) {
    const filled = h("span", { class: "fill" });
    filled.style.width = `${(share / most) * 100}%`;
    const onclick = () => this.app.go({ bar: this.app.state.bar === name ? "" : name, id: null });
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", "data-class": name, "aria-pressed": "false", onclick },
        h("span", { class: "name" }, name),
        h("span", { class: "track", "aria-hidden": "true" }, filled),
        h("span", { class: "number" }, count(n), h("span", { class: "hidden-text" }, n === 1 ? " image, " : " images, ")),
        h("span", { class: "number share" }, percent(share)),
      ),
    );
  }

  /** Up and down move between the bars. @param {KeyboardEvent} event */
  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const buttons = [...this.list.querySelectorAll("button")];
    const next = buttons[buttons.indexOf(/** @type {any} */ (event.target)) + (step ?? 0)];
    if (!step || !next) return;
    next.focus();
    event.preventDefault();
  }

  #press() {
    for (const button of this.list.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.class === this.app.state.bar));
  }

  /** Show the images of the class that the address names. @param {import("../app.js").Place|null} place */
  #open(place) {
    const { app, histogram } = this;
    if (!histogram) return;
    const { bar } = app.state;
    this.#press();
    const found = histogram.classes.find(({ class_name }) => class_name === bar);
    const showing = `${this.asked} ${bar}`;
    this.pictures.hidden = !found;
    if (!found || showing === this.shown) {
      if (!found) this.shown = "";
      else if (place) scrollTo(0, place.scroll ?? 0);
      return;
    }
    this.shown = showing;
    this.title.textContent = `${bar}: ${counted(found.n, "image")}`;
    const gallery = app.gallery?.name ?? "";
    const asked = { ...this.#body(), listed: EVERY };
    const images = new Listed(gallery, found.ids, {
      total: found.n,
      ask: async () => {
        /** @type {Histogram} */
        const { classes } = await ask(`${galleryPath(gallery)}/classify`, { body: asked });
        return classes.find(({ class_name }) => class_name === bar)?.ids ?? [];
      },
    });
    this.viewing.images = images;
    this.viewing.grid.show(images);
    this.#load(images, place);
    announce(`${this.title.textContent}, the surest first`);
  }

  /**
   * @param {Listed} images
   * @param {import("../app.js").Place|null} place
   */
  async #load(images, place) {
    const { grid } = this.viewing;
    do await grid.more();
    while (images === this.viewing.images && !images.complete && grid.cells.length < (place?.loaded ?? 0));
    if (images !== this.viewing.images) return;
    if (place) scrollTo(0, place.scroll ?? 0);
    else if (matchMedia("(max-width: 820px)").matches) this.title.scrollIntoView({ block: "start" });
    if (this.app.state.id !== null) this.viewing.show();
  }
}
