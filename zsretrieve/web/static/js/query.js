/**
 * The query language, as the server reads it: `a + b - 2:c`, with quotes around a term that holds such signs.
 *
 * @typedef {{value: string, weight: number, id: number|null}} TextTerm  with the ID that `id:42` stands for
 */

const OPERATOR = /\s+([+-])(?=\s)/g;
const IN_QUOTES = /^(["'])(?=\S)(.+?)(?<=\S)\1$/s;
const QUOTED = /(?<=[\s:])(["'])(?=\S)(.+?)(?<=\S)\1(?=\s)/gs;
const ITEM = /^id:(\d{1,15})$/;
const WEIGHT = /^(\d+(?:\.\d*)?|\.\d+):\s*(.+)$/s;

/**
 * The terms of a query; an incomplete query gives those that are complete, since people are still typing it.
 *
 * @param {string} text
 * @returns {TextTerm[]}
 */
export function parse(text) {
  if (!text.trim()) return [];
  const padded = ` ${text.trim()} `;
  const hidden = padded.replace(QUOTED, (quoted) => "_".repeat(quoted.length));
  const values = [];
  const signs = ["+"];
  let start = 0;
  for (const match of hidden.matchAll(OPERATOR)) {
    values.push(padded.slice(start, match.index));
    signs.push(match[1]);
    start = match.index + match[0].length;
  }
  values.push(padded.slice(start));
  if (values.length > 1 && !values[0].trim()) {
    values.shift();
    signs.shift();
  }
  const terms = [];
  for (const [index, piece] of values.entries()) {
    let value = piece.trim();
    let weight = 1;
    // A single term needs no weight, and "16:9 wide" is plain text.
    const weighted = values.length > 1 ? WEIGHT.exec(value) : null;
    if (weighted) [weight, value] = [Number(weighted[1]), weighted[2].trim()];
    const item = ITEM.exec(value);
    const quoted = IN_QUOTES.exec(value);
    if (quoted) value = quoted[2];
    if (value && weight) terms.push({ value, weight: signs[index] === "+" ? weight : -weight, id: item ? Number(item[1]) : null });
  }
  return terms;
}

/**
 * The query that `parse` reads as these terms. A weight of a lone term cannot be written: see `canWrite`.
 *
 * @param {TextTerm[]} terms
 * @returns {string}
 */
export function write(terms) {
  return terms
    .map(({ value, weight, id }, index) => {
      const sign = weight < 0 ? "- " : index ? "+ " : "";
      const size = Math.abs(weight);
      const number = terms.length > 1 && size !== 1 ? `${Math.round(size * 1000) / 1000}:` : "";
      return sign + number + (id === null ? quote(value, terms.length > 1) : value);
    })
    .join(" ");
}

/** @param {TextTerm[]} terms */
export const canWrite = (terms) => terms.length !== 1 || Math.abs(terms[0].weight) === 1;

/**
 * @param {string} value
 * @param {boolean} several
 */
function quote(value, several) {
  const reads = parse(several ? `x + ${value}` : value);
  const same = reads.length === (several ? 2 : 1) && reads.at(-1)?.value === value && reads.at(-1)?.weight === 1 && reads.at(-1)?.id === null;
  if (same) return value;
  return value.includes('"') ? `'${value}'` : `"${value}"`;
}
