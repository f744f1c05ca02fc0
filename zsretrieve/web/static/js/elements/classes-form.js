/** What to classify by, and which images: typed classes or prototypes, of the gallery or of the best results. */

import { fill, h } from "../dom.js";
import { count, counted } from "../format.js";
import { isSearch } from "../state.js";

const BEST = [60, 200, 1000];

export class ClassesForm {
  /**
   * @param {import("../app.js").App} app
   * @param {(c: string[]) => void} onsubmit  called with the classes that are typed
   */
  constructor(app, onsubmit) {
    this.app = app;
    this.onsubmit = onsubmit;
    /** Whether classes are to be typed, though there are none yet. */
    this.typing = false;
    this.text = h("textarea", { id: "classes", rows: 3, spellcheck: "false", autocapitalize: "off", placeholder: "cat, dog, neither", "aria-describedby": "classes-hint" });
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.#submit();
    });
    this.source = h("select", { "aria-label": "Kind of classes", onchange: () => this.#choose() });
    this.over = h("select", { "aria-label": "Images to classify", onchange: () => app.go({ over: Number(this.over.value) || null }) });
    this.labels = h("button", { type: "button", class: "plain", hidden: true, onclick: () => this.#useLabels() }, "Use the gallery's labels");
    this.typed = h("div", { class: "typed" }, h("label", { for: "classes" }, "Classes"), this.text, h("p", { id: "classes-hint", class: "soft small" }, "One per line, or separated by commas. Each image goes to the class whose text is nearest."), h("p", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Classify"), this.labels));
    this.element = h("form", { class: "sorted-by", "aria-label": "What to classify" }, h("p", { class: "actions" }, this.source, this.over), this.typed);
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    app.details().then(({ labels = [] }) => (this.labels.hidden = !labels.length), () => {});
  }

  /** What images are classified by, unless classes are typed. */
  get prototypes() {
    const { state, prototypes } = this.app;
    return state.c.length || this.typing ? undefined : prototypes;
  }

  /** @param {import("../types.js").State|null} before */
  show(before) {
    const { app } = this;
    const { state } = app;
    if (state.c.length) this.typing = false;
    const chosen = this.prototypes;
    this.source.hidden = !app.fitting.length;
    fill(this.source, ...app.fitting.map(({ name, n_classes: n }) => h("option", { value: name, selected: name === chosen?.name }, `${name} (${counted(n, "class", "classes")})`)), h("option", { value: "", selected: !chosen }, "Classes that I type"));
    this.typed.hidden = chosen !== undefined;
    if (!before || `${before.c}` !== `${state.c}`) this.text.value = state.c.join("\n");
    const searching = isSearch(state);
    const bests = state.over && !BEST.includes(state.over) ? [...BEST, state.over] : BEST;
    fill(
      this.over,
      h("option", { value: "" }, state.where ? "All that pass the filters" : "The whole gallery"),
      ...bests.map((n) => h("option", { value: n, disabled: !searching, selected: searching && n === state.over }, `The best ${count(n)} of the search`)),
    );
  }

  #choose() {
    const p = this.source.value;
    this.typing = !p;
    if (p) this.app.go({ p, c: [], bar: "" });
    else {
      this.app.go({ c: [], bar: "" }, { replace: true });
      this.text.focus();
    }
  }

  async #useLabels() {
    const { labels = [] } = await this.app.details();
    this.text.value = labels.map(({ label }) => label).join("\n");
    this.#submit();
  }

  #submit() {
    const lines = this.text.value.split("\n").map((line) => line.trim());
    // A comma in a class of several lines is part of its name.
    const names = (lines.filter(Boolean).length > 1 ? lines : this.text.value.split(",")).map((name) => name.trim()).filter(Boolean);
    this.onsubmit([...new Set(names)]);
  }
}
