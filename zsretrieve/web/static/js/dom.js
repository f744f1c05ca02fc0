/** Making elements. Text is always set as text, never as markup. */

/**
 * Make an element. Properties that start with `on` are listeners, `class` and attributes are set as they are; `true`
 * is an empty attribute, and `false`, null and undefined leave an attribute out.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node|string|number|null|undefined|false)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  fill(element, ...children);
  return element;
}

/**
 * Replace the children of an element.
 *
 * @param {Element} element
 * @param {...(Node|string|number|null|undefined|false)} children
 */
export function fill(element, ...children) {
  element.replaceChildren(
    ...children
      .filter((child) => child !== null && child !== undefined && child !== false)
      .map((child) => (child instanceof Node ? child : String(child))),
  );
}

/**
 * As `fill`, where a select that has the focus is replaced by its like.
 *
 * @param {Element} element
 * @param {...(Node|string|number|null|undefined|false)} children
 */
export function refill(element, ...children) {
  const selects = () => [...element.querySelectorAll("select")];
  const index = selects().indexOf(/** @type {any} */ (document.activeElement));
  fill(element, ...children);
  selects()[index]?.focus();
}

const PATHS = {
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5 20 20",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M9 9h.01",
  filter: "M4 6h16M7 12h10M10 18h4",
  close: "M6 6l12 12M18 6 6 18",
  more: "M12 5v14M5 12h14",
  less: "M5 12h14",
  previous: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  crop: "M7 3v14h14M3 7h14v14",
  open: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  theme: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  keys: "M9 9a3 3 0 1 1 4 2.8c-.7.3-1 .8-1 1.7M12 17h.01",
  check: "M5 12.5l4.5 4.5L19 7.5",
  whole: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  lasso: "M12 4c5 0 8 2.2 8 5s-3.6 5-8 5-8-2.2-8-5 3-5 8-5zM7.5 13.5c-2 1-2 3.5 0 4s2 2 .5 2.5",
};

/**
 * A line icon of 24 units, hidden from screen readers.
 *
 * @param {keyof typeof PATHS} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/**
 * A button with an icon and a name; the name is its tooltip if it is not shown.
 *
 * @param {keyof typeof PATHS} name
 * @param {string} label
 * @param {(event: Event) => void} onclick
 * @param {Record<string, any>} [properties]
 */
export function iconButton(name, label, onclick, properties = {}) {
  return h("button", { type: "button", class: "quiet", title: label, "aria-label": label, onclick, ...properties }, icon(name));
}

/**
 * Say something to screen readers.
 *
 * @param {string} text
 */
export function announce(text) {
  const place = document.getElementById("announcer");
  if (place) place.textContent = text;
}

let waiting = 0;

/**
 * Show that something is on its way, until it is there or fails.
 *
 * @template T
 * @param {Promise<T>} promise
 * @returns {Promise<T>}
 */
export async function busy(promise) {
  const root = document.documentElement;
  waiting += 1;
  root.dataset.busy = "";
  try {
    return await promise;
  } finally {
    waiting -= 1;
    if (!waiting) delete root.dataset.busy;
  }
}

/**
 * Call a function with the detail of each event of a name.
 *
 * @param {EventTarget} target
 * @param {string} name
 * @param {(detail: any) => void} run
 */
export const on = (target, name, run) => target.addEventListener(name, (event) => run(/** @type {CustomEvent} */ (event).detail));

/**
 * What went wrong, in words.
 *
 * @param {any} error
 */
export const wordsOf = ({ message, hint }) => [message, hint].filter(Boolean).join(". ").replace(/([.?!…])\. /g, "$1 ");

/**
 * Whether keys belong to what has the focus: to what one types in, or to a control that uses them itself.
 *
 * @param {KeyboardEvent} event
 */
export function isTyping(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  return target.isContentEditable || target.matches("input:not([type=checkbox]):not([type=file]), textarea, select");
}
