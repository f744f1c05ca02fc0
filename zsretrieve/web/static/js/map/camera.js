/** Which part of the map is in view. */

const MARGIN = 0.86; // of the width or height that the whole map fills
const NEAREST = 20_000;

/** @typedef {import("../types.js").At} At */

export class Camera {
  /** @type {At} */
  at = { x: 0.5, y: 0.5, zoom: 1 };
  width = 1;
  height = 1;
  /** What the whole map takes of the unit square. @type {import("./points.js").Frame} */
  bounds = { left: 0, right: 1, bottom: 0, top: 1 };

  /** Pixels per unit. */
  get scale() {
    const { left, right, bottom, top } = this.bounds;
    return this.at.zoom * MARGIN * Math.min(this.width / (right - left), this.height / (top - bottom));
  }

  /** The view of the whole map. @returns {At} */
  get all() {
    const { left, right, bottom, top } = this.bounds;
    return { x: (left + right) / 2, y: (bottom + top) / 2, zoom: 1 };
  }

  /** Set what the whole map is; a single image, too, gets some room. @param {import("./points.js").Frame} bounds */
  whole({ left, right, bottom, top }) {
    const [x, y] = [Math.max(0, 0.05 - right + left) / 2, Math.max(0, 0.05 - top + bottom) / 2];
    this.bounds = { left: left - x, right: right + x, bottom: bottom - y, top: top + y };
  }

  /** @returns {import("./points.js").Frame} what is in view */
  get frame() {
    const { x, y } = this.at;
    const [w, h] = [this.width / 2 / this.scale, this.height / 2 / this.scale];
    return { left: x - w, right: x + w, bottom: y - h, top: y + h };
  }

  /**
   * @param {number} x
   * @param {number} y
   * @returns {[number, number]} pixels from the upper left corner
   */
  toScreen(x, y) {
    return [this.width / 2 + (x - this.at.x) * this.scale, this.height / 2 - (y - this.at.y) * this.scale];
  }

  /**
   * @param {number} left
   * @param {number} top
   * @returns {[number, number]} a point of the map
   */
  toMap(left, top) {
    return [this.at.x + (left - this.width / 2) / this.scale, this.at.y - (top - this.height / 2) / this.scale];
  }

  /**
   * Move by pixels.
   *
   * @param {number} right
   * @param {number} down
   */
  pan(right, down) {
    this.look({ ...this.at, x: this.at.x - right / this.scale, y: this.at.y + down / this.scale });
  }

  /**
   * Enlarge around a point of the screen.
   *
   * @param {number} factor
   * @param {number} [left]
   * @param {number} [top]
   */
  zoom(factor, left = this.width / 2, top = this.height / 2) {
    const [x, y] = this.toMap(left, top);
    this.look({ ...this.at, zoom: this.at.zoom * factor });
    const [nowX, nowY] = this.toMap(left, top);
    this.look({ ...this.at, x: this.at.x + x - nowX, y: this.at.y + y - nowY });
  }

  /** Show a part of the map, which never leaves the view. @param {At} at */
  look({ x, y, zoom }) {
    const inside = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ high) => Math.min(high, Math.max(low, value));
    this.at = { x: inside(x, 0, 1), y: inside(y, 0, 1), zoom: inside(zoom, 0.5, NEAREST) };
  }
}
