/** One image of the grid. */

import { ACTIONS } from "../actions.js";
import { h, icon } from "../dom.js";
import { score } from "../format.js";
import { place, region } from "./region.js";
import { ratio, thumb, title } from "./thumb.js";

const ROW = 190; // pixels; --row in grid.css
const IN_SIGHT = 20; // images that are loaded at once

/** A name that breaks at its signs, rather than within its suffix. @param {string} name */
const breakable = (name) => name.split(/(?<=[_-])|(?=\.)/).flatMap((part, i) => (i ? [h("wbr"), part] : [part]));

/**
 * @param {string} gallery
 * @param {import("../types.js").Item} item
 * @param {{href: string, index: number, name?: string, more?: string, badge?: string|false}} place  the link to the image,
 *   its place in the grid, and what its caption says instead of its title, after it and before it
 * @returns {HTMLLIElement}
 */
export function cellOf(gallery, item, { href, index, name = title(item), more = "", badge = "" }) {
  const shape = ratio(item);
  const shown = score(item.score);
  const spoken = [name, item.name !== name && item.name, item.missing && "file missing", badge, more, shown && `score ${shown}`, item.box && `found ${place(item.box)}`];
  const cell = h("li", { class: ["cell", item.missing && "gone", item.text && "text"].filter(Boolean).join(" ") });
  cell.style.setProperty("--ratio", shape.toFixed(4));
  const options = { lazy: index > IN_SIGHT, onbroken: () => cell.classList.add("broken") };
  cell.append(
    h(
      "a",
      { href, class: "picture", tabindex: index ? -1 : 0, "aria-label": spoken.filter(Boolean).join(", "), draggable: "true" },
      item.text && h("span", { class: "said", "aria-hidden": "true" }, item.text),
      !item.missing && !item.text && thumb(gallery, item, `${Math.ceil(shape * ROW * 1.1)}px`, options),
      !item.missing && region(item.box, (item.width || 1) / (item.height || 1), shape),
      h("span", { class: "why", "aria-hidden": "true" }, item.missing ? "File missing" : "Cannot be read", h("small", {}, item.name)),
      h("span", { class: "caption", "aria-hidden": "true" }, badge && h("span", { class: "badge" }, badge), h("span", { class: "name" }, ...breakable(name)), more && h("span", { class: "more" }, more), shown && h("span", { class: "score" }, shown)),
    ),
    h("button", { type: "button", class: "check", tabindex: -1, "aria-pressed": "false", "aria-label": `Select ${item.name}` }, icon("check")),
    h(
      "span",
      // Screen readers have the same in the large image, and keys here.
      { class: "acts", "aria-hidden": "true" },
      ...ACTIONS.map(([action, label, sign]) => h("button", { type: "button", tabindex: -1, "data-action": action, title: label }, icon(sign))),
    ),
  );
  return cell;
}
