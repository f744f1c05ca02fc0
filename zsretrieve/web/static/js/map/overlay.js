/** What is drawn over the points of a map: found and selected ones, thumbnails, captions, the lasso. */

import { thumbnail } from "../api.js";

const MOST = 160; // thumbnails at once
const LOOKED_AT = 6000; // points among which they are chosen
const KEPT = 500; // thumbnails in memory
const CROWDED = 400; // points in view from which thumbnails leave room for the others
const CAPTIONS = 30;
const FONT = "600 12.5px system-ui, sans-serif";

/** @typedef {{place: number, size: number, image: HTMLImageElement}} Shown */

export class Overlay {
  /** @param {import("./canvas.js").MapCanvas} map */
  constructor(map) {
    this.map = map;
    /** @type {Shown[]} */
    this.shown = [];
    /** @type {{text: string, x: number, y: number, down: number, half: number}[]} */
    this.written = [];
    /** @type {Map<number, HTMLImageElement>} */
    this.images = new Map();
    /** Resolved colours of the style sheet, null after they changed. @type {string[]|null} */
    this.colours = null;
    /** Corners of the lasso on the screen. @type {[number, number][]|null} */
    this.lasso = null;
    /** Places in view, found when the map last rested: lit ones first. */
    this.inView = /** @type {Uint32Array} */ (new Uint32Array());
    /** How many of them are lit. */
    this.litInView = 0;
  }

  /** Look what is in view, and choose the thumbnails. */
  settle() {
    const { map } = this;
    const { data, camera, lit } = map;
    if (!data) return;
    const { points } = data;
    const { left, right, bottom, top } = camera.frame;
    const isIn = (/** @type {number} */ i) => points.xy[2 * i] >= left && points.xy[2 * i] <= right && points.xy[2 * i + 1] >= bottom && points.xy[2 * i + 1] <= top;
    const first = lit.filter(isIn);
    const found = points.within(camera.frame);
    if (first.length) {
      const known = new Set(first);
      let n = found.length;
      // From the end, where what is not lit keeps its order.
      for (let i = n - 1; i >= 0; i -= 1) if (!known.has(found[i])) found[--n] = found[i];
      found.set(first);
    }
    this.inView = found;
    this.litInView = first.length;
    this.#choose();
    map.draw();
  }

  /** Thumbnails in the order of `inView`, and captions, none over another. */
  #choose() {
    const { map, inView } = this;
    const { camera, data } = map;
    if (!data) return;
    const n = inView.length;
    const fair = Math.sqrt((camera.width * camera.height) / Math.max(1, n)) * 0.7;
    const size = Math.round(Math.min(104, Math.max(34, fair)));
    const room = n > CROWDED ? size * 1.1 : 2;
    const taken = new Taken(camera.width, camera.height);
    const { offsetLeft: left, offsetTop: top, offsetWidth: width, offsetHeight: height } = map.covered;
    taken.take(left + width / 2, top + height / 2, width / 2 + 8, height / 2 + 8, 0);
    const add = (/** @type {Uint32Array} */ places, /** @type {number} */ most) => {
      if (map.ofTexts) return; // these have no thumbnails
      for (const place of places) {
        if (this.shown.length >= most) break;
        const [x, y] = this.#at(place);
        if (taken.take(x, y, size / 2, size / 2, room)) this.shown.push({ place, size, image: this.#image(place) });
      }
    };
    this.shown = [];
    this.written = [];
    // Where there is room for most images, they matter more than captions.
    add(inView.subarray(0, this.litInView), MOST);
    const others = inView.subarray(this.litInView, LOOKED_AT);
    add(others, n > CROWDED ? this.shown.length + 40 : MOST);
    const { paper } = map;
    paper.font = FONT;
    for (const { label, x, y } of data.captions.slice(0, 300)) {
      if (this.written.length >= CAPTIONS) break;
      const text = label.length > 24 ? `${label.slice(0, 23)}…` : label;
      const half = paper.measureText(text).width / 2 + 7;
      const [left, top] = camera.toScreen(x, y);
      // At the median of its images, or else close by.
      const down = [0, -18, 18, -36, 36].find((step) => taken.take(left, top + step, half, 10, 3));
      if (down !== undefined) this.written.push({ text, x, y, down, half });
    }
    add(others, MOST);
    const needed = new Set(this.shown.map(({ place }) => place));
    for (const place of this.images.keys()) if (this.images.size > KEPT && !needed.has(place)) this.images.delete(place);
  }

  /** @param {number} place */
  #image(place) {
    const known = this.images.get(place);
    if (known) return known;
    const image = new Image();
    image.addEventListener("load", () => this.map.draw());
    image.src = thumbnail(this.map.gallery ?? "", this.map.data?.points.ids[place] ?? 0, 128);
    this.images.set(place, image);
    return image;
  }

  /** The place that the keys open: the one nearest to the centre, -1 if none is in view. */
  get centre() {
    const { camera, data } = this.map;
    if (!data) return -1;
    const most = Math.min(camera.width, camera.height) / 2 / camera.scale;
    return data.points.nearest(camera.at.x, camera.at.y, most);
  }

  /**
   * The place whose thumbnail is at a point of the screen, -1 if there is none.
   *
   * @param {number} left
   * @param {number} top
   */
  placeAt(left, top) {
    const hit = this.shown.find((one) => {
      const [x, y] = this.#at(one.place);
      return Math.abs(x - left) <= one.size / 2 && Math.abs(y - top) <= one.size / 2;
    });
    return hit?.place ?? -1;
  }

  /** @param {number} place */
  #at(place) {
    const xy = /** @type {Float32Array} */ (this.map.data?.points.xy);
    return this.map.camera.toScreen(xy[2 * place], xy[2 * place + 1]);
  }

  /** @param {CanvasRenderingContext2D} paper */
  draw(paper) {
    const { map } = this;
    this.colours ??= ["--accent", "--ink", "--card"].map((name) => colourOf(map, name));
    const [accent, ink, card] = this.colours;
    paper.fillStyle = accent;
    this.#dots(paper, map.lit, Math.max(3, Math.min(6, map.appearance.size * 0.6)));
    paper.fillStyle = ink;
    this.#dots(paper, map.selected, 2.5);
    this.#thumbnails(paper, accent, card);
    this.#captions(paper, ink, card);
    if (map.canvas.matches(":focus-visible")) this.#cursor(paper, accent, card);
    if (this.lasso) this.#line(paper, accent);
  }

  /**
   * @param {CanvasRenderingContext2D} paper
   * @param {number[]} places
   * @param {number} radius
   */
  #dots(paper, places, radius) {
    const { camera } = this.map;
    for (const place of places) {
      const [x, y] = this.#at(place);
      if (x < 0 || y < 0 || x > camera.width || y > camera.height) continue;
      paper.beginPath();
      paper.arc(x, y, radius, 0, 7);
      paper.fill();
    }
  }

  /**
   * @param {CanvasRenderingContext2D} paper
   * @param {string} accent
   * @param {string} card
   */
  #thumbnails(paper, accent, card) {
    const { map } = this;
    const lit = new Set(map.lit);
    const selected = new Set(map.selected);
    for (const { place, size, image } of this.shown) {
      if (!image.complete || !image.naturalWidth) continue;
      const [x, y] = this.#at(place);
      const grown = size / Math.max(image.naturalWidth, image.naturalHeight);
      const [w, h] = [image.naturalWidth * grown, image.naturalHeight * grown];
      const dim = map.dimmed && !lit.has(place) && !selected.has(place);
      const edge = selected.has(place) || lit.has(place) ? 3 : 1;
      paper.fillStyle = edge > 1 ? accent : card;
      paper.beginPath();
      paper.roundRect(x - w / 2 - edge, y - h / 2 - edge, w + 2 * edge, h + 2 * edge, 5);
      paper.fill();
      paper.save();
      paper.beginPath();
      paper.roundRect(x - w / 2, y - h / 2, w, h, 3);
      paper.clip();
      // Points behind a pale image do not show through.
      paper.fillStyle = card;
      paper.fillRect(x - w / 2, y - h / 2, w, h);
      paper.globalAlpha = dim ? 0.4 : 1;
      paper.drawImage(image, x - w / 2, y - h / 2, w, h);
      paper.restore();
      if (selected.has(place)) check(paper, x - w / 2 + 9, y - h / 2 + 9, accent, card);
    }
  }

  /**
   * @param {CanvasRenderingContext2D} paper
   * @param {string} ink
   * @param {string} card
   */
  #captions(paper, ink, card) {
    paper.font = FONT;
    paper.textAlign = "center";
    paper.textBaseline = "middle";
    for (const { text, x, y, down, half } of this.written) {
      const [left, median] = this.map.camera.toScreen(x, y);
      const top = median + down;
      paper.globalAlpha = 0.85;
      paper.fillStyle = card;
      paper.beginPath();
      paper.roundRect(left - half, top - 10, 2 * half, 20, 10);
      paper.fill();
      paper.globalAlpha = this.map.dimmed ? 0.75 : 1;
      paper.fillStyle = ink;
      paper.fillText(text, left, top + 0.5);
      paper.globalAlpha = 1;
    }
  }

  /**
   * A ring around what the keys open.
   *
   * @param {CanvasRenderingContext2D} paper
   * @param {string} accent
   * @param {string} card
   */
  #cursor(paper, accent, card) {
    const place = this.centre;
    if (place < 0) return;
    const [x, y] = this.#at(place);
    const radius = (this.shown.find((one) => one.place === place)?.size ?? 14) / 2 + 8;
    for (const [width, colour] of /** @type {[number, string][]} */ ([[6, card], [3, accent]])) {
      paper.lineWidth = width;
      paper.strokeStyle = colour;
      paper.beginPath();
      paper.arc(x, y, radius, 0, 7);
      paper.stroke();
    }
  }

  /**
   * @param {CanvasRenderingContext2D} paper
   * @param {string} accent
   */
  #line(paper, accent) {
    paper.beginPath();
    for (const [x, y] of this.lasso ?? []) paper.lineTo(x, y);
    paper.closePath();
    paper.globalAlpha = 0.15;
    paper.fillStyle = accent;
    paper.fill();
    paper.globalAlpha = 1;
    paper.lineWidth = 2;
    paper.strokeStyle = accent;
    paper.stroke();
  }
}

/** What of the screen is taken. */
class Taken {
  /**
   * @param {number} width
   * @param {number} height
   */
  constructor(width, height) {
    this.width = width;
    this.height = height;
    /** @type {[number, number, number, number][]} */
    this.boxes = [];
  }

  /**
   * Take a box, if it is inside and as far from all others as `room`; whether it did.
   *
   * @param {number} x  of the centre
   * @param {number} y
   * @param {number} w  half of its width
   * @param {number} h
   * @param {number} room
   */
  take(x, y, w, h, room) {
    if (x < w || y < h || x > this.width - w || y > this.height - h) return false;
    if (this.boxes.some(([left, top, wide, high]) => Math.abs(left - x) < wide + w + room && Math.abs(top - y) < high + h + room)) return false;
    this.boxes.push([x, y, w, h]);
    return true;
  }
}

/**
 * @param {CanvasRenderingContext2D} paper
 * @param {number} x
 * @param {number} y
 * @param {string} accent
 * @param {string} card
 */
function check(paper, x, y, accent, card) {
  paper.fillStyle = accent;
  paper.beginPath();
  paper.arc(x, y, 8, 0, 7);
  paper.fill();
  paper.strokeStyle = card;
  paper.lineWidth = 2;
  paper.beginPath();
  paper.moveTo(x - 3.5, y);
  paper.lineTo(x - 1, y + 3);
  paper.lineTo(x + 4, y - 3);
  paper.stroke();
}

/**
 * A colour of the style sheet as a canvas takes it: `light-dark()` must be resolved by an element.
 *
 * @param {HTMLElement} element
 * @param {string} name
 */
function colourOf(element, name) {
  element.style.outlineColor = `var(${name})`;
  const colour = getComputedStyle(element).outlineColor;
  element.style.outlineColor = "";
  return colour;
}
