/** `<zs-terms>`: the terms of the query as chips that one can remove, weigh and subtract. */

import { thumbnail, uploadThumbnail } from "../api.js";
import { fill, h, icon } from "../dom.js";
import { weight as shownWeight } from "../format.js";
import { changed, chips, nextWeight, without } from "../terms.js";

/** @typedef {import("../terms.js").Chip} Chip */

/** Fires `change` (detail: a patch of the state) and `part` (detail: the chip whose image is to be cut). */
export class Terms extends HTMLElement {
  /** What an ID names. @type {"image"|"text"} */
  noun = "image";

  /**
   * @param {import("../types.js").State} state
   * @param {string} gallery
   * @param {boolean} [ofTexts]
   */
  show(state, gallery, ofTexts = false) {
    this.noun = ofTexts ? "text" : "image";
    const all = chips(state);
    const before = [...this.querySelectorAll(".chip")];
    const focused = before.findIndex((chip) => chip.contains(document.activeElement));
    const open = before.findIndex((chip) => chip.querySelector(":popover-open"));
    const control = document.activeElement?.getAttribute("aria-label");
    // One text is in the box, and that is enough.
    this.hidden = !all.length || (all.length === 1 && all[0].kind === "text");
    fill(this, h("ul", { class: "chips", "aria-label": "Terms of the query" }, ...(this.hidden ? [] : all.map((chip) => this.#chip(chip, state, gallery, all.length)))));
    const menu = /** @type {HTMLElement|null|undefined} */ (this.querySelectorAll(".chip")[open]?.querySelector(".menu"));
    if (menu) {
      // One steps through weights with the menu open.
      menu.showPopover();
      /** @type {HTMLElement|null} */ (menu.querySelector(`[aria-label="${control}"]`))?.focus();
    } else if (focused >= 0) {
      const left = this.querySelectorAll(".chip .body");
      /** @type {HTMLElement|undefined} */ (left[Math.min(focused, left.length - 1)])?.focus();
    }
  }

  /**
   * @param {Chip} chip
   * @param {import("../types.js").State} state
   * @param {string} gallery
   * @param {number} n  terms
   */
  #chip(chip, state, gallery, n) {
    const change = (/** @type {Partial<import("../types.js").State>} */ patch) => this.dispatchEvent(new CustomEvent("change", { detail: patch }));
    const remove = () => change(without(state, chip));
    const weigh = (/** @type {number} */ weight) => change(changed(state, chip, { weight }));
    const isFeedback = chip.kind === "more" || chip.kind === "less";
    const minus = chip.weight < 0;
    const heavy = Math.abs(chip.weight) !== 1;
    const name = describe(chip, this.noun);
    const picture =
      this.#hasPixels(chip) &&
      h("img", { class: "chip-image", alt: "", onerror: (/** @type {Event} */ event) => /** @type {HTMLElement} */ (event.target).remove(), width: 28, height: 28, src: chip.kind === "upload" ? uploadThumbnail(chip.value, 128) : thumbnail(gallery, chip.value, 128) });
    const sign = isFeedback ? (minus ? "less like" : "more like") : minus ? "−" : n > 1 ? "+" : "";
    const text = chip.kind === "text" ? chip.value : chip.box ? "part" : chip.kind === "upload" ? "your image" : `${this.noun} ${chip.value}`;
    const inside = [sign && h("span", { class: "sign" }, sign), picture, h("span", { class: "text" }, text), heavy && h("span", { class: "weight" }, `×${shownWeight(chip.weight)}`)];
    const element = h("li", { class: minus ? "chip minus" : "chip" });
    const body = h("button", { type: "button", class: "body", "aria-label": name, "aria-haspopup": isFeedback ? null : "dialog" }, ...inside);
    element.append(body, h("button", { type: "button", class: "remove", "aria-label": `Remove ${name}`, title: "Remove", onclick: remove }, icon("close")));
    body.addEventListener("keydown", (event) => {
      if (event.key === "Delete" || event.key === "Backspace") remove();
      else if (isFeedback) return;
      else if (event.key === "+" || event.key === "=") weigh(nextWeight(chip.weight, 1));
      else if (event.key === "-") weigh(nextWeight(chip.weight, -1));
      else if (event.key === "n") weigh(-chip.weight);
      else return;
      event.preventDefault();
    });
    if (!isFeedback) this.#menu(element, body, chip, name, weigh);
    return element;
  }

  /** @param {Chip} chip */
  #hasPixels(chip) {
    return chip.kind === "upload" || (chip.kind !== "text" && this.noun === "image");
  }

  /**
   * @param {HTMLElement} element
   * @param {HTMLButtonElement} body
   * @param {Chip} chip
   * @param {string} name
   * @param {(weight: number) => void} weigh
   */
  #menu(element, body, chip, name, weigh) {
    const menu = h(
      "div",
      { popover: "auto", class: "menu", role: "dialog", "aria-label": name },
      h(
        "p",
        { class: "stepper" },
        h("span", {}, "Weight"),
        h("button", { type: "button", autofocus: true, "aria-label": "Less weight", onclick: () => weigh(nextWeight(chip.weight, -1)) }, icon("less")),
        h("output", {}, shownWeight(chip.weight)),
        h("button", { type: "button", "aria-label": "More weight", onclick: () => weigh(nextWeight(chip.weight, 1)) }, icon("more")),
      ),
      h("button", { type: "button", onclick: () => weigh(-chip.weight) }, chip.weight < 0 ? "Add instead" : "Subtract instead"),
      this.#hasPixels(chip) && h("button", { type: "button", onclick: () => this.dispatchEvent(new CustomEvent("part", { detail: chip })) }, "Use a part of it …"),
    );
    body.popoverTargetElement = menu;
    menu.addEventListener("beforetoggle", () => {
      const { left, bottom } = body.getBoundingClientRect();
      menu.style.left = `${Math.max(8, Math.min(left, innerWidth - 216))}px`;
      menu.style.top = `${bottom + 6}px`;
    });
    element.append(menu);
  }
}

/**
 * @param {Chip} chip
 * @param {string} noun
 */
function describe({ kind, value, weight, box }, noun) {
  if (kind === "more") return `More like ${noun} ${value}`;
  if (kind === "less") return `Less like ${noun} ${value}`;
  const what = kind === "text" ? `“${value}”` : `${box ? "part of " : ""}${kind === "upload" ? "your image" : `${noun} ${value}`}`;
  return `${weight < 0 ? "without " : ""}${what}${Math.abs(weight) === 1 ? "" : `, weight ${shownWeight(weight)}`}`;
}

customElements.define("zs-terms", Terms);
