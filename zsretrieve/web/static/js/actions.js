/** What one can do with any image, by mouse and by key. */

/** @typedef {import("./types.js").State} State */

/** Action, label, icon, key. @type {[string, string, "more"|"less"|"search", string][]} */
export const ACTIONS = [
  ["more", "More like this", "more", "m"],
  ["less", "Less like this", "less", "l"],
  ["use", "Search with this", "search", "s"],
];

/** What a search with an image begins with in views whose images no query has found. @type {Partial<State>} */
export const ELSEWHERE = { view: "search", own: {}, q: "", t: [], more: [], less: [], where: "", min: null };

/**
 * The state after an action: feedback is added, or taken back if it was given before.
 *
 * @param {State} state
 * @param {string} action
 * @param {number} id
 * @param {import("./types.js").Box|null} box
 * @returns {Partial<State>}
 */
function after(state, action, id, box) {
  if (action !== "more" && action !== "less") {
    const term = box ? { q: "", t: [{ kind: /** @type {const} */ ("id"), value: String(id), weight: 1, box }] } : { q: `id:${id}`, t: [] };
    return { ...term, more: [], less: [], id: null };
  }
  const other = action === "more" ? "less" : "more";
  const given = state[action].filter((one) => one !== id);
  return {
    [action]: given.length < state[action].length ? given : [...given, id],
    [other]: state[other].filter((one) => one !== id),
    id: null,
  };
}

/**
 * Do it.
 *
 * @param {import("./app.js").App} app
 * @param {string} action  select, use, more or less
 * @param {number} id
 * @param {Partial<State>} [from]  what a search begins with, if not with the state as it is
 * @param {import("./types.js").Box|null} [box]  the part to use
 */
export function act(app, action, id, from = {}, box = null) {
  const { selection, state } = app;
  if (action === "select") selection.mark([id], !selection.has(id));
  else app.go({ ...from, ...after({ ...state, ...from }, action, id, box) });
}
