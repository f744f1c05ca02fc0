/**
 * The SQL of the filters that people click together, and back.
 *
 * @typedef {Object} Filters
 * @property {string[]} labels
 * @property {string[]} folders
 * @property {string} from  a day, YYYY-MM-DD
 * @property {string} to  a day, included
 * @property {number|null} pixels  of the longer side, at least
 * @property {number|null} least  bytes
 * @property {number|null} most  bytes
 */

/** @returns {Filters} */
export const none = () => ({ labels: [], folders: [], from: "", to: "", pixels: null, least: null, most: null });

/** @param {string} text */
const literal = (text) => `'${text.replaceAll("'", "''")}'`;

/**
 * @param {string} column
 * @param {string[]} values
 */
const oneOf = (column, values) =>
  values.length === 1 ? `${column} = ${literal(values[0])}` : `${column} in (${values.map(literal).join(", ")})`;

/**
 * @param {string} day
 * @param {number} days
 */
function shift(day, days) {
  const date = new Date(`${day}T00:00:00Z`);
  date.setUTCDate(date.getUTCDate() + days);
  return date.toISOString().slice(0, 10);
}

/**
 * @param {Filters} filters
 * @returns {string} a condition, or nothing
 */
export function write(filters) {
  const parts = [];
  if (filters.labels.length) parts.push(oneOf("label", filters.labels));
  if (filters.folders.length) parts.push(oneOf("folder", filters.folders));
  if (filters.from) parts.push(`mtime >= '${filters.from}'`);
  if (filters.to) parts.push(`mtime < '${shift(filters.to, 1)}'`);
  if (filters.pixels !== null) parts.push(`greatest(width, height) >= ${filters.pixels}`);
  if (filters.least !== null) parts.push(`bytes >= ${filters.least}`);
  if (filters.most !== null) parts.push(`bytes <= ${filters.most}`);
  return parts.join(" and ");
}

const STRING = "'(?:[^']|'')*'";
const PART = new RegExp(
  `^(?:(label|folder) (?:= (${STRING})|in \\((${STRING}(?:, ${STRING})*)\\))` +
    "|mtime (>=|<) '(\\d{4}-\\d\\d-\\d\\d)'|(greatest\\(width, height\\)|bytes) (>=|<=) (\\d+))(?: and |$)",
);

/**
 * The filters that a condition was written from, or null if somebody wrote it by hand.
 *
 * @param {string} sql
 * @returns {Filters|null}
 */
export function read(sql) {
  const filters = none();
  let rest = sql;
  while (rest) {
    const match = PART.exec(rest);
    if (!match) return null;
    rest = rest.slice(match[0].length);
    const [, column, single, several, order, day, measure, bound, number] = match;
    if (column) {
      const values = (single ?? several).match(new RegExp(STRING, "g")) ?? [];
      filters[column === "label" ? "labels" : "folders"] = values.map((one) => one.slice(1, -1).replaceAll("''", "'"));
    } else if (day) {
      if (order === ">=") filters.from = day;
      else filters.to = shift(day, -1);
    } else if (measure !== "bytes") filters.pixels = Number(number);
    else filters[bound === ">=" ? "least" : "most"] = Number(number);
  }
  return write(filters) === sql ? filters : null;
}
