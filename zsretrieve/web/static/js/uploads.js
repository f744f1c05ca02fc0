/** Images that people bring: dropped, pasted or picked. */

import { ask } from "./api.js";

/**
 * Send an image to the server, which keeps it for links.
 *
 * @param {Blob} file
 * @returns {Promise<import("./types.js").Term>}
 */
export async function upload(file) {
  const { upload: value } = await ask("uploads", { raw: file });
  return { kind: "upload", value, weight: 1, box: null };
}

/**
 * Take images that are pasted or dropped anywhere, and images of the grid that are dropped on the page.
 *
 * @param {{onfile: (file: Blob) => void, onid: (id: number) => void, onother: (message: string) => void}} take
 * @returns {() => void} ends it
 */
export function receive({ onfile, onid, onother }) {
  const stop = new AbortController();
  const { signal } = stop;
  const root = document.documentElement;
  let depth = 0;
  const carries = (/** @type {DragEvent} */ event) => ["Files", "application/x-zsretrieve-id"].some((type) => event.dataTransfer?.types.includes(type));
  const leave = () => {
    depth = 0;
    delete root.dataset.dropping;
  };
  document.addEventListener("dragenter", (event) => {
    if (!carries(event)) return;
    depth += 1;
    if (event.dataTransfer?.types.includes("Files")) root.dataset.dropping = "";
  }, { signal });
  document.addEventListener("dragleave", (event) => {
    if (!carries(event)) return;
    depth -= 1;
    if (depth <= 0) leave();
  }, { signal });
  document.addEventListener("dragover", (event) => carries(event) && event.preventDefault(), { signal });
  document.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    leave();
    const id = event.dataTransfer?.getData("application/x-zsretrieve-id");
    const onBox = /** @type {Element} */ (event.target).closest("zs-search-box, zs-terms");
    if (id) {
      if (onBox) onid(Number(id));
    } else first(event.dataTransfer, onfile, onother);
  }, { signal });
  document.addEventListener("paste", (event) => {
    // Text that is pasted goes where the cursor is.
    if (![...(event.clipboardData?.items ?? [])].some(({ kind }) => kind === "file")) return;
    event.preventDefault();
    first(event.clipboardData, onfile, onother);
  }, { signal });
  return () => {
    stop.abort();
    leave();
  };
}

/**
 * @param {DataTransfer|null} data
 * @param {(file: Blob) => void} onfile
 * @param {(message: string) => void} onother
 */
function first(data, onfile, onother) {
  const files = [...(data?.files ?? [])];
  // The server decides what it can read; browsers have no type for some formats.
  const file = files.find(({ type }) => type.startsWith("image/")) ?? files.find(({ type }) => !type);
  if (file) onfile(file);
  else onother("This is not an image.");
}
