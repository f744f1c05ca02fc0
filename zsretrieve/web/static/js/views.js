/**
 * The views of the page. To add one, write a module in views/ that exports `mount`, and name it here; it gets a tab as
 * soon as there are two that fit the gallery.
 *
 * @typedef {Object} View
 * @property {(before: import("./types.js").State|null, place: import("./app.js").Place|null) => void} update
 *   called when the state changes, and once after mounting
 * @property {() => void} unmount
 * @property {(event: KeyboardEvent) => boolean} [key]  handles a key that nothing has taken; whether it did
 *
 * @typedef {Object} Entry
 * @property {string} name  as in the address
 * @property {string} title  on the tab
 * @property {(gallery: import("./types.js").Gallery, app: import("./app.js").App) => boolean} fits
 * @property {() => Promise<{mount: (root: HTMLElement, app: import("./app.js").App) => View}>} load
 */

/** @type {Entry[]} */
export const VIEWS = [
  { name: "search", title: "Search", fits: () => true, load: () => import("./views/search.js") },
  { name: "map", title: "Map", fits: () => true, load: () => import("./views/map.js") },
  { name: "classify", title: "Classify", fits: () => true, load: () => import("./views/classify.js") },
  { name: "evaluation", title: "Evaluation", fits: ({ n_images }) => n_images > 0, load: () => import("./views/evaluation.js") },
  { name: "duplicates", title: "Duplicates", fits: ({ n_images }) => n_images > 0, load: () => import("./views/duplicates.js") },
];
