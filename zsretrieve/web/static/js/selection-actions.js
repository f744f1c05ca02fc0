/** What one can do with selected images. */

import { ask, galleryPath } from "./api.js";
import { h } from "./dom.js";
import { field, sheet } from "./elements/sheet.js";
import { counted } from "./format.js";
import { forgetAll } from "./results.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./types.js").Item} Item */

/** `images` are for images, not for texts. @type {{title: string, writes?: boolean, images?: boolean, run: (ids: number[], app: App) => Promise<string|void>}[]} */
export const ACTIONS = [
  {
    title: "Copy paths",
    run: async (ids, app) => {
      const paths = await exported(app, ids, "paths");
      await navigator.clipboard.writeText(paths.trimEnd());
      return `Copied ${counted(ids.length, "path")}.`;
    },
  },
  {
    title: "Download CSV",
    run: async (ids, app) => {
      download(await exported(app, ids, "csv"), "images.csv", "text/csv");
      return `Wrote images.csv with ${counted(ids.length, "image")}.`;
    },
  },
  { title: "Export labels …", images: true, run: labels },
  { title: "Label …", writes: true, run: label },
  { title: "New gallery …", writes: true, run: subset },
  { title: "New prototypes …", writes: true, run: prototypes },
];

/**
 * @param {App} app
 * @param {string} place  below the gallery
 * @param {any} body
 */
const post = (app, place, body) => ask(`${galleryPath(app.gallery?.name ?? "")}/${place}`, { body });

/**
 * @param {App} app
 * @param {number[]} ids
 * @param {"paths"|"csv"} form
 * @returns {Promise<string>}
 */
const exported = (app, ids, form) => post(app, "export", { ids, form });

/** The files of labelling tools: the program, and the form, name and type of each. @type {Record<string, [string, string, string][]>} */
const TOOLS = {
  COCO: [["coco", "coco.json", "application/json"]],
  "Label Studio": [
    ["label-studio", "tasks.json", "application/json"],
    ["label-studio-setup", "config.xml", "application/xml"],
  ],
};

/**
 * @param {number[]} ids
 * @param {App} app
 */
async function labels(ids, app) {
  const tool = h("select", { name: "tool" }, ...Object.keys(TOOLS).map((name) => h("option", {}, name)));
  // The class whose images are shown, where the images are classified.
  const given = app.state.view === "classify" ? app.state.bar : "";
  const input = h("input", { name: "label", value: given, maxlength: 1000, placeholder: "their own labels", autocomplete: "off" });
  sheet(`Export the labels of ${counted(ids.length, "image")}`, [field("For", tool), field("One label for all", input)], {
    submit: "Download",
    run: async (data) => {
      const label = String(data.get("label")).trim() || null;
      for (const [form, name, type] of TOOLS[String(data.get("tool"))]) {
        const content = await post(app, "export", { ids, form, label });
        download(typeof content === "string" ? content : JSON.stringify(content, null, 1), name, type);
      }
    },
  });
}

/**
 * @param {string} text
 * @param {string} name
 * @param {string} type
 */
function download(text, name, type) {
  const href = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

/**
 * Show the galleries as a change has left them. The focus goes on to the image after those that it was about.
 *
 * @param {App} app
 * @param {number[]} ids
 * @param {string} said  about it
 */
async function changed(app, ids, said) {
  forgetAll();
  app.resume = app.following(ids);
  app.selection.said = said;
  await app.refresh();
}

/** The name of something new. */
const nameField = () => field("Name", h("input", { name: "name", required: true, maxlength: 100, pattern: "[^\\/\\\\.@\\-][^\\/\\\\]*", title: "Without / and \\, and not starting with . @ or -", autofocus: true, autocomplete: "off" }));

/**
 * @param {number[]} ids
 * @param {App} app
 */
async function label(ids, app) {
  const { labels = [] } = await app.details();
  const list = h("datalist", { id: "labels" }, ...labels.map(({ label }) => h("option", { value: label })));
  const input = h("input", { name: "label", required: true, maxlength: 1000, list: "labels", autofocus: true, autocomplete: "off" });
  sheet(`Label ${counted(ids.length, "image")}`, [field("Label", input), list], {
    submit: "Set label",
    others: [["remove", "Remove labels"]],
    run: async (data, by) => {
      const label = by === "remove" ? null : String(data.get("label")).trim();
      const { changed: n } = await post(app, "labels", { ids, label });
      await changed(app, ids, label === null ? `Removed the labels of ${counted(n, "image")}.` : `Labelled ${counted(n, "image")} “${label}”.`);
    },
  });
}

/**
 * @param {number[]} ids
 * @param {App} app
 */
async function subset(ids, app) {
  sheet(`New gallery of ${counted(ids.length, "image")}`, [nameField(), h("p", { class: "soft small" }, "The image files stay where they are. The server keeps the gallery in its data folder.")], {
    submit: "Make the gallery",
    run: async (data) => {
      const { name } = await post(app, "subset", { ids, name: data.get("name") });
      await changed(app, ids, `Made the gallery “${name}”.`);
    },
  });
}

const MOST = 500; // IDs in one condition, whose length is limited

/**
 * Prototypes of the images: one class of all, or a class for each of their labels.
 *
 * @param {number[]} ids
 * @param {App} app
 */
async function prototypes(ids, app) {
  /** @type {Map<string, number[]>} */
  const labelled = new Map();
  for (let i = 0; i < ids.length; i += MOST) {
    const { hits } = await post(app, "search", { where: `id in (${ids.slice(i, i + MOST).join(", ")})`, k: MOST });
    for (const { id, label } of /** @type {Item[]} */ (hits)) if (label) labelled.set(label, [...(labelled.get(label) ?? []), id]);
  }
  const n = [...labelled.values()].reduce((sum, { length }) => sum + length, 0);
  const one = h("input", { name: "class", maxlength: 1000, "aria-label": "Name of the class" });
  const pick = (/** @type {string} */ value, /** @type {boolean} */ checked, /** @type {(Node|string)[]} */ ...text) =>
    h("label", { class: "tick" }, h("input", { type: "radio", name: "by", value, checked, disabled: value === "label" && n === 0 }), h("span", { class: "value" }, ...text));
  const left = ids.length - n;
  const byLabel = n === 0 ? "A class for each label: these images have none" : `A class for each of ${counted(labelled.size, "label")}${left ? `; ${counted(left, "image")} without a label ${left === 1 ? "is" : "are"} left out` : ""}`;
  const choice = h("fieldset", {}, h("legend", {}, "Classes"), pick("label", n > 0, byLabel), pick("one", n === 0, "One class of all: ", one));
  one.addEventListener("input", () => (/** @type {HTMLInputElement} */ (choice.querySelector("[value=one]")).checked = true));
  sheet(`New prototypes of ${counted(ids.length, "image")}`, [nameField(), choice, h("p", { class: "soft small" }, "A prototype is the mean of the vectors of its images.")], {
    submit: "Make the prototypes",
    run: async (data) => {
      const only = String(data.get("class")).trim();
      if (data.get("by") === "one" && !only) {
        one.focus();
        throw new Error("The class has no name.");
      }
      const classes = data.get("by") === "one" ? { [only]: ids } : Object.fromEntries(labelled);
      const { name } = await post(app, "prototypes", { name: data.get("name"), classes });
      await changed(app, ids, `Made the prototypes “${name}” with ${counted(Object.keys(classes).length, "class", "classes")}.`);
    },
  });
}
