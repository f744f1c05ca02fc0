/** `<zs-viewer>`: one large image, what is known of it, and where to go from it. */

import { ACTIONS } from "../actions.js";
import { ask, galleryPath, image as imageAddress, thumbnail } from "../api.js";
import { announce, fill, h, icon, iconButton, isTyping, wordsOf } from "../dom.js";
import { count } from "../format.js";
import { showKeys } from "../keys.js";
import { Crop } from "./crop.js";
import { classes, facts, neighbours, terms } from "./panel.js";
import { region } from "./region.js";
import { title } from "./thumb.js";

/** @typedef {import("../types.js").Item} Item */

/**
 * Fires `shut`, `step` (detail: -1 or 1), `open` (detail: the ID of a neighbour), `act` (detail: {action, item, box}, with
 * the part to use) and `prototypes` (detail: a name).
 */
export class Viewer extends HTMLElement {
  /** @type {Item|null} */
  item = null;
  /** The prototypes whose classes are shown. @type {string|undefined} */
  shown = "";
  /** @type {Crop|undefined} */
  crop;
  cancel = new AbortController();
  heading = h("h2", { id: "viewer-title", tabindex: -1, autofocus: true });
  place = h("span", { class: "soft" });
  previous = iconButton("previous", "Previous image", () => this.#fire("step", -1));
  next = iconButton("next", "Next image", () => this.#fire("step", 1));
  stage = h("div", { class: "stage" });
  panel = h("aside", { class: "panel", "aria-label": "About this image", tabindex: 0 });
  dialog = h(
    "dialog",
    { class: "viewer", "aria-labelledby": "viewer-title" },
    h("header", {}, h("div", { class: "what" }, this.heading, this.place), this.previous, this.next, iconButton("close", "Close", () => this.#fire("shut"))),
    h("div", { class: "split" }, this.stage, this.panel),
  );

  constructor() {
    super();
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      if (this.crop?.active) this.crop.stop();
      else this.#fire("shut");
    });
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
  }

  connectedCallback() {
    this.append(this.dialog);
  }

  get isOpen() {
    return this.dialog.open;
  }

  /**
   * Show an image, with its place among the images that are shown if it is one of them.
   *
   * @param {import("../app.js").App} app
   * @param {number} id
   * @param {import("../results.js").Results|null} images
   */
  async show(app, id, images) {
    const { dialog, heading, stage, panel } = this;
    const position = images?.indexOf(id) ?? -1;
    const known = images?.hits[position] ?? null;
    if (!dialog.open) dialog.showModal();
    const total = images?.total ?? 0;
    this.place.textContent = position < 0 || !total ? "" : `${count(position + 1)} of ${count(total)}`;
    this.previous.disabled = position <= 0;
    this.next.disabled = !images || !known || (position === images.hits.length - 1 && images.complete);
    if (this.item?.id === id && this.shown === app.prototypes?.name) {
      this.#press(app);
      return;
    }
    const gallery = app.gallery?.name ?? "";
    this.shown = app.prototypes?.name;
    if (this.item?.id !== id) {
      this.item = known ?? /** @type {any} */ ({ id });
      panel.scrollTo(0, 0);
      if (known) {
        this.#draw(gallery, known);
        announce(`${title(known)}, ${known.name}`);
      } else fill(stage, h("p", { class: "soft" }, "Loading …"));
    }
    if (known) this.#describe(app, known, null);
    this.cancel.abort();
    this.cancel = new AbortController();
    const { signal } = this.cancel;
    const given = this.shown ? `?prototypes=${encodeURIComponent(this.shown)}` : "";
    try {
      const details = await ask(`${galleryPath(gallery)}/items/${id}${given}`, { signal });
      // The score, the region and the terms belong to the search, everything else to the image.
      const item = { ...details, score: known?.score, box: known?.box, terms: known?.terms };
      this.item = item;
      if (!known) this.#draw(gallery, item);
      this.#describe(app, item, details);
    } catch (error) {
      if (signal.aborted) return;
      const said = h("p", { class: "error", role: "alert" }, wordsOf(error));
      if (known) panel.append(said);
      else {
        fill(heading, `Image ${id}`);
        fill(stage, said);
        fill(panel);
      }
    }
  }

  close() {
    this.cancel.abort();
    this.crop?.stop();
    this.item = null;
    this.dialog.close();
    fill(this.stage);
    fill(this.panel);
  }

  /**
   * @param {string} gallery
   * @param {Item} item
   */
  #draw(gallery, item) {
    const { stage } = this;
    this.crop = undefined;
    this.heading.textContent = title(item);
    if (item.text) return fill(stage, h("p", { class: "said" }, item.text));
    if (item.missing) return fill(stage, gone("The file is missing", "It was moved or deleted after it was indexed. Sync the gallery to update it."));
    const full = h("img", { class: "full", src: imageAddress(gallery, item.id), alt: title(item), draggable: "false" });
    const frame = h("div", { class: "frame" }, full, region(item.box));
    const { width, height } = item;
    if (width && height) {
      frame.style.setProperty("--ratio", String(width / height));
      frame.style.setProperty("--width", `${Math.max(width, 480)}px`);
    }
    // The thumbnail is there at once, while the file is on its way.
    frame.style.backgroundImage = `url("${thumbnail(gallery, item.id, 512)}")`;
    full.addEventListener("load", () => (frame.style.backgroundImage = ""));
    // By then, another image may be shown.
    full.addEventListener("error", () => frame.isConnected && fill(stage, gone("This image cannot be shown", "The file is damaged, or was replaced by something else.")));
    this.crop = new Crop(frame, (box) => this.#fire("act", { action: "use", item, box }));
    return fill(stage, frame);
  }

  /**
   * @param {import("../app.js").App} app
   * @param {Item} item
   * @param {import("../types.js").Details|null} details  null while they are on their way
   */
  #describe(app, item, details) {
    const gallery = app.gallery?.name ?? "";
    const act = (/** @type {string} */ action) => this.#fire("act", { action, item });
    const focused = /** @type {HTMLElement|null} */ (document.activeElement);
    const hasPixels = !item.missing && !item.text;
    fill(
      this.panel,
      h(
        "div",
        { class: "doing" },
        ...ACTIONS.map(([action, label, sign, key]) =>
          h("button", { type: "button", onclick: () => act(action), "data-action": action, "aria-keyshortcuts": key }, icon(sign), label),
        ),
        hasPixels && h("button", { type: "button", onclick: () => this.crop?.start(), "aria-keyshortcuts": "c" }, icon("crop"), "Use a part …"),
        h("button", { type: "button", onclick: () => act("select"), "data-action": "select", "aria-keyshortcuts": "x" }, icon("check"), "Select"),
        hasPixels && h("a", { class: "button", href: imageAddress(gallery, item.id), target: "_blank", rel: "noopener", "aria-keyshortcuts": "o" }, icon("open"), "Original"),
      ),
      facts(item),
      terms(item),
      details && classes(details, app, (name) => this.#fire("prototypes", name)),
      details && neighbours(details, app, (id) => this.#fire("open", id)),
    );
    // What had the focus is replaced, and keys go where the focus is.
    if (focused !== document.activeElement) {
      const same = /** @type {HTMLElement|null} */ (this.panel.querySelector(`[data-action="${focused?.dataset.action}"]`));
      (same ?? this.heading).focus({ preventScroll: true });
    }
    this.#press(app);
  }

  /** Show which of the actions hold for the image. @param {import("../app.js").App} app */
  #press({ state, selection }) {
    const id = this.item?.id ?? -1;
    const on = { more: state.more.includes(id), less: state.less.includes(id), select: selection.has(id) };
    for (const [action, is] of Object.entries(on)) {
      this.panel.querySelector(`[data-action=${action}]`)?.setAttribute("aria-pressed", String(is));
    }
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    event.stopPropagation();
    if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.crop?.key(event)) {
      event.preventDefault();
      return;
    }
    if (event.key === "Escape" || !this.item) return;
    const action = ACTIONS.find(([, , , key]) => key === event.key)?.[0];
    const scrolls = event.target === this.panel && event.key.startsWith("Arrow");
    if (event.key === "ArrowLeft" && !this.previous.disabled && !scrolls) this.#fire("step", -1);
    else if (event.key === "ArrowRight" && !this.next.disabled && !scrolls) this.#fire("step", 1);
    else if (event.key === "c") this.crop?.start();
    else if (event.key === "o") /** @type {HTMLElement|null|undefined} */ (this.panel.querySelector("a.button"))?.click();
    else if (action || event.key === "x") this.#fire("act", { action: action ?? "select", item: this.item });
    else if (event.key === "?") showKeys();
    else return;
    event.preventDefault();
  }

  /**
   * @param {string} name
   * @param {any} [detail]
   */
  #fire(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/**
 * @param {string} message
 * @param {string} hint
 */
const gone = (message, hint) => h("div", { class: "notice" }, h("p", { class: "title" }, message), h("p", {}, hint));

customElements.define("zs-viewer", Viewer);
