/** What could be typed next: labels of the gallery, and the signs of the query language. */

import { count } from "../format.js";

const MOST = 8;

/**
 * @typedef {Object} Completion
 * @property {string} text  the whole query with it
 * @property {string} shown
 * @property {string} note
 */

/**
 * @param {string} query  up to the cursor
 * @param {{label: string, n: number}[]} labels
 * @returns {Completion[]}
 */
export function completions(query, labels) {
  // The term that is being typed starts after the last sign, and after its weight.
  const head = /^(?:.*\s[+-]\s+|\s*[+-]\s+)?(?:(?:\d+(?:\.\d*)?|\.\d+):\s*)?/s.exec(query)?.[0] ?? "";
  const typed = query.slice(head.length).trimStart().toLowerCase();
  if (!typed) {
    return head.trim()
      ? labels.slice(0, MOST).map(({ label, n }) => ({ text: head + label, shown: label, note: count(n) }))
      : [];
  }
  const fitting = labels
    .map((one) => ({ ...one, at: position(one.label.toLowerCase(), typed.trimEnd()) }))
    .filter(({ at, label }) => at >= 0 && label.toLowerCase() !== typed.trimEnd())
    .sort((a, b) => a.at - b.at || b.n - a.n)
    .slice(0, MOST)
    .map(({ label, n }) => ({ text: head + label, shown: label, note: count(n) }));
  if (!/\s$/.test(query)) return fitting;
  return [
    ...fitting.slice(0, MOST - 2),
    { text: `${query.trimEnd()} + `, shown: "+", note: "and also" },
    { text: `${query.trimEnd()} - `, shown: "−", note: "but not" },
  ];
}

/**
 * 0 if a label starts with the text, 1 if one of its words does, 2 if it holds it, else -1.
 *
 * @param {string} label
 * @param {string} text
 */
function position(label, text) {
  if (label.startsWith(text)) return 0;
  if (label.includes(` ${text}`)) return 1;
  return label.includes(text) ? 2 : -1;
}
