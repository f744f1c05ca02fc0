/** `<zs-search-box>`: the query, with completions, and a way to bring an image. */

import { fill, h, icon, iconButton } from "../dom.js";
import { completions } from "./completions.js";

/** Fires `search` (detail: the query), `image` (detail: a file) and `leave` (down, to the images). */
export class SearchBox extends HTMLElement {
  /** @type {{label: string, n: number}[]} */
  #labels = [];
  /** Whether something is typed that is not searched yet. */
  #isTyped = false;
  /** @type {import("./completions.js").Completion[]} */
  offered = [];
  chosen = -1;

  input = h("input", {
    type: "text", name: "q", id: "q", placeholder: "Describe an image, or drop one here", autocomplete: "off", autocapitalize: "off",
    spellcheck: "false", enterkeyhint: "search", maxlength: 10000, role: "combobox", "aria-label": "Query", "aria-expanded": "false",
    "aria-controls": "completions", "aria-autocomplete": "list", "aria-describedby": "query-error",
    oninput: () => {
      this.#isTyped = true;
      this.#offer();
    },
    onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
    onblur: () => this.#close(),
  });
  file = h("input", {
    type: "file", accept: "image/*", hidden: true, "aria-label": "Image to search with",
    onchange: () => {
      const [chosen] = this.file.files ?? [];
      if (chosen) this.dispatchEvent(new CustomEvent("image", { detail: chosen }));
      this.file.value = "";
    },
  });
  clear = iconButton("close", "Clear the query", () => this.#submit(""), { hidden: true });
  list = h("ul", { id: "completions", role: "listbox", "aria-label": "Completions", hidden: true });
  form = h(
    "form",
    { role: "search", class: "box" },
    icon("search"),
    this.input,
    this.clear,
    this.file,
    iconButton("image", "Search with an image file", () => this.file.click()),
    h("button", { type: "submit", class: "primary", "aria-label": "Search" }, h("span", {}, "Search"), icon("search")),
    this.list,
  );

  constructor() {
    super();
    // Before the box loses the focus, which closes the list.
    this.list.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      const option = /** @type {Element} */ (event.target).closest("li");
      if (option) this.#take([...this.list.children].indexOf(option));
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit(this.input.value);
    });
  }

  connectedCallback() {
    this.append(this.form);
  }

  /** What completes a query. @param {{label: string, n: number}[]} labels */
  set labels(labels) {
    this.#labels = labels;
    if (this.#isTyped && this.input === document.activeElement) this.#offer();
  }

  /** @param {string} query */
  set query(query) {
    this.#isTyped = false;
    this.input.value = query;
    this.clear.hidden = !query;
    this.#close();
  }

  focus() {
    this.input.focus();
    this.input.select();
  }

  /** @param {string} query */
  #submit(query) {
    this.query = query;
    this.dispatchEvent(new CustomEvent("search", { detail: query.trim() }));
  }

  #offer() {
    const { input, list, clear } = this;
    clear.hidden = !input.value;
    // In the middle of a query, completing would cut off what follows.
    const atEnd = input.selectionStart === input.value.length;
    this.offered = atEnd ? completions(input.value, this.#labels) : [];
    this.chosen = -1;
    fill(
      list,
      ...this.offered.map(({ shown, note }, index) =>
        h("li", { role: "option", id: `completion-${index}`, "aria-selected": "false" }, h("span", {}, shown), h("small", {}, note)),
      ),
    );
    list.hidden = !this.offered.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
    input.removeAttribute("aria-activedescendant");
  }

  #close() {
    const { input, list } = this;
    this.offered = [];
    this.chosen = -1;
    fill(list);
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { offered } = this;
    if ((event.key === "ArrowDown" || event.key === "ArrowUp") && offered.length) {
      const places = offered.length + 1; // none is chosen, too
      const step = event.key === "ArrowDown" ? 1 : -1;
      this.#choose(((this.chosen + 1 + step + places) % places) - 1);
    } else if (event.key === "ArrowDown") this.dispatchEvent(new CustomEvent("leave"));
    else if ((event.key === "Enter" || event.key === "Tab") && this.chosen >= 0) this.#take(this.chosen);
    else if (event.key === "Escape" && offered.length) this.#close();
    else return;
    event.preventDefault();
  }

  /** @param {number} index */
  #choose(index) {
    this.chosen = index;
    for (const [i, option] of [...this.list.children].entries()) {
      option.setAttribute("aria-selected", String(i === index));
      if (i === index) option.scrollIntoView({ block: "nearest" });
    }
    if (index < 0) this.input.removeAttribute("aria-activedescendant");
    else this.input.setAttribute("aria-activedescendant", `completion-${index}`);
  }

  /** @param {number} index */
  #take(index) {
    const { input } = this;
    const { text } = this.offered[index] ?? {};
    if (text === undefined) return;
    input.value = text;
    input.focus();
    input.setSelectionRange(text.length, text.length);
    this.#close();
    if (/\s$/.test(text)) this.#offer();
  }
}

customElements.define("zs-search-box", SearchBox);
