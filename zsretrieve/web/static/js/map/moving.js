/** Moving a map by mouse, touch and keys. */

const STEP = 0.15; // of the view, by an arrow key
const CLICK = 5; // pixels that a click may move
const REACH = 14; // pixels from a point that still mean it

/**
 * @param {import("./canvas.js").MapCanvas} map
 * @param {HTMLCanvasElement} canvas
 */
export function listen(map, canvas) {
  const { camera } = map;
  /** @type {Map<number, {x: number, y: number}>} */
  const fingers = new Map();
  let travelled = 0;
  /** @type {[number, number][]|null} */
  let lasso = null;
  const fire = (/** @type {string} */ name, /** @type {any} */ detail) => map.dispatchEvent(new CustomEvent(name, { detail }));

  const at = (/** @type {MouseEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const placeAt = (/** @type {{x: number, y: number}} */ { x, y }) => {
    const shown = map.overlay.placeAt(x, y);
    if (shown >= 0) return shown;
    const [mapX, mapY] = camera.toMap(x, y);
    return map.data?.points.nearest(mapX, mapY, REACH / camera.scale) ?? -1;
  };
  const spread = () => {
    const [a, b] = [...fingers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, distance: Math.hypot(a.x - b.x, a.y - b.y) };
  };
  const draw = () => {
    map.overlay.lasso = lasso;
    map.draw();
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !map.data) return;
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, at(event));
    travelled = 0;
    const { x, y } = at(event);
    lasso = fingers.size === 1 && (map.lassoing || event.shiftKey) ? [[x, y]] : null;
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!map.data) return;
    const now = at(event);
    const before = fingers.get(event.pointerId);
    if (!before) {
      const place = placeAt(now);
      canvas.classList.toggle("pointing", place >= 0);
      fire("point", place < 0 ? null : { place, left: now.x, top: now.y });
      return;
    }
    travelled += Math.hypot(now.x - before.x, now.y - before.y);
    if (travelled > CLICK) fire("point", null);
    if (fingers.size === 2) {
      const was = spread();
      fingers.set(event.pointerId, now);
      const is = spread();
      camera.pan(is.x - was.x, is.y - was.y);
      camera.zoom(is.distance / Math.max(1, was.distance), is.x, is.y);
      map.moved();
      return;
    }
    fingers.set(event.pointerId, now);
    if (lasso) {
      lasso.push([now.x, now.y]);
      draw();
    } else if (travelled > CLICK) {
      camera.pan(now.x - before.x, now.y - before.y);
      map.moved();
    }
  });
  const up = (/** @type {PointerEvent} */ event) => {
    if (!fingers.delete(event.pointerId)) return;
    const corners = lasso;
    lasso = null;
    draw();
    if (event.type === "pointercancel") return;
    if (travelled > CLICK) {
      if (corners && map.data) fire("lasso", map.data.points.inside(corners.map(([x, y]) => camera.toMap(x, y))));
      return;
    }
    const place = fingers.size ? -1 : placeAt(at(event));
    if (place >= 0) fire(event.shiftKey ? "pick" : "open", place);
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => fire("point", null));
  const wheel = (/** @type {WheelEvent} */ event) => {
    if (!map.data) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const { x, y } = at(event);
    camera.zoom(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) * 0.0022), x, y);
    fire("point", null);
    map.moved();
  };
  canvas.addEventListener("wheel", wheel, { passive: false });
  canvas.addEventListener("focus", () => map.draw());
  canvas.addEventListener("blur", () => map.draw());

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !map.data) return;
    const [right, down] = [camera.width * STEP, camera.height * STEP];
    /** @type {Record<string, () => void>} */
    const moves = {
      ArrowLeft: () => camera.pan(right, 0),
      ArrowRight: () => camera.pan(-right, 0),
      ArrowUp: () => camera.pan(0, down),
      ArrowDown: () => camera.pan(0, -down),
      "+": () => camera.zoom(1.5),
      "=": () => camera.zoom(1.5),
      "-": () => camera.zoom(1 / 1.5),
      0: () => camera.look(camera.all),
    };
    const centre = map.overlay.centre;
    if (moves[event.key]) {
      moves[event.key]();
      map.moved();
    } else if (event.key === "Enter" && centre >= 0) fire("open", centre);
    else if (event.key === "x" && centre >= 0) fire("pick", centre);
    else return;
    event.preventDefault();
  });
}
