/** Images that are known by their IDs, loaded page by page as those of a ranking. */

import { ask, galleryPath } from "./api.js";

const PAGE = 60;

export class Listed {
  /**
   * @param {string} gallery
   * @param {number[]} ids
   * @param {{total: number, ask: () => Promise<number[]>}} [rest]  of which there are more, to be asked for once
   */
  constructor(gallery, ids, rest) {
    this.gallery = gallery;
    this.ids = ids;
    this.total = rest?.total ?? ids.length;
    this.rest = rest?.ask;
    /** @type {import("./types.js").Item[]} */
    this.hits = [];
    this.asked = 0;
    /** @type {Promise<void>|null} */
    this.loading = null;
  }

  get complete() {
    return this.asked >= this.total;
  }

  /** @param {number} id */
  indexOf(id) {
    return this.hits.findIndex((hit) => hit.id === id);
  }

  /**
   * Load the next page; does nothing if all are loaded, and waits for a page that is on its way.
   *
   * @returns {Promise<void>}
   */
  load() {
    if (this.complete) return Promise.resolve();
    this.loading ??= this.#load().finally(() => {
      this.loading = null;
    });
    return this.loading;
  }

  async #load() {
    if (this.rest && this.asked + PAGE > this.ids.length) {
      this.ids = await this.rest();
      this.total = this.ids.length;
      this.rest = undefined;
    }
    const ids = this.ids.slice(this.asked, this.asked + PAGE);
    const { hits } = await ask(`${galleryPath(this.gallery)}/items`, { body: { ids } });
    this.asked += ids.length;
    this.hits.push(...hits);
  }
}
