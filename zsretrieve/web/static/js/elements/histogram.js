/** Classes as bars, the most frequent first. */

import { announce, fill, h } from "../dom.js";
import { count, counted, percents } from "../format.js";

const BARS = 100; // shown at first
const NAMED = 60; // classes without images that are named

/** @typedef {{class_name: string, n: number, share: number, ids: number[]}} Bar */
/** @typedef {{classes: Bar[], n: number, notes: string[]}} Classes  the most frequent first, how many images there are, and what is wrong with the classes */

export class Histogram {
  /** @param {(name: string) => void} onchoose  called with the class of a bar */
  constructor(onchoose) {
    this.onchoose = onchoose;
    /** @type {HTMLButtonElement[]} */
    this.buttons = [];
    this.heading = h("h2", { id: "histogram" });
    this.list = h("ul", { class: "histogram", "aria-labelledby": "histogram", onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event) });
    this.more = h("button", { type: "button", hidden: true });
    this.rest = h("p", { class: "soft small" });
    this.notes = h("div", { class: "place" });
    this.elements = [this.notes, this.heading, this.list, this.more, this.rest];
  }

  clear() {
    fill(this.list);
    fill(this.notes);
    this.rest.textContent = this.heading.textContent = "";
    this.more.hidden = true;
  }

  /** @param {Classes} classes  of one image at least */
  show({ classes, n, notes }) {
    fill(this.notes, ...notes.map((note) => h("p", { class: "nothing", role: "note" }, `${note[0].toUpperCase()}${note.slice(1)}.`)));
    const some = classes.filter((one) => one.n > 0);
    const none = classes.filter((one) => !one.n).map(({ class_name }) => class_name);
    this.heading.textContent = `${counted(n, "image")} in ${counted(some.length, "class", "classes")}`;
    const shares = percents(some.map((one) => one.n));
    const bars = some.map((one, i) => this.#bar(one, some[0].n, shares[i]));
    fill(this.list, ...bars.slice(0, BARS));
    this.more.hidden = bars.length <= BARS;
    this.more.textContent = `Show ${counted(bars.length - BARS, "more class", "more classes")}`;
    this.more.onclick = () => {
      this.list.append(...bars.slice(BARS));
      this.more.hidden = true;
      bars[BARS].querySelector("button")?.focus();
    };
    const named = none.slice(0, NAMED).join(", ");
    const further = none.length > NAMED ? ` and ${count(none.length - NAMED)} more` : "";
    this.rest.textContent = none.length ? `Without images: ${named}${further}.` : "";
    announce(`${[...notes, this.heading.textContent].join(". ")}. Most: ${some[0].class_name}, ${count(some[0].n)}.`);
    this.buttons = bars.map((bar) => /** @type {HTMLButtonElement} */ (bar.firstChild));
  }

  /** Mark the bar of a class. @param {string} name */
  mark(name) {
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.class === name));
  }

  focus() {
    this.list.querySelector("button")?.focus();
  }

  /**
   * @param {Bar} bar
   * @param {number} most  images of the largest class
   * @param {string} share
   */
  #bar({ class_name: name, n }, most, share) {
    const filled = h("span", { class: "fill" });
    filled.style.width = `${(n / most) * 100}%`;
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", "data-class": name, "aria-pressed": "false", onclick: () => this.onchoose(name) },
        h("span", { class: "name" }, name),
        h("span", { class: "track", "aria-hidden": "true" }, filled),
        h("span", { class: "number" }, count(n), h("span", { class: "hidden-text" }, n === 1 ? " image, " : " images, ")),
        h("span", { class: "number share" }, share),
      ),
    );
  }

  /** Up and down move between the bars. @param {KeyboardEvent} event */
  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const buttons = [...this.list.querySelectorAll("button")];
    const next = buttons[buttons.indexOf(/** @type {any} */ (event.target)) + (step ?? 0)];
    if (!step || !next) return;
    next.focus();
    event.preventDefault();
  }
}
