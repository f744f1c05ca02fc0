/** The part of an image that fits a search best, where regions were searched. */

import { h } from "../dom.js";

/** @typedef {import("../types.js").Box} Box */

/**
 * A rectangle over an image, which fills its frame; of one of another shape, what sticks out is cut on both sides.
 *
 * @param {Box|null|undefined} box
 * @param {number} [image]  width / height of the image
 * @param {number} [frame]  width / height of what it fills
 */
export function region(box, image = 1, frame = image) {
  if (!box) return null;
  const shown = (/** @type {number} */ value, /** @type {number} */ share) => 100 * Math.min(1, Math.max(0, (value - (1 - share) / 2) / share));
  const [across, down] = [Math.min(1, frame / image), Math.min(1, image / frame)];
  const [left, right] = [shown(box[0], across), shown(box[2], across)];
  const [top, bottom] = [shown(box[1], down), shown(box[3], down)];
  const element = h("span", { class: "region", "aria-hidden": "true" });
  Object.assign(element.style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
  return element;
}

/**
 * Where it is, in words.
 *
 * @param {Box|null|undefined} box
 */
export function place(box) {
  if (!box) return null;
  const [left, top, right, bottom] = box.map((share) => Math.round(share * 100));
  return `${left}–${right} % from the left, ${top}–${bottom} % from the top`;
}
