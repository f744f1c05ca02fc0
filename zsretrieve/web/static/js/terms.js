/** The terms of a state as one list, whichever part of the address holds them, and what one can do with each. */

import { canWrite, parse, write } from "./query.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Term} Term */

/**
 * @typedef {Object} Chip
 * @property {"text"|"id"|"upload"|"more"|"less"} kind
 * @property {string} value
 * @property {number} weight
 * @property {import("./types.js").Box|null} box
 * @property {"q"|"t"|"more"|"less"} from
 * @property {number} index  in what holds it
 */

/**
 * @param {State} state
 * @returns {Chip[]}
 */
export function chips(state) {
  return [
    ...parse(state.q).map((term, index) => /** @type {Chip} */ ({ ...asTerm(term), from: "q", index })),
    ...state.t.map((term, index) => /** @type {Chip} */ ({ ...term, from: "t", index })),
    ...state.more.map((id, index) => /** @type {Chip} */ ({ kind: "more", value: String(id), weight: 1, box: null, from: "more", index })),
    ...state.less.map((id, index) => /** @type {Chip} */ ({ kind: "less", value: String(id), weight: -1, box: null, from: "less", index })),
  ];
}

/**
 * The state without a term.
 *
 * @param {State} state
 * @param {Chip} chip
 * @returns {Partial<State>}
 */
export function without(state, chip) {
  if (chip.from !== "q") return { [chip.from]: /** @type {any[]} */ (state[chip.from]).filter((_, i) => i !== chip.index) };
  return written(state, parse(state.q).filter((_, i) => i !== chip.index));
}

/**
 * The state with another weight of a term, or another part of its image.
 *
 * @param {State} state
 * @param {Chip} chip  of the text or of `t`
 * @param {{weight?: number, box?: import("./types.js").Box|null}} change
 * @returns {Partial<State>}
 */
export function changed(state, chip, change) {
  if (chip.from === "t") return { t: state.t.map((term, i) => (i === chip.index ? { ...term, ...change } : term)) };
  const terms = parse(state.q);
  if (!change.box) return written(state, terms.map((term, i) => (i === chip.index ? { ...term, ...change } : term)));
  // The language has no parts of images.
  const rest = written(state, terms.filter((_, i) => i !== chip.index));
  const term = /** @type {Term} */ ({ kind: chip.kind, value: chip.value, weight: chip.weight, box: change.box });
  return { ...rest, t: [...(rest.t ?? state.t), term] };
}

/**
 * @param {State} state
 * @param {import("./query.js").TextTerm[]} terms
 * @returns {Partial<State>}
 */
function written(state, terms) {
  if (canWrite(terms)) return { q: write(terms) };
  // The weight of a lone text matters beside other terms, and the language has none for it.
  const [term] = terms;
  return state.t.length ? { q: "", t: [...state.t, asTerm(term)] } : { q: write([{ ...term, weight: Math.sign(term.weight) }]) };
}

/**
 * @param {import("./query.js").TextTerm} term
 * @returns {Term}
 */
function asTerm({ value, weight, id }) {
  return { kind: id === null ? "text" : "id", value: id === null ? value : String(id), weight, box: null };
}

const WEIGHTS = [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5];

/**
 * The next weight up or down, with its sign.
 *
 * @param {number} weight
 * @param {1|-1} step
 */
export function nextWeight(weight, step) {
  const size = Math.abs(weight);
  const next = step > 0 ? WEIGHTS.find((one) => one > size) : WEIGHTS.findLast((one) => one < size);
  return (next ?? size) * Math.sign(weight);
}
