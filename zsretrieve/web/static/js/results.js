/** Lists of images that are loaded page by page: rankings, and whatever else the API lists. */

import { ask, galleryPath } from "./api.js";
import { wordsOf } from "./dom.js";
import { body } from "./state.js";

/** @typedef {import("./types.js").Item} Item */
/** @typedef {import("./types.js").Answer} Answer */

export const PAGE = 60;
const MOST = 1000; // the API's limit for k
const KEPT = 8;

/** @type {Map<string, Results>} */
const kept = new Map();

/**
 * The ranking that a state asks for, from memory if it was shown before.
 *
 * @param {string} gallery
 * @param {import("./types.js").State} state
 * @param {number} loaded  images to load first, if there are so many
 */
export function resultsOf(gallery, state, loaded) {
  const asked = body(state);
  const first = Math.min(MOST, Math.max(PAGE, loaded));
  return keep(keyOf(gallery, state), gallery, (answer, signal) => {
    const page = answer ? { k: PAGE, offset: answer.next, revision: answer.revision } : { k: first };
    return ask(`${galleryPath(gallery)}/search`, { body: { ...asked, ...page }, signal });
  });
}

/**
 * What another list of the API has, from memory if it was shown before.
 *
 * @param {string} gallery
 * @param {string} path  below that of the gallery
 * @param {Record<string, string|number>} parameters
 * @param {{page?: number, loaded?: number, most?: number, read?: (page: any) => any}} [options]  `read` makes an answer with
 *   hits of a page that has something else
 */
export function listOf(gallery, path, parameters, { page = PAGE, loaded = 0, most = MOST, read = (one) => one } = {}) {
  const first = Math.min(most, Math.max(page, loaded));
  return keep(JSON.stringify([gallery, path, parameters]), gallery, async (answer, signal) => {
    const place = answer ? { offset: answer.next, k: page, revision: answer.revision } : { k: first };
    const given = new URLSearchParams(/** @type {any} */ ({ ...parameters, ...place }));
    return read(await ask(`${galleryPath(gallery)}/${path}?${given}`, { signal }));
  });
}

/**
 * Images that are here already, a page at a time all the same.
 *
 * @param {string} gallery
 * @param {Item[]} items
 */
export const itemsOf = (gallery, items) => pagesOf(gallery, items.length, PAGE, async (start, end) => items.slice(start, end));

/**
 * Images by their IDs.
 *
 * @param {string} gallery
 * @param {number[]} ids
 * @param {{total?: number, rest?: (signal: AbortSignal) => Promise<number[]>, loaded?: number}} [options]  how many there
 *   are, and all their IDs, where `ids` are only the first; and how many images to load first
 */
export function namedOf(gallery, ids, { total = ids.length, rest, loaded = 0 } = {}) {
  const first = Math.min(MOST, Math.max(PAGE, loaded));
  return pagesOf(gallery, total, first, async (start, end, signal) => {
    if (rest && Math.min(end, total) > ids.length) {
      ids = await rest(signal);
      rest = undefined;
    }
    const { hits } = await ask(`${galleryPath(gallery)}/items`, { body: { ids: ids.slice(start, end) }, signal });
    return hits;
  });
}

/**
 * A list whose length is known.
 *
 * @param {string} gallery
 * @param {number} total
 * @param {number} first  images in the first page
 * @param {(start: number, end: number, signal: AbortSignal) => Promise<Item[]>} read  a part of it
 */
function pagesOf(gallery, total, first, read) {
  return new Results("", gallery, async (answer, signal) => {
    const start = answer?.next ?? 0;
    const end = start + (answer ? PAGE : first);
    return /** @type {any} */ ({ hits: await read(start, end, signal), total, next: end < total ? end : null });
  });
}

/**
 * The images of a whole ranking.
 *
 * @param {string} gallery
 * @param {import("./types.js").State} state
 * @param {number} most
 * @returns {Promise<number[]>} their IDs
 */
export async function allIds(gallery, state, most) {
  const { explain: _, ...asked } = body(state);
  const ids = [];
  /** @type {{next: number|null, revision?: string|number}} */
  let answer = { next: 0 };
  while (answer.next !== null && ids.length < most) {
    /** @type {Answer} */
    const page = await ask(`${galleryPath(gallery)}/search`, { body: { ...asked, k: MOST, offset: answer.next, revision: answer.revision } });
    ids.push(...page.hits.map(({ id }) => id));
    answer = page;
  }
  return ids.slice(0, most);
}

/**
 * @param {string} key
 * @param {string} gallery
 * @param {Results["fetch"]} fetch
 */
function keep(key, gallery, fetch) {
  let results = kept.get(key);
  kept.delete(key);
  if (!results || results.failed) results = new Results(key, gallery, fetch);
  kept.set(key, results);
  for (const old of kept.keys()) if (kept.size > KEPT) kept.delete(old);
  return results;
}

/**
 * @param {string} gallery
 * @param {import("./types.js").State} state
 */
export const keyOf = (gallery, state) => JSON.stringify([gallery, body(state)]);

/** Forget a list, so that it is asked for again. @param {Results} results */
export const forget = (results) => kept.delete(results.key);

/** Forget all of them, after a change of the gallery. */
export const forgetAll = () => kept.clear();

/**
 * What a search failed for: its query, its filter, or neither; and the words for it.
 *
 * @param {import("./api.js").ApiError} error
 * @param {string} gallery
 * @param {string} where  the filter
 * @returns {Promise<{cause: "query"|"filter"|"server", message: string}>}
 */
export async function causeOf(error, gallery, where) {
  const message = wordsOf(error);
  if (![400, 404, 415, 422].includes(error.status)) return { cause: "server", message };
  if (error.status !== 400 || !where) return { cause: "query", message };
  // The filter is to blame if it fails alone.
  const alone = ask(`${galleryPath(gallery)}/search`, { body: { where, k: 1 } });
  return alone.then(
    () => ({ cause: "query", message }),
    () => ({ cause: "filter", message }),
  );
}

export class Results {
  /**
   * @param {string} key
   * @param {string} gallery
   * @param {(answer: Answer|null, signal: AbortSignal) => Promise<Answer>} fetch  the page after those of an answer
   */
  constructor(key, gallery, fetch) {
    this.key = key;
    this.gallery = gallery;
    this.fetch = fetch;
    /** @type {Item[]} */
    this.hits = [];
    /** @type {Answer|null} */
    this.answer = null;
    this.failed = false;
    /** @type {Promise<void>|null} */
    this.loading = null;
    this.cancel = new AbortController();
  }

  /** Whether all images are loaded. */
  get complete() {
    return this.answer !== null && this.answer.next === null;
  }

  /** How many images there are, loaded or not. */
  get total() {
    return this.answer?.total ?? 0;
  }

  /** @param {number} id */
  indexOf(id) {
    return this.hits.findIndex((hit) => hit.id === id);
  }

  /**
   * Load the next page; does nothing if all are loaded, and waits for a page that is on its way.
   *
   * @returns {Promise<void>}
   */
  load() {
    if (this.complete) return Promise.resolve();
    this.loading ??= this.#load().finally(() => {
      this.loading = null;
    });
    return this.loading;
  }

  async #load() {
    const { answer } = this;
    try {
      const next = await this.fetch(answer, this.cancel.signal);
      // What describes the whole ranking comes with the first page; later ones only continue it.
      this.answer = answer ? { ...answer, next: next.next } : next;
      this.hits.push(...next.hits);
    } catch (error) {
      this.failed = answer === null;
      throw error;
    }
  }

  /** Stop loading what nobody waits for any more. */
  stop() {
    if (!this.loading) return;
    this.cancel.abort();
    this.cancel = new AbortController();
    if (!this.answer) this.failed = true;
  }
}
