/** Thumbnails of the right size. */

import { thumbnail } from "../api.js";
import { h } from "../dom.js";

/** @typedef {import("../types.js").Item} Item */

const SIZES = /** @type {const} */ ([128, 256, 512]);
const AGAIN = 1500; // ms; an overloaded server may refuse a thumbnail once

/**
 * The shape of a cell; panoramas are cropped rather than shown as a thread.
 *
 * @param {Item} item
 */
export function ratio(item) {
  if (item.text) return 1.6;
  const shape = item.width && item.height ? item.width / item.height : 1;
  return Math.min(2.4, Math.max(0.55, shape));
}

/**
 * An image of a gallery, from the smallest thumbnail that is sharp at this width on this screen.
 *
 * @param {string} gallery
 * @param {Item} item
 * @param {string} sizes  the width it is shown with, in CSS
 * @param {{alt?: string, lazy?: boolean, onbroken?: () => void}} [options]
 * @returns {HTMLImageElement}
 */
export function thumb(gallery, item, sizes, { alt = "", lazy = true, onbroken } = {}) {
  // A thumbnail's longer side is its size, so an upright one is narrower.
  const width = (/** @type {number} */ size) => Math.round(size * Math.min(1, (item.width || 1) / (item.height || 1)));
  const image = h("img", {
    alt,
    sizes,
    loading: lazy ? "lazy" : "eager",
    decoding: "async",
    draggable: "false",
    srcset: SIZES.map((size) => `${thumbnail(gallery, item.id, size)} ${Math.max(1, width(size))}w`).join(", "),
    src: thumbnail(gallery, item.id, 256),
  });
  let tries = 0;
  image.addEventListener("load", () => (image.style.visibility = ""));
  image.addEventListener("error", () => {
    image.style.visibility = "hidden"; // browsers would show a mark of their own
    tries += 1;
    if (tries === 1) setTimeout(() => (image.srcset = image.srcset), AGAIN);
    else onbroken?.();
  });
  return image;
}

/**
 * What an image is called: its label, else its file's name.
 *
 * @param {Item} item
 */
export const title = (item) => item.label || item.name;
