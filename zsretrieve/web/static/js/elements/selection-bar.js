/** `<zs-selection>`: what one can do with the selected images. */

import { announce, fill, h, iconButton } from "../dom.js";
import { counted } from "../format.js";
import { ACTIONS } from "../selection-actions.js";

export class SelectionBar extends HTMLElement {
  /** @param {import("../app.js").App} app */
  show(app) {
    const { selection } = app;
    this.hidden = selection.size === 0;
    if (this.hidden) return fill(this);
    const said = h("span", { class: "soft", role: "status" }, selection.said);
    const say = (/** @type {string} */ text) => fill(said, (selection.said = text));
    const refusal = app.gallery?.writable ? "" : "This server is read-only. Its operator allows changes with --write.";
    return fill(
      this,
      h(
        "div",
        { class: "selection", role: "region", "aria-label": "Selection" },
        h("strong", {}, `${counted(selection.size, "image")} selected`),
        h(
          "div",
          { class: "doable" },
          ...ACTIONS.map(({ title, writes, run }) => {
            const refused = writes && refusal;
            const act = async () => {
              try {
                say(refused || ((await run(selection.ids, app)) ?? ""));
              } catch (error) {
                const { message, hint } = /** @type {any} */ (error);
                say([message, hint].filter(Boolean).join(". "));
              }
            };
            // A button that is refused keeps the focus and says why.
            return h("button", { type: "button", "aria-disabled": refused ? "true" : null, title: refused || null, onclick: act }, title);
          }),
        ),
        iconButton("close", "Clear the selection", () => {
          selection.clear();
          announce("The selection is empty.");
        }),
        said,
      ),
    );
  }
}

customElements.define("zs-selection", SelectionBar);
