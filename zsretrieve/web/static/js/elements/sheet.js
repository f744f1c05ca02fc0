/** A dialog that asks for something. */

import { fill, h, iconButton, wordsOf } from "../dom.js";

/**
 * Open a dialog. It closes once what its form was sent for is done; what goes wrong is said in it.
 *
 * @param {string} title
 * @param {Node[]} content
 * @param {{submit: string, run: (data: FormData, by: string) => Promise<void>, others?: [string, string][]}} [form]
 *   the button that sends the content as a form; further ones with their values, which `run` gets
 * @returns {HTMLDialogElement}
 */
export function sheet(title, content, form) {
  const said = h("p", { class: "error", role: "alert" });
  const dialog = h(
    "dialog",
    { class: "sheet", "aria-label": title },
    h("header", {}, h("h2", {}, title), iconButton("close", "Close", () => dialog.close())),
  );
  if (form) {
    const buttons = [
      h("button", { class: "primary", value: "" }, form.submit),
      ...(form.others ?? []).map(([value, label]) => h("button", { value, formnovalidate: true }, label)),
    ];
    const element = h("form", { class: "asking" }, ...content, said, h("p", { class: "actions" }, ...buttons));
    element.addEventListener("submit", async (event) => {
      event.preventDefault();
      const by = /** @type {HTMLButtonElement|null} */ (event.submitter)?.value ?? "";
      fill(said);
      for (const button of buttons) button.disabled = true;
      try {
        await form.run(new FormData(element), by);
        dialog.close();
      } catch (error) {
        fill(said, wordsOf(error));
      } finally {
        for (const button of buttons) button.disabled = false;
      }
    });
    dialog.append(element);
  } else dialog.append(...content);
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  /** @type {HTMLElement|null} */ (dialog.querySelector("[autofocus], input, button.primary"))?.focus();
  return dialog;
}

/**
 * A labelled field.
 *
 * @param {string} label
 * @param {HTMLElement} input
 */
export const field = (label, input) => h("label", { class: "asked" }, h("span", {}, label), input);
