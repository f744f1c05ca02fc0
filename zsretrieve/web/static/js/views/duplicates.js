/** The duplicates view: images that are there more than once, in groups, the one to keep first. */

import { fill, h } from "../dom.js";
import { ELSEWHERE } from "../actions.js";
import { Pictures } from "../elements/pictures.js";
import { counted, size } from "../format.js";
import { listOf } from "../results.js";
import { notice } from "../elements/notice.js";

/** @typedef {import("../types.js").Item} Item */
/** @typedef {Item & {group: Group}} Duplicate */
/** @typedef {{kind: string, items: Item[]}} Group */

const NEAR = 0.95; // what the server takes if nothing is said
const GROUPS = 30; // in a page
const MOST = 200; // the API's limit

/** @param {number} near */
const isSimilarity = (near) => near > 0 && near <= 1;

/**
 * @param {HTMLElement} root
 * @param {import("../app.js").App} app
 * @returns {import("../views.js").View}
 */
export function mount(root, app) {
  return new DuplicatesView(root, app);
}

class DuplicatesView {
  /**
   * @param {HTMLElement} root
   * @param {import("../app.js").App} app
   */
  constructor(root, app) {
    this.app = app;
    this.shown = "";
    this.near = h("input", { id: "near", type: "number", min: 0.5, max: 1, step: 0.01, inputmode: "decimal", onchange: () => this.change() });
    this.error = h("p", { class: "error", role: "alert" });
    this.status = h("div", { class: "status", role: "status" });
    this.others = h("button", { type: "button", onclick: () => this.select(this.groups) }, "Select all but the best");
    this.place = h("div");
    root.append(
      h("div", { class: "search" }, h("div", { class: "row" }, h("label", { class: "choice", for: "near" }, "Lowest similarity", this.near), this.others, this.status), this.error),
      h("main", { id: "main", tabindex: -1, class: "results", "aria-label": "Duplicates" }, this.place),
    );
    this.pictures = new Pictures(app, { from: ELSEWHERE, restart: () => this.again() });
    root.append(this.pictures.viewer, this.pictures.bar);
  }

  unmount() {
    this.pictures.unmount();
  }

  /** The groups that are loaded. @returns {Group[]} */
  get groups() {
    const hits = /** @type {Duplicate[]} */ (this.results?.hits ?? []);
    return [...new Set(hits.map(({ group }) => group))];
  }

  change() {
    const near = this.near.valueAsNumber;
    this.warn(near);
    if (isSimilarity(near)) this.app.go({ own: near === NEAR ? {} : { alike: String(near) }, id: null });
  }

  /** Say so if a number is not a similarity. @param {number} near */
  warn(near) {
    this.error.textContent = isSimilarity(near) ? "" : "The similarity is a number above 0 and up to 1, such as 0.98.";
  }

  /**
   * @param {import("../types.js").State|null} _before
   * @param {import("../app.js").Place|null} place
   */
  update(_before, place) {
    const { app, pictures } = this;
    const gallery = app.gallery?.name ?? "";
    const given = Number(app.state.own.alike ?? NEAR);
    const near = isSimilarity(given) ? given : NEAR;
    document.title = `Duplicates · ${gallery} · zsretrieve`;
    const wanted = `${gallery} ${near}`;
    if (wanted !== this.shown) {
      this.shown = wanted;
      this.warn(given);
      this.near.value = String(near);
      this.load(gallery, near, place);
    } else if (place) scrollTo(0, place.scroll ?? 0);
    pictures.update();
  }

  /**
   * @param {string} gallery
   * @param {number} near
   * @param {import("../app.js").Place|null} place
   */
  load(gallery, near, place) {
    const read = (/** @type {{groups: Group[], total: number}} */ page) => ({
      ...page,
      n_groups: page.total,
      total: 0, // how many images the groups have is not known before all are loaded
      hits: page.groups.flatMap((group) => group.items.map((item) => ({ ...item, group }))),
    });
    const results = listOf(gallery, "duplicates", { near }, { page: GROUPS, most: MOST, loaded: place?.loaded ?? 0, read });
    this.results = results;
    this.pictures.clear();
    this.others.hidden = true;
    fill(this.status);
    const grid = this.pictures.grid({
      ragged: true,
      divide: (item, above) => this.divide(/** @type {Duplicate} */ (item), /** @type {Duplicate|undefined} */ (above)),
      caption: (item) => ({
        name: item.name,
        more: [`${item.width} × ${item.height}`, item.bytes && size(item.bytes), item.folder].filter(Boolean).join(" · "),
        badge: /** @type {Duplicate} */ (item).group.items[0].id === item.id && "Keep",
      }),
    });
    fill(this.place, grid);
    this.pictures.fill(grid, results, () => {
      const total = /** @type {any} */ (results.answer).n_groups;
      fill(this.status, h("strong", {}, counted(total, "group")));
      this.others.hidden = total === 0;
      if (!total) fill(this.place, notice({ title: "No duplicates.", text: `No two images are alike by ${near} or more. A lower similarity finds more.` }));
      if (place) scrollTo(0, place.scroll ?? 0);
    });
  }

  /** Look for them again, in the gallery as it is now. */
  again() {
    this.shown = "";
    this.update(null, null);
  }

  /**
   * The head of a group, above its first image.
   *
   * @param {Duplicate} item
   * @param {Duplicate|undefined} above
   */
  divide({ group }, above) {
    if (above?.group === group) return null;
    const [first, ...others] = group.items;
    const exact = group.kind === "exact";
    const text = `Select the other${others.length > 1 ? "s" : ""}`;
    return [
      h("h2", {}, counted(group.items.length, "image"), " ", h("span", { class: "kind" }, exact ? "same content" : "look alike")),
      h("span", { class: "soft" }, `Keep ${first.name}`),
      h("button", { type: "button", onclick: () => this.select([group]), "aria-label": `${text}: all but ${first.name}` }, text),
    ];
  }

  /** Select all but the best of some groups. @param {Group[]} groups */
  select(groups) {
    this.app.selection.mark(groups.flatMap(({ items }) => items.slice(1).map(({ id }) => id)), true);
  }
}
