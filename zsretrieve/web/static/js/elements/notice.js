/** What the page says in place of images: errors, an empty gallery, nothing found. */

import { announce, h, wordsOf } from "../dom.js";
import { counted } from "../format.js";

/**
 * A message, with a way on. An error that passes by itself (an overloaded or stopped server) is tried again.
 *
 * @param {{title?: string, text?: string, error?: any, again?: () => void, actions?: HTMLElement[]}} content
 * @returns {HTMLElement}
 */
export function notice({ title, text, error, again, actions = [] }) {
  const message = title ?? error?.message ?? "Something went wrong.";
  const hint = text ?? error?.hint ?? "";
  const countdown = h("p", { class: "soft" });
  const element = h(
    "div",
    { class: error ? "notice bad" : "notice" },
    h("p", { class: "title" }, message),
    hint && h("p", {}, hint),
    countdown,
  );
  const buttons = h("p", { class: "actions" }, ...actions);
  element.append(buttons);
  announce(wordsOf({ message, hint }));
  if (!again) return element;
  buttons.prepend(h("button", { type: "button", onclick: () => retry() }, "Try again"));
  let left = Math.ceil(error?.wait ?? 0);
  let timer = 0;
  const retry = () => {
    clearInterval(timer);
    again();
  };
  if (left > 0) {
    const tick = () => {
      countdown.textContent = `Trying again in ${counted(left, "second")}.`;
      if (timer && !element.isConnected) clearInterval(timer);
      else if (left <= 0) retry();
      left -= 1;
    };
    tick();
    timer = setInterval(tick, 1000);
  }
  return element;
}
