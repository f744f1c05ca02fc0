/** Links to other states of the page. */

import { h } from "../dom.js";

/**
 * What links to another state; with a key held, the browser opens the address as it does any other.
 *
 * @param {import("../app.js").App} app
 * @param {Partial<import("../types.js").State>} patch
 * @param {Record<string, any>} properties  `go` is called in place of `app.go`
 * @param {...(Node|string|number|null|undefined|false)} children
 */
export function stateLink(app, patch, { go = () => app.go(patch), ...properties }, ...children) {
  return h(
    "a",
    {
      href: app.link(patch),
      onclick: (/** @type {MouseEvent} */ event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        go();
      },
      ...properties,
    },
    ...children,
  );
}
