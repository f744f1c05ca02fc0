/** The page's state, its history, and what all views share. */

import { ask, galleryPath } from "./api.js";
import { announce } from "./dom.js";
import { catalogue, galleryOf } from "./first.js";
import { Selection } from "./selection.js";
import * as address from "./state.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Gallery} Gallery */

/**
 * Where one was in an entry of the history.
 *
 * @typedef {Object} Place
 * @property {number} [scroll]  pixels from the top
 * @property {number} [loaded]  images that were shown
 * @property {number} [depth]  entries since the viewer was opened from the grid
 */

export class App extends EventTarget {
  constructor() {
    super();
    this.state = address.read(location.search);
    this.selection = new Selection(this.state.sel);
    /** @type {import("./types.js").Catalogue} */
    this.catalogue = { galleries: [], prototypes: [], read_only: true, version: "" };
    /** @type {Map<string, Promise<Gallery>>} */
    this.described = new Map();
    /** How many images the view shows, for the place in the history. */
    this.loaded = () => 0;
    /** The image after some in what the view shows, or the last of them. @type {(ids: number[]) => number|undefined} */
    this.following = () => undefined;
    /** The image that gets the focus once the view shows it again, after a change. @type {number|undefined} */
    this.resume = undefined;
  }

  async start() {
    history.scrollRestoration = "manual";
    this.catalogue = await catalogue();
    addEventListener("popstate", (event) => {
      const state = address.read(location.search);
      // A selection that no address has room for would be lost on the way back.
      if (state.g === this.state.g && !address.hasRoom(this.state.sel)) state.sel = this.state.sel;
      this.#change(state, event.state ?? {});
    });
    addEventListener("pagehide", () => this.keepPlace());
    let timer = 0;
    addEventListener(
      "scroll",
      () => {
        clearTimeout(timer);
        timer = setTimeout(() => this.keepPlace(), 200);
      },
      { passive: true },
    );
    this.selection.addEventListener("change", () => {
      this.go({ sel: this.selection.ids }, { replace: true });
      announce(this.selection.size ? `${this.selection.size} selected` : "The selection is empty.");
    });
  }

  /** Ask again which galleries and prototypes there are and what they hold, after a change. */
  async refresh() {
    this.described.clear();
    this.catalogue = await catalogue();
    this.dispatchEvent(new Event("catalogue"));
  }

  /** The gallery that is shown: the one of the address, else the first. */
  get gallery() {
    return galleryOf(this.catalogue.galleries, this.state);
  }

  /** The prototypes that fit the gallery. */
  get fitting() {
    return this.catalogue.prototypes.filter(({ galleries }) => galleries.includes(this.gallery?.name ?? ""));
  }

  /** The prototypes whose classes the viewer shows: those of the address, else the first that fit the gallery. */
  get prototypes() {
    return this.fitting.find(({ name }) => name === this.state.p) ?? this.fitting[0];
  }

  /**
   * Labels, folders and dates of the gallery that is shown.
   *
   * @returns {Promise<Gallery>}
   */
  details() {
    const name = this.gallery?.name ?? "";
    const known = this.described.get(name);
    if (known) return known;
    const asked = ask(galleryPath(name));
    this.described.set(name, asked);
    asked.catch(() => this.described.delete(name));
    return asked;
  }

  /**
   * Change the state and the address.
   *
   * @param {Partial<State>} patch
   * @param {{replace?: boolean, depth?: number}} [options]  replace the entry of the history, for small things
   */
  go(patch, { replace = false, depth = 0 } = {}) {
    const next = { ...this.state, ...patch };
    const url = address.write(next);
    if (replace) history.replaceState(this.#place(), "", url);
    else if (url !== address.write(this.state)) {
      this.keepPlace();
      history.pushState({ depth }, "", url);
    }
    this.#change(next, null);
  }

  /** Show an image large. @param {number} id */
  openImage(id) {
    const { depth = 0 } = history.state ?? {};
    // Of an image that a link opened, there is no entry to return to.
    this.go({ id }, { depth: this.state.id === null ? 1 : depth && depth + 1 });
  }

  /** Close the large image: back to the entry before it, so that "back" does not open it again. */
  leaveImage() {
    const { depth = 0 } = history.state ?? {};
    if (depth > 0) history.go(-depth);
    else this.go({ id: null }, { replace: true });
  }

  /**
   * The address of a changed state, for links.
   *
   * @param {Partial<State>} patch
   */
  link(patch) {
    return address.write({ ...this.state, sel: [], ...patch });
  }

  keepPlace() {
    history.replaceState(this.#place(), "");
  }

  /** @returns {Place} */
  #place() {
    return { ...history.state, scroll: Math.round(scrollY), loaded: this.loaded() };
  }

  /**
   * @param {State} state
   * @param {Place|null} place  where to return to
   */
  #change(state, place) {
    const before = this.state;
    this.state = state;
    this.resume = undefined;
    this.selection.set(state.sel);
    this.dispatchEvent(new CustomEvent("state", { detail: { before, place } }));
  }
}
