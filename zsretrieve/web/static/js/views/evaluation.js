/** The evaluation view: how well prototypes find the labels, where they fail, and whether others do better. */

import { ELSEWHERE } from "../actions.js";
import { ask, galleryPath } from "../api.js";
import { busy, fill, h, icon, refill } from "../dom.js";
import { comparison } from "../elements/comparison.js";
import { confusion } from "../elements/confusion.js";
import { figures, perClass } from "../elements/figures.js";
import { notice } from "../elements/notice.js";
import { stateLink } from "../elements/link.js";
import { Pictures } from "../elements/pictures.js";
import { counted } from "../format.js";
import { listOf } from "../results.js";

/** @typedef {import("../app.js").Place} Place */

/**
 * @param {HTMLElement} root
 * @param {import("../app.js").App} app
 * @returns {import("../views.js").View}
 */
export function mount(root, app) {
  return new EvaluationView(root, app);
}

class EvaluationView {
  /**
   * @param {HTMLElement} root
   * @param {import("../app.js").App} app
   */
  constructor(root, app) {
    this.app = app;
    this.shown = "";
    /** What was asked for, and its answer, so that a way back from a cell is short. @type {Map<string, Promise<any>>} */
    this.asked = new Map();
    this.sorted = () => false;
    this.bar = h("div", { class: "row" });
    this.main = h("main", { id: "main", tabindex: -1, class: "results analysis", "aria-label": "Evaluation" });
    root.append(h("div", { class: "search" }, this.bar), this.main);
    this.pictures = new Pictures(app, { from: ELSEWHERE, restart: () => this.again() });
    root.append(this.pictures.viewer, this.pictures.bar);
  }

  unmount() {
    this.pictures.unmount();
  }

  /**
   * @param {import("../types.js").State|null} _before
   * @param {Place|null} place
   */
  update(_before, place) {
    const { app, pictures } = this;
    const { true: truth = "", predicted = "", with: other = "" } = app.state.own;
    document.title = `Evaluation · ${app.gallery?.name} · zsretrieve`;
    const wanted = JSON.stringify([app.gallery?.name, app.prototypes?.name, truth, predicted, other]);
    if (wanted === this.shown) {
      this.sorted();
      if (place) scrollTo(0, place.scroll ?? 0);
    } else {
      this.shown = wanted;
      pictures.clear();
      this.sorted = () => false;
      busy(this.draw(wanted, place));
    }
    pictures.update();
  }

  /**
   * @param {string} path
   * @param {Record<string, string>} parameters
   */
  ask(path, parameters) {
    const address = `${galleryPath(this.app.gallery?.name ?? "")}/${path}?${new URLSearchParams(parameters)}`;
    const known = this.asked.get(address);
    if (known) return known;
    const answer = ask(address);
    this.asked.set(address, answer);
    answer.catch(() => this.asked.delete(address));
    return answer;
  }

  /**
   * @param {string} wanted
   * @param {Place|null} place
   */
  async draw(wanted, place) {
    const { app, main } = this;
    const chosen = app.prototypes;
    try {
      const details = await app.details();
      if (this.shown !== wanted) return;
      this.choices();
      if (!details.has_labels) {
        fill(main, notice({ title: "No image of this gallery has a label.", text: "An evaluation compares predictions with labels. Select images in the search to label them." }));
      } else if (!chosen) {
        fill(main, notice({ title: "There are no prototypes to evaluate.", text: "Start the server with some: zsretrieve serve GALLERY --prototypes PROTOTYPES" }));
      } else if (app.state.own.true && app.state.own.predicted) {
        this.cell(chosen.name, app.state.own.true, app.state.own.predicted, place);
      } else {
        await this.figures(wanted, chosen.name);
        if (this.shown !== wanted) return;
      }
      scrollTo(0, place?.scroll ?? 0);
    } catch (error) {
      if (this.shown === wanted) fill(main, notice({ error, again: () => busy(this.draw(wanted, place)) }));
    }
  }

  /** The choice of the prototypes and of those they are compared with. */
  choices() {
    const { app, bar } = this;
    const { fitting } = app;
    const chosen = app.prototypes?.name;
    const others = fitting.filter(({ name }) => name !== chosen);
    const value = (/** @type {Event} */ event) => /** @type {HTMLSelectElement} */ (event.target).value;
    const { with: other = "" } = app.state.own;
    const back = { ...app.state.own, true: "", predicted: "" };
    const options = (/** @type {typeof fitting} */ all, /** @type {string|undefined} */ current) =>
      all.map(({ name, n_classes }) => h("option", { value: name, selected: name === current }, `${name} (${counted(n_classes, "class", "classes")})`));
    refill(
      bar,
      fitting.length > 0 && h("label", { class: "choice" }, "Prototypes", h("select", { onchange: (/** @type {Event} */ event) => app.go({ p: value(event), own: { ...back, with: other === value(event) ? "" : other }, id: null }) }, ...options(fitting, chosen))),
      others.length > 0 && h("label", { class: "choice" }, "Compare with", h("select", { onchange: (/** @type {Event} */ event) => app.go({ own: { ...back, with: value(event) }, id: null }) }, h("option", { value: "" }, "none"), ...options(others, other))),
      h("div", { class: "status" }, h("span", { class: "model" }, app.gallery?.model ?? "")),
    );
  }

  /**
   * @param {string} wanted
   * @param {string} chosen
   */
  async figures(wanted, chosen) {
    const { app } = this;
    const report = await this.ask("evaluation", { prototypes: chosen });
    if (this.shown !== wanted) return;
    const classes = perClass(app, report.per_class);
    this.sorted = () => Boolean(classes.sorted());
    const compared = h("div");
    fill(this.main, figures(report), compared, confusion(app, report.confusion), classes.section);
    if (app.state.own.with) await this.compare(wanted, chosen, app.state.own.with, compared);
  }

  /**
   * @param {string} wanted
   * @param {string} first
   * @param {string} second
   * @param {HTMLElement} place
   */
  async compare(wanted, first, second, place) {
    const { app } = this;
    try {
      const answer = await this.ask("evaluation/compare", { a: first, b: second });
      if (this.shown === wanted) fill(place, comparison(answer, first, second, app.gallery?.name ?? "", this.pictures));
    } catch (error) {
      // Such as that of other classes; the figures stay.
      if (this.shown === wanted) fill(place, notice({ error }));
    }
  }

  /**
   * The images of one cell of the matrix.
   *
   * @param {string} chosen
   * @param {string} truth
   * @param {string} predicted
   * @param {Place|null} place
   */
  cell(chosen, truth, predicted, place) {
    const { app, pictures } = this;
    const results = listOf(app.gallery?.name ?? "", "evaluation/cell", { prototypes: chosen, true: truth, predicted }, { loaded: place?.loaded ?? 0 });
    const n = h("span", { class: "soft" });
    const grid = pictures.grid({ caption: ({ name }) => ({ name }) });
    const right = truth === predicted;
    fill(
      this.main,
      stateLink(app, { own: { ...app.state.own, true: "", predicted: "" }, id: null }, { class: "button back" }, icon("previous"), "All figures"),
      h("h2", { class: "of", tabindex: -1 }, truth, h("span", { class: "soft" }, right ? " classified correctly" : " taken for "), right ? "" : predicted, n),
      grid,
    );
    pictures.fill(grid, results, () => {
      fill(n, ` · ${counted(results.answer?.total ?? 0, "image")}`);
      if (place) scrollTo(0, place.scroll ?? 0);
    });
  }

  /** Ask for everything again, of the gallery as it is now. */
  again() {
    this.asked.clear();
    this.shown = "";
    this.update(null, null);
  }
}
