// Runs before the first paint, so that a remembered theme never flashes.
"use strict";
try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Storage is blocked: the system's scheme applies.
}
