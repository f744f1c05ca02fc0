/** What the page shows first, asked for while most of its modules are still on their way. */

import { ask } from "./api.js";
import { resultsOf } from "./results.js";
import { read } from "./state.js";

/** @type {Promise<import("./types.js").Catalogue>|null} */
let asked = ask("galleries");

/** Which galleries and prototypes there are: the first time from the request that is under way. */
export function catalogue() {
  const answer = asked ?? ask("galleries");
  asked = null;
  return answer;
}

/**
 * The gallery that a state shows: the one that it names, else the first.
 *
 * @param {import("./types.js").Gallery[]} galleries
 * @param {import("./types.js").State} state
 */
export const galleryOf = (galleries, { g }) => (g ? galleries.find(({ name }) => name === g) : galleries[0]);

asked.then(({ galleries }) => {
  const state = read(location.search);
  const gallery = galleryOf(galleries, state);
  // The view finds it among the results that are kept.
  if (gallery && state.view === "search") return resultsOf(gallery.name, state, history.state?.loaded ?? 0).load();
  return undefined;
}).catch(() => {}); // whoever needs it asks again, and says what is wrong
