/** Choosing a part of an image: drag a rectangle over it, or use the keys. */

import { announce, h } from "../dom.js";
import { sheet } from "./sheet.js";

/** @typedef {import("../types.js").Box} Box */

const LEAST = 0.03; // of a side; less is a click
const STEP = 0.02;

export class Crop {
  /**
   * @param {HTMLElement} frame  exactly as large as the image, positioned
   * @param {(box: Box) => void} onchosen
   */
  constructor(frame, onchosen) {
    this.frame = frame;
    this.onchosen = onchosen;
    /** @type {Box|null} */
    this.box = null;
    this.rectangle = h("div", { class: "crop", hidden: true });
    this.button = h("button", { type: "button", class: "primary crop-button", hidden: true, onclick: () => this.choose() }, "Search with this part");
    frame.tabIndex = -1;
    frame.append(h("div", { class: "shade" }, this.rectangle), this.button);
    frame.addEventListener("pointerdown", (event) => this.#drag(event));
    // Else the browser would drag the image itself.
    frame.addEventListener("dragstart", (event) => event.preventDefault());
  }

  get active() {
    return this.box !== null;
  }

  /** Start with the middle of the image, for keys. */
  start() {
    this.#set([0.25, 0.25, 0.75, 0.75]);
    announce("A part is selected. Arrow keys move it, Shift and arrow keys resize it, Enter searches, Escape cancels.");
  }

  stop() {
    // Its button is gone, and keys go on to what is around it.
    if (document.activeElement === this.button) this.frame.focus({ preventScroll: true });
    this.#set(null);
  }

  choose() {
    const { box } = this;
    if (!box) return;
    this.stop();
    this.onchosen(box);
  }

  /**
   * @param {KeyboardEvent} event
   * @returns {boolean} whether the key was for the rectangle
   */
  key(event) {
    if (!this.box) return false;
    const arrows = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    const move = arrows[/** @type {keyof typeof arrows} */ (event.key)];
    if (move) this.#move(move[0], move[1], event.shiftKey);
    else if (event.key === "Enter" && event.target !== this.button) this.choose();
    else if (event.key === "Escape") this.stop();
    else return false;
    return true;
  }

  /**
   * @param {number} x
   * @param {number} y
   * @param {boolean} resize
   */
  #move(x, y, resize) {
    if (!this.box) return;
    const [x0, y0, x1, y1] = this.box;
    const within = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ high) => Math.min(high, Math.max(low, value));
    if (resize) this.#set([x0, y0, within(x1 + x, x0 + LEAST, 1), within(y1 + y, y0 + LEAST, 1)]);
    else {
      const [dx, dy] = [within(x, -x0, 1 - x1), within(y, -y0, 1 - y1)];
      this.#set([x0 + dx, y0 + dy, x1 + dx, y1 + dy]);
    }
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    // A finger scrolls; with touch, the button starts a rectangle and dragging moves its corner.
    if (event.button !== 0 || event.target === this.button || (event.pointerType === "touch" && !this.active)) return;
    event.preventDefault();
    const { left, top, width, height } = this.frame.getBoundingClientRect();
    const at = (/** @type {PointerEvent} */ { clientX, clientY }) => [
      Math.min(1, Math.max(0, (clientX - left) / width)),
      Math.min(1, Math.max(0, (clientY - top) / height)),
    ];
    const [x, y] = at(event);
    const move = (/** @type {PointerEvent} */ moved) => {
      const [u, v] = at(moved);
      this.#set([Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)]);
    };
    const end = () => {
      this.frame.removeEventListener("pointermove", move);
      this.frame.removeEventListener("pointerup", end);
      this.frame.removeEventListener("pointercancel", end);
      const box = this.box;
      if (box && (box[2] - box[0] < LEAST || box[3] - box[1] < LEAST)) this.stop();
      else this.button.focus({ preventScroll: true });
    };
    this.frame.setPointerCapture(event.pointerId);
    this.frame.addEventListener("pointermove", move);
    this.frame.addEventListener("pointerup", end);
    this.frame.addEventListener("pointercancel", end);
  }

  /** @param {Box|null} box */
  #set(box) {
    this.box = box;
    this.rectangle.hidden = this.button.hidden = !box;
    this.frame.classList.toggle("cropping", Boolean(box));
    if (!box) return;
    const [x0, y0, x1, y1] = box.map((side) => side * 100);
    Object.assign(this.rectangle.style, { left: `${x0}%`, top: `${y0}%`, width: `${x1 - x0}%`, height: `${y1 - y0}%` });
    // Below the rectangle, or in it where there is no room.
    Object.assign(this.button.style, { left: `${(x0 + x1) / 2}%`, top: `${Math.min(y1, 86)}%` });
  }
}

/**
 * A dialog to choose a part of an image that is not in the viewer.
 *
 * @param {string} source  address of the image
 * @param {(box: Box) => void} onchosen
 */
export function cropDialog(source, onchosen) {
  const image = h("img", { src: source, alt: "The image to choose a part of", draggable: "false" });
  const frame = h("div", { class: "frame" }, image);
  image.addEventListener("load", () => frame.style.setProperty("--ratio", String(image.naturalWidth / image.naturalHeight)));
  const dialog = sheet("Choose a part of the image", [
    h("p", { class: "soft" }, "Drag a rectangle, or use the arrow keys to move it and Shift with them to resize it."),
    frame,
  ]);
  const crop = new Crop(frame, (box) => {
    dialog.close();
    onchosen(box);
  });
  dialog.addEventListener("keydown", (event) => {
    const isClosing = event.key === "Escape" || /** @type {Element} */ (event.target).closest("header");
    if (!isClosing && crop.key(event)) event.preventDefault();
  });
  crop.start();
  crop.button.focus({ preventScroll: true });
}
