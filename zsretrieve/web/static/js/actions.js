/** What one can do with any image, by mouse and by key. */

/** @typedef {import("./types.js").State} State */

/** Action, label, icon, key. @type {[string, string, "more"|"less"|"search", string][]} */
export const ACTIONS = [
  ["more", "More like this", "more", "m"],
  ["less", "Less like this", "less", "l"],
  ["use", "Search with this", "search", "s"],
];

/**
 * The state after an action: feedback is added, or taken back if it was given before.
 *
 * @param {State} state
 * @param {string} action
 * @param {number} id
 * @returns {Partial<State>}
 */
function after(state, action, id) {
  if (action !== "more" && action !== "less") return { q: `id:${id}`, t: [], more: [], less: [], id: null };
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
 * @param {Partial<State>} [further]  what else changes with a search
 */
export function act(app, action, id, further = {}) {
  const { selection, state } = app;
  if (action === "select") selection.mark([id], !selection.has(id));
  else app.go({ ...after(state, action, id), ...further });
}
