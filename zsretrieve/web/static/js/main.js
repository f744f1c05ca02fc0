/** Starts the page: header, tabs, the view of the address. */

import { App } from "./app.js";
import { fill, h, icon, iconButton, isTyping, refill } from "./dom.js";
import { stateLink } from "./elements/link.js";
import { notice } from "./elements/notice.js";
import { count } from "./format.js";
import { showKeys } from "./keys.js";
import { empty } from "./state.js";
import { VIEWS } from "./views.js";

const app = new App();
const page = /** @type {HTMLElement} */ (document.getElementById("page"));
const nav = /** @type {HTMLElement} */ (document.getElementById("views"));

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
    galleries.length > 1 || (galleries.length && !chosen)
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
          !chosen && h("option", { value: "", selected: true, disabled: true }, "Choose a gallery"),
          ...galleries.map(({ name, n_images }) => h("option", { value: name, selected: name === chosen?.name }, `${name} (${count(n_images)})`)),
        )
      : h("span", { class: "soft" }, chosen?.name);
  refill(
    /** @type {HTMLElement} */ (document.getElementById("brand")),
    stateLink(app, { ...empty(), g: chosen ? app.state.g : "" }, { class: "name", "aria-label": "zsretrieve: all images" }, icon("search"), h("span", {}, "zsretrieve")),
    switcher,
  );
  fill(
    /** @type {HTMLElement} */ (document.getElementById("tools")),
    iconButton("theme", "Light or dark", toggleTheme),
    iconButton("keys", "Keys", showKeys),
  );
  fill(nav, ...VIEWS.filter((one) => chosen && one.fits(chosen, app)).map(({ name, title }) => stateLink(app, viewOf(name), { "data-view": name }, title)));
  nav.hidden = nav.children.length < 2;
}

/** @param {string} view  the state that shows it */
const viewOf = (view) => ({ view, id: null, own: {} });

/** The view that is open: the first where the address names none that there is. */
const opened = () => VIEWS.find(({ name }) => name === app.state.view) ?? VIEWS[0];

/** Show which view is open, and what the others would show. */
function tabs() {
  for (const link of nav.querySelectorAll("a")) {
    const { view = "" } = link.dataset;
    link.href = app.link(viewOf(view));
    if (view === opened().name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/**
 * @param {import("./types.js").State|null} before
 * @param {import("./app.js").Place|null} place
 */
async function update(before, place) {
  const { gallery, state } = app;
  if (before && before.g !== state.g) header();
  tabs();
  if (!gallery) {
    view?.unmount();
    [view, mounted] = [null, ""];
    const { galleries } = app.catalogue;
    const title = state.g ? `There is no gallery named “${state.g}” here.` : "This server has no gallery.";
    const text = galleries.length ? "Choose another:" : "Start it with one: zsretrieve serve GALLERY";
    const actions = galleries.map(({ name }) => stateLink(app, { ...empty(), q: state.q, g: name }, { class: "button" }, name));
    fill(page, notice({ title, text, actions }));
    return;
  }
  const entry = opened();
  const wanted = `${gallery.name} ${entry.name}`;
  if (wanted !== mounted) {
    view?.unmount();
    [view, mounted] = [null, wanted];
    const module = await entry.load().catch((error) => {
      // What failed to load once, some browsers never load again.
      fill(page, notice({ error, title: "The view cannot be loaded.", text: "Check that zsretrieve serve is still running.", again: () => location.reload() }));
    });
    if (!module || mounted !== wanted) return;
    fill(page);
    view = module.mount(page, app);
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
  if (event.key === "?") showKeys();
  else if (!view?.key?.(event)) {
    if (event.key !== "Escape" || !app.selection.size) return;
    app.selection.clear();
  }
  event.preventDefault();
});

async function start() {
  // The view loads while the galleries are on their way; `update` says what goes wrong.
  VIEWS.find(({ name }) => name === app.state.view)?.load().catch(() => {});
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
