/** `<zs-map>`: the map as one sees and moves it. */

import { h } from "../dom.js";
import { Camera } from "./camera.js";
import { listen } from "./moving.js";
import { Overlay } from "./overlay.js";
import { COLOURS, fit, painterOf } from "./painters.js";

/** @typedef {import("../types.js").At} At */
/** @typedef {{at: At, width: number, height: number}} Picture  of which view the last full picture is */

const AT_ONCE = 25_000; // points that are redrawn while one moves
const REST = 140; // ms without movement after which all points are drawn
const TIME = 24; // ms of drawing in a frame
const INK = 220; // the width of a point times the root of their number, as in the drawing of `index map --plot`

/**
 * Fires `settled` (what is in view has changed), `open` (detail: a place), `pick` (detail: a place), `lasso` (detail:
 * places) and `point` (detail: {place, left, top} or null).
 */
export class MapCanvas extends HTMLElement {
  camera = new Camera();
  /** @type {import("./load.js").MapData|null} */
  data = null;
  /** Places that the query has found, best first. @type {number[]} */
  lit = [];
  /** Places that are selected. @type {number[]} */
  selected = [];
  /** Whether dragging draws a lasso. */
  lassoing = false;
  /** Whether points that are not lit are grey. */
  dimmed = false;
  /** Whether its points are texts. */
  ofTexts = false;
  /** What covers a part of the map, where nothing is written. */
  covered = h("div");
  scheme = matchMedia("(prefers-color-scheme: dark)");
  repaint = () => this.changed();
  /** @type {Picture|null} */
  picture = null;

  canvas = h("canvas", {
    class: "map", tabindex: 0, role: "application", "aria-label": "Map of the images", "aria-describedby": "map-keys",
    "aria-keyshortcuts": "ArrowLeft ArrowRight ArrowUp ArrowDown + - 0 Enter x v",
  });
  paper = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
  overlay = new Overlay(this);
  resizing = new ResizeObserver(() => this.#resize());
  themed = new MutationObserver(this.repaint);

  connectedCallback() {
    this.append(this.canvas);
    listen(this, this.canvas);
    this.resizing.observe(this);
    this.scheme.addEventListener("change", this.repaint);
    this.themed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  disconnectedCallback() {
    this.resizing.disconnect();
    this.themed.disconnect();
    this.scheme.removeEventListener("change", this.repaint);
    // Browsers keep few contexts, and let go of them late.
    this.painter?.end();
    cancelAnimationFrame(this.asked);
    clearTimeout(this.resting);
    this.data = null;
  }

  asked = 0;
  /** @type {any} */
  resting = 0;

  /**
   * @param {string} gallery
   * @param {import("./load.js").MapData} data
   * @param {At|null} at
   */
  show(gallery, data, at) {
    this.gallery = gallery;
    this.data = data;
    this.painter = painterOf(data.points);
    this.painter.canvas.className = "points";
    this.querySelector(".points")?.remove();
    this.prepend(this.painter.canvas);
    this.camera.whole(data.points.bounds);
    this.camera.look(at ?? this.camera.all);
    this.#resize();
  }

  /** Whether only a sample is drawn, since there is no WebGL2. */
  get isSample() {
    return (this.data?.points.n ?? 0) > (this.painter?.most ?? 0);
  }

  /** @param {At|null} at */
  look(at) {
    this.camera.look(at ?? this.camera.all);
    this.moved();
  }

  /** What is drawn has changed, but not where. */
  changed() {
    this.picture = null;
    this.overlay.colours = null;
    this.moved();
  }

  /** The view has moved: draw it now roughly, and in full when it rests. */
  moved() {
    this.work = null;
    this.dataset.drawing = "";
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.#rest(), REST);
    this.draw();
  }

  /** Draw the next frame. */
  draw() {
    this.asked ||= requestAnimationFrame(() => {
      this.asked = 0;
      this.#frame();
    });
  }

  #resize() {
    const { width, height } = this.getBoundingClientRect();
    if (!width || !height) return;
    Object.assign(this.camera, { width, height });
    fit(this.canvas, this.camera, this.ratio);
    this.changed();
  }

  get ratio() {
    return Math.min(2, devicePixelRatio || 1);
  }

  /** The look of points at this scale. @returns {import("./painters.js").Look} */
  get appearance() {
    const style = getComputedStyle(this);
    const dark = style.colorScheme === "dark" || (style.colorScheme !== "light" && this.scheme.matches);
    const n = this.data?.points.n ?? 1;
    const side = Math.sqrt(this.camera.width * this.camera.height);
    const size = Math.min(11, Math.max(1.2, ((INK * side) / 1000 / Math.sqrt(n)) * this.camera.at.zoom ** 0.4));
    const grey = dark ? [0.42, 0.45, 0.5] : [0.68, 0.7, 0.73];
    const labels = this.data?.captions.length ?? 0;
    const plain = labels ? grey : dark ? [0.52, 0.7, 0.94] : [0.18, 0.38, 0.66];
    // Each hue is as far as can be from those before it.
    const hue = (/** @type {number} */ i) => hsl((0.58 + i * 0.618034) % 1, dark ? 0.5 : 0.52, dark ? 0.66 : 0.47);
    const colours = Array.from({ length: COLOURS }, (_, i) => (this.dimmed ? grey : i ? hue(i - 1) : plain));
    return { ratio: this.ratio, size, colours, opacity: this.dimmed ? 0.4 : n > 100_000 ? 0.6 : 0.8 };
  }

  /** Begin to draw all that is in view, a part of it in each frame. */
  #rest() {
    const { data, painter, camera } = this;
    if (!data || !painter) return;
    let left = painter.most;
    const runs = [];
    for (const [start, end] of data.points.runs(camera.frame)) {
      if (left <= 0) break; // the first ones are a fair sample
      runs.push([start, Math.min(end, start + left)]);
      left -= end - start;
    }
    painter.begin(camera, this.appearance);
    this.work = { runs, next: 0, size: 50_000, started: 0 };
    this.draw();
  }

  #frame() {
    const { data, painter, work, paper, camera, ratio } = this;
    if (!data || !painter) return;
    if (work && !this.#proceed(painter, work)) {
      this.draw(); // go on; what is shown is still right
      return;
    }
    // Few points are redrawn while one moves. Of many, the last picture is moved, with a sample where it ends.
    const few = this.#visible() <= AT_ONCE;
    const box = this.picture && (!few || work) ? this.#box(this.picture) : null;
    const covers = box && box[0] <= 0 && box[1] <= 0 && box[0] + box[2] >= camera.width && box[1] + box[3] >= camera.height;
    painter.show(camera, this.appearance, covers ? [] : data.points.runs(camera.frame, few ? 3 : 1), box);
    paper.setTransform(ratio, 0, 0, ratio, 0, 0);
    paper.clearRect(0, 0, camera.width, camera.height);
    this.overlay.draw(paper);
  }

  /**
   * Draw as much as takes a frame's time, once what was drawn before is there.
   *
   * @param {import("./painters.js").Painter} painter
   * @param {{runs: number[][], next: number, size: number, started: number}} work
   * @returns {boolean} whether the picture is complete
   */
  #proceed(painter, work) {
    if (painter.busy) return false;
    if (work.next < work.runs.length) {
      const took = performance.now() - work.started;
      if (work.started) work.size = Math.max(5000, Math.min(1_000_000, work.size * Math.min(2, TIME / took)));
      work.started = performance.now();
      let left = work.size;
      while (left >= 1 && work.next < work.runs.length) {
        const run = work.runs[work.next];
        const end = Math.min(run[1], run[0] + Math.floor(left));
        painter.draw(run[0], end);
        left -= end - run[0];
        run[0] = end;
        if (end === run[1]) work.next += 1;
      }
      painter.flush();
      return false;
    }
    painter.keep();
    this.picture = { at: { ...this.camera.at }, width: this.camera.width, height: this.camera.height };
    this.work = null;
    this.overlay.settle();
    delete this.dataset.drawing;
    this.dispatchEvent(new CustomEvent("settled"));
    return true;
  }

  #visible() {
    const { data, camera } = this;
    if (!data || data.points.n <= AT_ONCE) return 0;
    return data.points.runs(camera.frame).reduce((sum, [start, end]) => sum + end - start, 0);
  }

  /**
   * Where a picture of another view is in this one.
   *
   * @param {Picture} picture
   * @returns {import("./painters.js").Box}
   */
  #box({ at, width, height }) {
    const grown = this.camera.at.zoom / at.zoom;
    const [x, y] = this.camera.toScreen(at.x, at.y);
    return [x - (width * grown) / 2, y - (height * grown) / 2, width * grown, height * grown];
  }
}

/**
 * @param {number} hue  in 0..1, as the others
 * @param {number} saturation
 * @param {number} lightness
 */
function hsl(hue, saturation, lightness) {
  const reach = saturation * Math.min(lightness, 1 - lightness);
  return [0, 8, 4].map((n) => {
    const k = (n + hue * 12) % 12;
    return lightness - reach * Math.max(-1, Math.min(k - 3, 9 - k, 1));
  });
}

customElements.define("zs-map", MapCanvas);
