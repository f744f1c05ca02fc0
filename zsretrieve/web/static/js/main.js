/** Starts the page: header, tabs, the view of the address. */

import { App } from "./app.js";
import { fill, h, icon, iconButton, isTyping } from "./dom.js";
import { count } from "./format.js";
import { keysDialog } from "./keys.js";
import { notice } from "./elements/notice.js";
import { VIEWS } from "./views.js";

const app = new App();
const page = /** @type {HTMLElement} */ (document.getElementById("page"));
const dialog = keysDialog();
document.body.append(dialog);

/** @type {import("./views.js").View|null} */
let view = null;
let mounted = "";

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // Storage is blocked: the choice holds for this page.
  }
}

function header() {
  const { galleries } = app.catalogue;
  const chosen = app.gallery;
  const switcher =
    galleries.length > 1
      ? h(
          "select",
          {
            id: "gallery",
            "aria-label": "Gallery",
            // What describes images of one gallery means nothing in another; the words do.
            onchange: (/** @type {Event} */ event) =>
              app.go({
                g: /** @type {HTMLSelectElement} */ (event.target).value,
                t: app.state.t.filter(({ kind }) => kind !== "id"),
                more: [], less: [], where: "", id: null, sel: [], p: "", at: null, bar: "", own: {},
              }),
          },
          ...galleries.map(({ name, n_images }) => h("option", { value: name, selected: name === chosen?.name }, `${name} (${count(n_images)})`)),
        )
      : h("span", { class: "soft" }, chosen?.name ?? "");
  fill(
    /** @type {HTMLElement} */ (document.getElementById("brand")),
    h("a", { href: app.gallery ? `?g=${encodeURIComponent(app.gallery.name)}` : "?", class: "name", "aria-label": "zsretrieve: all images", onclick: home }, icon("search"), h("span", {}, "zsretrieve")),
    switcher,
  );
  fill(
    /** @type {HTMLElement} */ (document.getElementById("tools")),
    iconButton("theme", "Light or dark", toggleTheme),
    iconButton("keys", "Keys", () => dialog.showModal()),
  );
  tabs();
}

/** @param {MouseEvent} event */
function home(event) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  app.go({ view: "search", q: "", t: [], more: [], less: [], where: "", order: "score", dedup: false, near: null, min: null, id: null, sel: [], at: null, own: {} });
}

function tabs() {
  const nav = /** @type {HTMLElement} */ (document.getElementById("views"));
  const { gallery } = app;
  const fitting = gallery ? VIEWS.filter((one) => one.fits(gallery, app)) : [];
  nav.hidden = fitting.length < 2;
  fill(
    nav,
    ...fitting.map(({ name, title }) =>
      h(
        "a",
        {
          href: app.link({ view: name, id: null, own: {} }),
          "aria-current": name === app.state.view ? "page" : null,
          onclick: (/** @type {MouseEvent} */ event) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey) return;
            event.preventDefault();
            app.go({ view: name, id: null, own: {} });
          },
        },
        title,
      ),
    ),
  );
}

/**
 * @param {import("./types.js").State|null} before
 * @param {import("./app.js").Place|null} place
 */
async function update(before, place) {
  const { gallery, state } = app;
  if (!gallery) {
    view?.unmount();
    [view, mounted] = [null, ""];
    const message = state.g ? `There is no gallery named “${state.g}” here.` : "This server has no gallery.";
    fill(page, notice({ title: message, text: state.g ? "Choose one above." : "Start it with one: zsretrieve serve GALLERY" }));
    return;
  }
  if (before && before.g !== state.g) header();
  else if (before && before.view !== state.view) tabs();
  const entry = VIEWS.find(({ name }) => name === state.view) ?? VIEWS[0];
  const wanted = `${gallery.name} ${entry.name}`;
  if (wanted !== mounted) {
    view?.unmount();
    [view, mounted] = [null, wanted];
    const { mount } = await entry.load();
    if (mounted !== wanted) return;
    fill(page);
    view = mount(page, app);
    view.update(null, place);
  } else view?.update(before, place);
}

app.addEventListener("catalogue", () => {
  header();
  // What the view shows may have changed, too.
  app.keepPlace();
  mounted = "";
  update(null, history.state);
});

app.addEventListener("state", (event) => {
  const { before, place } = /** @type {CustomEvent} */ (event).detail;
  update(before, place);
});

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
  if (event.key === "?") dialog.showModal();
  else if (dialog.open || !view?.key?.(event)) return;
  event.preventDefault();
});

async function start() {
  try {
    await app.start();
  } catch (error) {
    fill(page, notice({ error, again: start }));
    return;
  }
  header();
  await update(null, history.state ?? {});
}

start();
