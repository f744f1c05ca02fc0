/** `<zs-grid>`: rows of images that load as one scrolls. */

import { ACTIONS } from "../actions.js";
import { h } from "../dom.js";
import { cellOf } from "./cell.js";

/** @typedef {import("../types.js").Item} Item */

/**
 * Fires `open` (detail: the ID), `act` (detail: {action, item}) and `failed` (detail: the error).
 */
export class Grid extends HTMLElement {
  /** @type {import("../results.js").Results|null} */
  results = null;
  /** What is loaded to be shown next. @type {import("../results.js").Results|null} */
  coming = null;
  /** @type {import("../selection.js").Selection|null} */
  selection = null;
  /** @type {(id: number) => string} */
  link = () => "";
  /** What divides an image from the one above it. @type {(item: Item, above: Item|undefined) => Node[]|null} */
  divide = () => null;
  /** What is said of an image: its name, more, and a mark. @type {(item: Item) => {name?: string, more?: string, badge?: string|false}} */
  caption = () => ({});
  /** Whether rows end where a divider is, rather than fill the width. */
  ragged = false;
  /** The cell that the tab key reaches. */
  current = 0;
  /** Where a range starts. */
  anchor = 0;

  list = h("ul", { class: "grid", "aria-label": "Images" });
  /** What is below the images. */
  end = h("div", { class: "end" });
  observer = new IntersectionObserver((entries) => entries.some((one) => one.isIntersecting) && this.more(), { rootMargin: "1200px" });

  constructor() {
    super();
    this.list.addEventListener("click", (event) => this.#click(event));
    this.list.addEventListener("keydown", (event) => this.#key(event));
    this.list.addEventListener("focusin", (event) => {
      const index = this.#indexAt(event.target);
      if (index >= 0) this.#rove(index);
    });
    this.list.addEventListener("dragstart", (event) => {
      const item = this.itemAt(event.target);
      if (item) event.dataTransfer?.setData("application/x-zsretrieve-id", String(item.id));
    });
  }

  connectedCallback() {
    this.append(this.list, this.end);
  }

  disconnectedCallback() {
    this.observer.disconnect();
  }

  /** @type {HTMLElement[]} */
  cells = [];

  /**
   * Show nothing, until the images of a list are there.
   *
   * @param {import("../results.js").Results} results
   */
  clear(results) {
    this.results = results;
    this.list.classList.toggle("ragged", this.ragged);
    this.cells = [];
    this.current = 0;
    this.anchor = 0;
    this.list.replaceChildren();
    this.end.replaceChildren();
    this.end.hidden = false;
    this.observer.disconnect();
  }

  /**
   * Show images from the first, as far as they are loaded.
   *
   * @param {import("../results.js").Results} results
   */
  show(results) {
    this.clear(results);
    this.#append();
  }

  /** Load the next page. */
  async more() {
    const { results } = this;
    if (!results || results.complete) return;
    try {
      await results.load();
    } catch (error) {
      if (results === this.results && /** @type {any} */ (error)?.name !== "AbortError") {
        this.observer.disconnect();
        this.dispatchEvent(new CustomEvent("failed", { detail: error }));
      }
      return;
    }
    if (results === this.results) this.#append();
  }

  #append() {
    const { results, list, end } = this;
    if (!results) return;
    for (const hit of results.hits.slice(this.cells.length)) {
      const line = this.divide(hit, results.hits[this.cells.length - 1]);
      if (line) list.append(h("li", { class: "cut" }, ...line));
      const cell = cellOf(results.gallery, hit, { href: this.link(hit.id), index: this.cells.length, ...this.caption(hit) });
      this.cells.push(cell);
      list.append(cell);
    }
    list.classList.toggle("whole", !results.complete);
    if (!results.complete && !this.ragged) this.#holdBack();
    this.refresh();
    this.observer.disconnect();
    end.hidden = results.complete;
    end.replaceChildren();
    // Observed again each time: it fires only on a change, and the end may still be in sight.
    if (!results.complete) this.observer.observe(end);
  }

  /** Take the last row away until it is full, since its images would grow when others join them. */
  #holdBack() {
    const { cells, list } = this;
    const top = cells.at(-1)?.offsetTop;
    const start = cells.findIndex((cell) => cell.offsetTop === top);
    if (start <= 0) return;
    cells.length = start;
    while (list.lastChild && list.lastChild !== cells[start - 1]) list.lastChild.remove();
  }

  /** Show what is selected. */
  refresh() {
    const { selection } = this;
    if (!selection) return;
    this.list.classList.toggle("selecting", selection.size > 0);
    for (const [index, cell] of this.cells.entries()) {
      const on = selection.has(this.results?.hits[index].id ?? -1);
      if (cell.classList.contains("selected") === on) continue;
      cell.classList.toggle("selected", on);
      cell.querySelector(".check")?.setAttribute("aria-pressed", String(on));
    }
  }

  /** @param {EventTarget|null} target */
  itemAt(target) {
    return this.results?.hits[this.#indexAt(target)];
  }

  /** @param {EventTarget|null} target */
  #indexAt(target) {
    const cell = /** @type {HTMLElement|null|undefined} */ (/** @type {Element|null} */ (target)?.closest("li.cell"));
    return cell ? this.cells.indexOf(cell) : -1;
  }

  /** The image of the cell that has the focus. */
  get focused() {
    return this.contains(document.activeElement) ? this.itemAt(document.activeElement) : undefined;
  }

  /** @param {number} index */
  #rove(index) {
    this.cells[this.current]?.querySelector("a")?.setAttribute("tabindex", "-1");
    this.cells[index]?.querySelector("a")?.setAttribute("tabindex", "0");
    this.current = index;
  }

  /**
   * Move the focus to a cell.
   *
   * @param {number} index
   */
  focusAt(index) {
    const place = Math.min(index, this.cells.length - 1);
    const cell = this.cells[place];
    if (!cell) return;
    this.#rove(place);
    cell.querySelector("a")?.focus({ preventScroll: true });
    cell.scrollIntoView({ block: "nearest" });
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const target = /** @type {Element} */ (event.target);
    const item = this.itemAt(target);
    if (!item) return;
    const index = this.#indexAt(target);
    const action = /** @type {HTMLElement|null} */ (target.closest("[data-action]"))?.dataset.action;
    if (action) this.#act(action, item);
    else if (target.closest(".check")) this.#select(index, event.shiftKey);
    else if (target.closest("a") && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      if (event.shiftKey) this.#select(index, true);
      else this.#open(item);
    }
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const item = this.itemAt(event.target);
    if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
    const index = this.current;
    const target = this.#target(event.key, index);
    if (target !== null) {
      if (event.shiftKey) this.#range(index, target);
      this.focusAt(target);
      if (target === this.cells.length - 1) this.more();
    } else if (event.key === "x" || event.key === "X") this.#select(index, event.shiftKey);
    else if (event.key === "a") this.selection?.mark(this.results?.hits.map(({ id }) => id) ?? [], true);
    else {
      const action = ACTIONS.find(([, , , key]) => key === event.key);
      if (!action) return;
      this.#act(action[0], item);
    }
    event.preventDefault();
  }

  /**
   * Where a key moves to.
   *
   * @param {string} key
   * @param {number} index
   * @returns {number|null}
   */
  #target(key, index) {
    const last = this.cells.length - 1;
    if (key === "ArrowRight") return Math.min(last, index + 1);
    if (key === "ArrowLeft") return Math.max(0, index - 1);
    if (key === "Home") return 0;
    if (key === "End") return last;
    if (key !== "ArrowDown" && key !== "ArrowUp") return null;
    const step = key === "ArrowDown" ? 1 : -1;
    const here = this.cells[index].getBoundingClientRect();
    let best = index;
    let nearest = Infinity;
    let row = null;
    for (let i = index + step; i >= 0 && i <= last; i += step) {
      const there = this.cells[i].getBoundingClientRect();
      if (Math.abs(there.top - here.top) < 2) continue;
      row ??= there.top;
      if (Math.abs(there.top - row) > 2) break;
      const distance = Math.abs(there.left + there.width / 2 - here.left - here.width / 2);
      if (distance < nearest) [best, nearest] = [i, distance];
    }
    return best;
  }

  /**
   * @param {number} index
   * @param {boolean} range  from the last selected image to here
   */
  #select(index, range) {
    const item = this.results?.hits[index];
    if (!item || !this.selection) return;
    if (range) this.#range(this.anchor, index);
    else this.selection.mark([item.id], !this.selection.has(item.id));
    this.anchor = index;
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #range(from, to) {
    const hits = this.results?.hits.slice(Math.min(from, to), Math.max(from, to) + 1) ?? [];
    this.selection?.mark(hits.map(({ id }) => id), true);
    this.anchor = to;
  }

  /** @param {Item} item */
  #open(item) {
    this.dispatchEvent(new CustomEvent("open", { detail: item.id }));
  }

  /**
   * @param {string} action
   * @param {Item} item
   */
  #act(action, item) {
    this.dispatchEvent(new CustomEvent("act", { detail: { action, item } }));
  }
}

customElements.define("zs-grid", Grid);
