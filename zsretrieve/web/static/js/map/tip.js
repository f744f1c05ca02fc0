/** What is shown of a point while the mouse is on it. */

import { ask, galleryPath, thumbnail } from "../api.js";
import { fill, h } from "../dom.js";

const REST = 90; // ms

export class Tip {
  element = h("div", { class: "tip", hidden: true, "aria-hidden": "true" });
  /** The image that it is of, or will be. @type {number|null} */
  id = null;
  timer = 0;

  /**
   * @param {string} gallery
   * @param {number} id
   * @param {{left: number, top: number}} corner
   */
  show(gallery, id, { left, top }) {
    Object.assign(this.element.style, { left: `${left}px`, top: `${top}px` });
    if (id === this.id) return;
    this.hide();
    this.id = id;
    this.timer = setTimeout(() => this.#fill(gallery, id), REST);
  }

  hide() {
    clearTimeout(this.timer);
    this.element.hidden = true;
    this.id = null;
  }

  /**
   * @param {string} gallery
   * @param {number} id
   */
  async #fill(gallery, id) {
    const { hits } = await ask(`${galleryPath(gallery)}/items`, { body: { ids: [id] } }).catch(() => ({ hits: [] }));
    if (this.id !== id || !hits.length) return;
    const [item] = hits;
    fill(this.element, !item.missing && !item.text && h("img", { src: thumbnail(gallery, id, 256), alt: "" }), h("strong", {}, item.label ?? item.name), item.label && h("span", { class: "soft" }, item.name));
    this.element.hidden = false;
  }
}
