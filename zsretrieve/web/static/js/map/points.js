/**
 * The places of all images, ordered so that what is in view is found at once, and so that the first places of a part of
 * the map are a fair sample of it.
 *
 * @typedef {{left: number, right: number, bottom: number, top: number}} Frame  a part of the unit square
 */

const SIDE = 64; // cells of the grid in each direction
const SAMPLES = [20_000, 120_000]; // points in the first level, and in the first two

export class Points {
  /**
   * @param {Float64Array} ids  ascending
   * @param {Float32Array} xy  x and y of each, in the unit square, y upwards
   * @param {Int32Array} labels  places of their captions, -1 without one
   */
  constructor(ids, xy, labels) {
    const n = ids.length;
    this.n = n;
    this.sorted = ids;
    // A level holds a sample that is independent of places and IDs, and within it the points of a cell are together.
    const keys = new Uint16Array(n);
    const counts = new Uint32Array(3 * SIDE * SIDE + 1);
    for (let i = 0; i < n; i += 1) {
      const chance = (Math.imul(i + 1, 0x9e3779b1) >>> 0) / 2 ** 32;
      const level = chance * n < SAMPLES[0] ? 0 : chance * n < SAMPLES[1] ? 1 : 2;
      keys[i] = (level * SIDE + cell(xy[2 * i + 1])) * SIDE + cell(xy[2 * i]);
      counts[keys[i] + 1] += 1;
    }
    for (let i = 1; i < counts.length; i += 1) counts[i] += counts[i - 1];
    /** Where each cell of each level starts. */
    this.starts = counts.slice();
    this.ids = new Float64Array(n);
    this.xy = new Float32Array(2 * n);
    this.labels = new Int32Array(n);
    /** The place of each of `sorted`. */
    this.places = new Uint32Array(n);
    for (let i = 0; i < n; i += 1) {
      const place = counts[keys[i]]++;
      this.places[i] = place;
      this.ids[place] = ids[i];
      this.xy[2 * place] = xy[2 * i];
      this.xy[2 * place + 1] = xy[2 * i + 1];
      this.labels[place] = labels[i];
    }
  }

  /** The part of the unit square that they take. @returns {Frame} */
  get bounds() {
    const { xy } = this;
    let [left, right, bottom, top] = [1, 0, 1, 0];
    for (let i = 0; i < xy.length; i += 2) {
      if (xy[i] < left) left = xy[i];
      if (xy[i] > right) right = xy[i];
      if (xy[i + 1] < bottom) bottom = xy[i + 1];
      if (xy[i + 1] > top) top = xy[i + 1];
    }
    return { left, right, bottom, top };
  }

  /**
   * The place of an image, -1 if it is not on the map.
   *
   * @param {number} id
   */
  placeOf(id) {
    let [low, high] = [0, this.n - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (this.sorted[middle] === id) return this.places[middle];
      if (this.sorted[middle] < id) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /**
   * Runs of places whose cells touch a part of the map, the sample first.
   *
   * @param {Frame} frame
   * @param {number} [levels]  1 gives only the sample
   * @returns {[number, number][]}
   */
  runs(frame, levels = 3) {
    const [left, right, bottom, top] = [cell(frame.left), cell(frame.right), cell(frame.bottom), cell(frame.top)];
    /** @type {[number, number][]} */
    const runs = [];
    for (let level = 0; level < levels; level += 1) {
      for (let row = bottom; row <= top; row += 1) {
        const start = this.starts[(level * SIDE + row) * SIDE + left];
        const end = this.starts[(level * SIDE + row) * SIDE + right + 1];
        const last = runs.at(-1);
        if (last && last[1] === start) last[1] = end;
        else if (end > start) runs.push([start, end]);
      }
    }
    return runs;
  }

  /**
   * The places in a part of the map, the sample first.
   *
   * @param {Frame} frame
   * @returns {Uint32Array}
   */
  within({ left, right, bottom, top }) {
    const { xy } = this;
    const runs = this.runs({ left, right, bottom, top });
    const found = new Uint32Array(runs.reduce((sum, [start, end]) => sum + end - start, 0));
    let n = 0;
    for (const [start, end] of runs) {
      for (let i = start; i < end; i += 1) {
        const x = xy[2 * i];
        const y = xy[2 * i + 1];
        if (x >= left && x <= right && y >= bottom && y <= top) found[n++] = i;
      }
    }
    return found.subarray(0, n);
  }

  /**
   * The place nearest to a point, -1 if none is within a distance.
   *
   * @param {number} x
   * @param {number} y
   * @param {number} most
   */
  nearest(x, y, most) {
    const { xy } = this;
    let best = -1;
    let least = most * most;
    for (const [start, end] of this.runs({ left: x - most, right: x + most, bottom: y - most, top: y + most })) {
      for (let i = start; i < end; i += 1) {
        const distance = (xy[2 * i] - x) ** 2 + (xy[2 * i + 1] - y) ** 2;
        if (distance <= least) [best, least] = [i, distance];
      }
    }
    return best;
  }

  /**
   * The places inside a polygon.
   *
   * @param {[number, number][]} corners
   */
  inside(corners) {
    const xs = corners.map(([x]) => x);
    const ys = corners.map(([, y]) => y);
    const frame = { left: Math.min(...xs), right: Math.max(...xs), bottom: Math.min(...ys), top: Math.max(...ys) };
    return [...this.within(frame)].filter((place) => {
      const x = this.xy[2 * place];
      const y = this.xy[2 * place + 1];
      let odd = false;
      for (let i = 0, j = corners.length - 1; i < corners.length; j = i, i += 1) {
        const crosses = ys[i] > y !== ys[j] > y && x < ((xs[j] - xs[i]) * (y - ys[i])) / (ys[j] - ys[i]) + xs[i];
        if (crosses) odd = !odd;
      }
      return odd;
    });
  }
}

/** @param {number} at  a coordinate */
const cell = (at) => Math.min(SIDE - 1, Math.max(0, Math.floor(at * SIDE)));
