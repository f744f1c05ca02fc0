/** Every state is a link: what the address holds, read and written. */

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Term} Term */

// Longer selections are left out of the address, which servers and mail programs cut.
const LONGEST_SELECTION = 1500;

const SHARED = new Set(["view", "g", "q", "t", "more", "less", "where", "order", "dedup", "near", "min", "id", "sel", "p", "at", "c", "over", "bar"]);

const TERM = /^(-?\d+(?:\.\d+)?):(upload|id|text):(.+?)(?:@(\d?\.?\d+),(\d?\.?\d+),(\d?\.?\d+),(\d?\.?\d+))?$/s;

/** @returns {State} */
export const empty = () => ({
  view: "search", g: "", q: "", t: [], more: [], less: [], where: "",
  order: "score", dedup: false, near: null, min: null, id: null, sel: [], p: "",
  at: null, c: [], over: null, bar: "", own: {},
});

/**
 * @param {string} search  of an address
 * @returns {State}
 */
export function read(search) {
  const given = new URLSearchParams(search);
  const number = (/** @type {string} */ name) => {
    const text = given.get(name);
    return text !== null && text !== "" && Number.isFinite(Number(text)) ? Number(text) : null;
  };
  return {
    view: given.get("view") || "search",
    g: given.get("g") ?? "",
    q: given.get("q") ?? "",
    t: given.getAll("t").map(readTerm).filter((term) => term !== null),
    more: readIds(given.get("more")),
    less: readIds(given.get("less")),
    where: given.get("where") ?? "",
    order: given.get("order") === "date" ? "date" : "score",
    dedup: given.get("dedup") === "1",
    near: number("near"),
    min: number("min"),
    id: number("id"),
    sel: readIds(given.get("sel")),
    p: given.get("p") ?? "",
    at: readAt(given.get("at")),
    c: given.getAll("c"),
    over: number("over"),
    bar: given.get("bar") ?? "",
    own: Object.fromEntries([...given].filter(([name]) => !SHARED.has(name))),
  };
}

/**
 * @param {State} state
 * @returns {string} an address relative to the page
 */
export function write(state) {
  const given = new URLSearchParams();
  if (state.view !== "search") given.set("view", state.view);
  for (const name of /** @type {const} */ (["g", "q", "where", "p", "bar"])) if (state[name]) given.set(name, state[name]);
  for (const term of state.t) given.append("t", writeTerm(term));
  for (const name of /** @type {const} */ (["more", "less", "sel"])) {
    if (state[name].length && hasRoom(state[name])) given.set(name, writeIds(state[name]));
  }
  if (state.order !== "score") given.set("order", state.order);
  if (state.dedup) given.set("dedup", "1");
  if (state.near !== null) given.set("near", String(state.near));
  if (state.min !== null) given.set("min", String(state.min));
  if (state.id !== null) given.set("id", String(state.id));
  for (const name of state.c) given.append("c", name);
  if (state.over !== null) given.set("over", String(state.over));
  if (state.at) given.set("at", [state.at.x.toFixed(5), state.at.y.toFixed(5), state.at.zoom.toPrecision(4)].map(Number).join(","));
  for (const [name, value] of Object.entries(state.own)) if (value) given.set(name, value);
  const text = given.toString();
  return text ? `?${text}` : location.pathname;
}

/**
 * @param {string} text
 * @returns {Term|null}
 */
function readTerm(text) {
  const match = TERM.exec(text);
  if (!match || Number(match[1]) === 0) return null;
  const box = match[4] === undefined ? null : /** @type {any} */ (match.slice(4, 8).map(Number));
  return { kind: /** @type {Term["kind"]} */ (match[2]), value: match[3], weight: Number(match[1]), box };
}

/** @param {Term} term */
function writeTerm({ kind, value, weight, box }) {
  const part = box ? `@${box.map((side) => Math.round(side * 1000) / 1000).join(",")}` : "";
  return `${weight}:${kind}:${value}${part}`;
}

/**
 * @param {string|null} text  like 0.5,0.25,8
 * @returns {import("./types.js").At|null}
 */
function readAt(text) {
  const [x, y, zoom] = (text ?? "").split(",").map(Number);
  return [x, y, zoom].every(Number.isFinite) && zoom > 0 ? { x, y, zoom } : null;
}

/**
 * @param {string|null} text  like 3,7-9
 * @returns {number[]}
 */
export function readIds(text) {
  const ids = new Set();
  for (const part of (text ?? "").split(",")) {
    const match = /^(\d{1,15})(?:-(\d{1,15}))?$/.exec(part);
    if (!match) continue;
    const first = Number(match[1]);
    const last = Math.min(Number(match[2] ?? first), first + 10_000);
    for (let id = first; id <= last; id += 1) ids.add(id);
  }
  return [...ids];
}

/**
 * @param {number[]} ids
 * @returns {string} runs of consecutive IDs as 7-9
 */
export function writeIds(ids) {
  const sorted = [...ids].sort((a, b) => a - b);
  const parts = [];
  for (let i = 0; i < sorted.length; ) {
    let end = i;
    while (sorted[end + 1] === sorted[end] + 1) end += 1;
    parts.push(end === i ? `${sorted[i]}` : `${sorted[i]}-${sorted[end]}`);
    i = end + 1;
  }
  return parts.join(",");
}

/** Whether an address has room for a selection. @param {number[]} ids */
export const hasRoom = (ids) => writeIds(ids).length <= LONGEST_SELECTION;

/**
 * Whether there is anything to rank by.
 *
 * @param {State} state
 */
export const isSearch = (state) => Boolean(state.q.trim() || state.t.length || state.more.length || state.less.length);

/**
 * The body of the search request.
 *
 * @param {State} state
 */
export function body(state) {
  const { q, t, more, less, where, order, dedup, near, min } = state;
  const terms = t.map(({ kind, value, weight, box }) => ({
    [kind]: kind === "id" ? Number(value) : value,
    weight,
    ...(box ? { box } : {}),
  }));
  return {
    ...(q.trim() ? { query: q.trim() } : {}),
    ...(terms.length ? { terms } : {}),
    ...(more.length ? { more } : {}),
    ...(less.length ? { less } : {}),
    ...(where ? { where } : {}),
    ...(order === "date" ? { order } : {}),
    ...(dedup ? { dedup } : {}),
    ...(dedup && near !== null ? { near } : {}),
    ...(min !== null && isSearch(state) ? { min_score: min } : {}),
    ...(isSearch(state) ? { explain: true } : {}),
  };
}
