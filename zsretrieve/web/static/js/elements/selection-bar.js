/** `<zs-selection>`: what one can do with the selected images. */

import { fill, h, iconButton, wordsOf } from "../dom.js";
import { counted } from "../format.js";
import { ACTIONS } from "../selection-actions.js";

export class SelectionBar extends HTMLElement {
  count = h("strong");
  said = h("span", { class: "soft", role: "status" });

  /** @param {import("../app.js").App} app */
  show(app) {
    const { selection } = app;
    this.hidden = selection.size === 0;
    if (this.hidden) fill(this);
    // What has the focus stays.
    else if (!this.firstChild) fill(this, this.#built(app));
    fill(this.count, `${counted(selection.size, "image")} selected`);
    fill(this.said, selection.said);
  }

  /** @param {import("../app.js").App} app */
  #built(app) {
    const { selection } = app;
    const say = (/** @type {string} */ text) => fill(this.said, (selection.said = text));
    const refusal = app.gallery?.writable ? "" : "This server is read-only. Its operator allows changes with --write.";
    const shown = ACTIONS.filter(({ images }) => !images || !app.gallery?.holds_texts);
    const buttons = shown.map(({ title, writes, run }) => {
      const refused = writes && refusal;
      const act = async () => {
        try {
          say(refused || ((await run(selection.ids, app)) ?? ""));
        } catch (error) {
          say(wordsOf(error));
        }
      };
      // A button that is refused keeps the focus and says why.
      return h("button", { type: "button", "aria-disabled": refused ? "true" : null, title: refused || null, onclick: act }, title);
    });
    return h(
      "div",
      { class: "selection", role: "region", "aria-label": "Selection" },
      this.count,
      h("div", { class: "doable" }, ...buttons),
      iconButton("close", "Clear the selection", () => selection.clear()),
      this.said,
    );
  }
}

customElements.define("zs-selection", SelectionBar);
