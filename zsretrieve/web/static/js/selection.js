/** The selected images, in the order of selecting. Fires `change`. */
export class Selection extends EventTarget {
  /** @param {number[]} ids */
  constructor(ids) {
    super();
    this.chosen = new Set(ids);
    /** What was last done with them. */
    this.said = "";
  }

  get ids() {
    return [...this.chosen];
  }

  get size() {
    return this.chosen.size;
  }

  /** @param {number} id */
  has(id) {
    return this.chosen.has(id);
  }

  /**
   * Add images, or take them out.
   *
   * @param {number[]} ids
   * @param {boolean} on
   */
  mark(ids, on) {
    for (const id of ids) {
      if (on) this.chosen.add(id);
      else this.chosen.delete(id);
    }
    this.said = "";
    this.dispatchEvent(new Event("change"));
  }

  clear() {
    this.mark(this.ids, false);
  }

  /**
   * Take over the selection of an address, without an event.
   *
   * @param {number[]} ids
   */
  set(ids) {
    if (ids.length !== this.size || ids.some((id) => !this.has(id))) this.chosen = new Set(ids);
  }
}
