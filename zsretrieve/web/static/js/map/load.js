/** The map of a gallery, as the server has it. */

import { ask, askNumbers, galleryPath } from "../api.js";
import { Points } from "./points.js";

/**
 * @typedef {Object} MapData
 * @property {Points} points
 * @property {{label: string, x: number, y: number, n: number}[]} captions  most images first
 * @property {number} missing  images of the gallery that are not on the map
 */

/**
 * @param {string} gallery
 * @param {AbortSignal} signal
 * @returns {Promise<MapData>}
 * @throws {import("../api.js").ApiError}
 */
export async function loadMap(gallery, signal) {
  const path = `${galleryPath(gallery)}/map`;
  for (let tries = 0; ; tries += 1) {
    const [xy, ids, labels, about] = await Promise.all([
      askNumbers(path, signal),
      askNumbers(`${path}/ids`, signal),
      askNumbers(`${path}/labels`, signal),
      ask(`${path}/about`, { signal }),
    ]);
    // Made again between two requests, the parts would not belong together.
    if (tries < 3 && new Set([xy.etag, ids.etag, labels.etag]).size > 1) continue;
    const large = new BigInt64Array(ids.data);
    const numbers = new Float64Array(large.length);
    for (let i = 0; i < large.length; i += 1) numbers[i] = Number(large[i]);
    return { points: new Points(numbers, new Float32Array(xy.data), new Int32Array(labels.data)), captions: about.captions, missing: about.missing };
  }
}
