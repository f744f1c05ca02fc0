/** The saved searches of a gallery: run, save and delete them. */

import { ask, galleryPath } from "../api.js";
import { announce, fill, h, iconButton, wordsOf } from "../dom.js";
import { body, empty } from "../state.js";
import { canWrite, parse, write } from "../query.js";
import { field, sheet } from "./sheet.js";
import { stateLink } from "./link.js";

/** @typedef {import("../types.js").State} State */
/** @typedef {{name: string, search: any}} Saved */

const MINUS = 0.5; // the weight of what a search subtracts apart from its query, as the library has it

/**
 * The state that shows a saved search.
 *
 * @param {any} search  a body
 * @returns {Partial<State>}
 */
export function stateOf(search) {
  const { terms = [], minus = [], literal = false } = search;
  /** @type {import("../types.js").Term[]} */
  const all = terms.map((/** @type {any} */ { id, text, weight = 1, box = null }) => ({ kind: id === undefined ? "text" : "id", value: String(id ?? text), weight, box }));
  for (const text of minus) {
    const parts = literal ? [{ value: text, weight: 1, id: null }] : parse(text);
    for (const { value, weight, id } of parts) all.push({ kind: id === null ? "text" : "id", value: id === null ? value : String(id), weight: -MINUS * weight, box: null });
  }
  const words = all.map(({ kind, value, weight }) => ({ value: kind === "id" ? `id:${value}` : value, weight, id: kind === "id" ? Number(value) : null }));
  const written = all.every(({ box }) => !box) && canWrite(words);
  const { id: _id, sel: _sel, g: _g, p: _p, at: _at, c: _c, over: _over, bar: _bar, ...rest } = empty();
  return {
    ...rest,
    ...(written ? { q: write(words) } : { t: all }),
    more: search.more ?? [],
    less: search.less ?? [],
    where: search.where ?? "",
    order: search.order ?? "score",
    dedup: search.dedup ?? false,
    near: search.near ?? null,
    min: search.min_score ?? null,
    id: null,
  };
}

/**
 * Open the list.
 *
 * @param {import("../app.js").App} app
 */
export async function savedSearches(app) {
  const path = `${galleryPath(app.gallery?.name ?? "")}/searches`;
  const { explain: _, ...search } = body(app.state);
  const writable = Boolean(app.gallery?.writable);
  const list = h("ul", { class: "saved" });
  const show = (/** @type {Saved[]} */ all) => {
    fill(
      list,
      ...all.map(({ name, search: one }) =>
        h(
          "li",
          {},
          stateLink(app, stateOf(one), { class: "name", go: () => run(one) }, name),
          h("span", { class: "soft small" }, said(one)),
          writable && iconButton("close", `Delete ${name}`, () => remove(name)),
        ),
      ),
      !all.length && h("li", { class: "soft" }, "No search is saved."),
    );
  };
  const run = (/** @type {any} */ one) => {
    dialog.close();
    app.go(stateOf(one));
  };
  const remove = async (/** @type {string} */ name) => {
    try {
      const left = await ask(`${path}/${encodeURIComponent(name)}`, { method: "DELETE" });
      show(left.searches);
      announce(`Deleted ${name}.`);
      dialog.querySelector("button")?.focus();
    } catch (error) {
      fill(failure, wordsOf(error));
    }
  };
  const failure = h("p", { class: "error", role: "alert" });
  const name = h("input", { name: "name", required: true, maxlength: 100, autocomplete: "off" });
  const nothing = Object.keys(search).length === 0;
  const why = !writable ? "This server is read-only, so searches cannot be saved. Its operator allows it with --write." : nothing ? "Search for something first, to save it here." : "";
  const dialog = why
    ? sheet("Saved searches", [list, failure, h("p", { class: "soft small" }, why)])
    : sheet("Saved searches", [list, failure, field("Save this search as", name)], {
        submit: "Save",
        run: async (data) => {
          await ask(path, { body: { name: String(data.get("name")).trim(), search } });
          announce(`Saved ${data.get("name")}.`);
        },
      });
  try {
    show((await ask(path)).searches);
  } catch (error) {
    fill(failure, wordsOf(error));
  }
}

/** What a search is, in a line. @param {any} search */
function said(search) {
  const { q = "", t = [], more = [], less = [], where } = stateOf(search);
  return [q, ...t.map(({ value }) => value), more.length && `more like ${more.join(", ")}`, less.length && `less like ${less.join(", ")}`, where].filter(Boolean).join(" · ");
}
