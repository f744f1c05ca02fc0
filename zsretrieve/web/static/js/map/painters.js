/**
 * What draws points: WebGL2, or the plain canvas where there is none. A picture is drawn bit by bit out of sight, and
 * then shown wherever it is in the view, until the next one is there.
 *
 * @typedef {Object} Look
 * @property {number} ratio  device pixels per pixel
 * @property {number} size  of a point, in pixels
 * @property {number[][]} colours  red, green and blue in 0..1; the first is that of images without a label
 * @property {number} opacity
 *
 * @typedef {[number, number, number, number]} Box  left, top, width and height in pixels of the view
 *
 * @typedef {{texture: WebGLTexture, frame: WebGLFramebuffer}} Target
 *
 * @typedef {Object} Painter
 * @property {HTMLCanvasElement} canvas
 * @property {number} most  points that it draws in reasonable time
 * @property {(camera: import("./camera.js").Camera, look: Look) => void} begin  begin another picture
 * @property {(start: number, end: number) => void} draw  add a run of places to it
 * @property {() => void} flush  start what was asked for
 * @property {boolean} busy  whether that still goes on
 * @property {() => void} keep  the picture is complete
 * @property {(camera: import("./camera.js").Camera, look: Look, runs: [number, number][], box: Box|null) => void} show
 *   show runs of places, and over them the last picture, if it has a place
 * @property {() => void} end  give back what it holds
 */

export const COLOURS = 32;
const PLAIN_MOST = 50_000;

const VERTEX = `#version 300 es
layout(location = 0) in vec2 place;
layout(location = 1) in float colour;
uniform vec2 centre, scale;
uniform float size;
uniform vec3 colours[${COLOURS}];
out vec3 ink;
void main() {
  gl_Position = vec4((place - centre) * scale, 0, 1);
  gl_PointSize = size;
  ink = colours[int(colour)];
}`;
// Points of a few pixels are squares, which cost less and look the same.
const FRAGMENT = `#version 300 es
precision highp float;
in vec3 ink;
uniform float opacity, size;
out vec4 drawn;
void main() {
  float cover = 1.0;
  if (size > 3.0) {
    float away = length(gl_PointCoord - 0.5) * size;
    cover = clamp(size * 0.5 - away, 0.0, 1.0);
  }
  drawn = vec4(ink, 1) * opacity * cover;
}`;

const QUAD = `#version 300 es
uniform vec4 box;
out vec2 at;
void main() {
  at = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  gl_Position = vec4(box.xy + at * box.zw, 0, 1);
}`;
const COPY = `#version 300 es
precision highp float;
uniform sampler2D picture;
in vec2 at;
out vec4 drawn;
void main() { drawn = texture(picture, at); }`;

/**
 * The best painter that the browser has.
 *
 * @param {import("./points.js").Points} points
 * @returns {Painter}
 */
export function painterOf(points) {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { antialias: false, depth: false });
  return gl ? new GlPainter(canvas, gl, points) : new PlainPainter(points);
}

/** The number of a label's colour. @param {number} label */
const colourOf = (label) => (label < 0 ? 0 : 1 + (label % (COLOURS - 1)));

/** @implements {Painter} */
class GlPainter {
  most = Infinity;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {WebGL2RenderingContext} gl
   * @param {import("./points.js").Points} points
   */
  constructor(canvas, gl, points) {
    this.canvas = canvas;
    this.gl = gl;
    this.points = points;
    /** @type {WebGLSync|null} */
    this.fence = null;
    this.#prepare();
    // A driver that was reset gives everything back empty.
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => this.#prepare());
  }

  #prepare() {
    const { gl, points } = this;
    this.dots = this.#program(VERTEX, FRAGMENT);
    this.copy = this.#program(QUAD, COPY);
    const colours = new Uint8Array(points.n);
    for (let i = 0; i < points.n; i += 1) colours[i] = colourOf(points.labels[i]);
    for (const [location, data, width, type] of /** @type {[number, ArrayBufferView, number, number][]} */ ([[0, points.xy, 2, gl.FLOAT], [1, colours, 1, gl.UNSIGNED_BYTE]])) {
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(location);
      gl.vertexAttribPointer(location, width, type, false, 0, 0);
    }
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.clearColor(0, 0, 0, 0);
    /** Where a picture is drawn, and the last one. @type {Target} */
    this.next = { texture: gl.createTexture(), frame: gl.createFramebuffer() };
    /** @type {Target} */
    this.kept = { texture: gl.createTexture(), frame: gl.createFramebuffer() };
  }

  /**
   * @param {string} vertex
   * @param {string} fragment
   */
  #program(vertex, fragment) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of /** @type {[number, string][]} */ ([[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]])) {
      const shader = /** @type {WebGLShader} */ (gl.createShader(kind));
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    return program;
  }

  /**
   * @param {import("./camera.js").Camera} camera
   * @param {Look} look
   */
  begin(camera, look) {
    const { gl, next } = this;
    if (!next) return;
    const [w, h] = [Math.round(camera.width * look.ratio), Math.round(camera.height * look.ratio)];
    gl.bindTexture(gl.TEXTURE_2D, next.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, w, h, 0, gl.RGBA, gl.UNSIGNED_BYTE, null);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    gl.bindFramebuffer(gl.FRAMEBUFFER, next.frame);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, next.texture, 0);
    this.#aim(w, h, camera, look);
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  /**
   * @param {number} w
   * @param {number} h
   * @param {import("./camera.js").Camera} camera
   * @param {Look} look
   */
  #aim(w, h, camera, look) {
    const { gl } = this;
    const at = (/** @type {string} */ name) => gl.getUniformLocation(/** @type {WebGLProgram} */ (this.dots), name);
    gl.viewport(0, 0, w, h);
    gl.useProgram(this.dots ?? null);
    gl.uniform2f(at("centre"), camera.at.x, camera.at.y);
    gl.uniform2f(at("scale"), (2 * camera.scale) / camera.width, (2 * camera.scale) / camera.height);
    gl.uniform1f(at("size"), look.size * look.ratio);
    gl.uniform1f(at("opacity"), look.opacity);
    gl.uniform3fv(at("colours"), Float32Array.from(look.colours.flat()));
    gl.enable(gl.BLEND);
  }

  /**
   * @param {number} start
   * @param {number} end
   */
  draw(start, end) {
    this.gl.drawArrays(this.gl.POINTS, start, end - start);
  }

  flush() {
    const { gl } = this;
    if (this.fence) gl.deleteSync(this.fence);
    this.fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
  }

  get busy() {
    const { gl, fence } = this;
    return Boolean(fence) && !gl.isContextLost() && gl.getSyncParameter(/** @type {WebGLSync} */ (fence), gl.SYNC_STATUS) !== gl.SIGNALED;
  }

  keep() {
    const { next, kept } = this;
    this.next = kept;
    this.kept = next;
  }

  /**
   * @param {import("./camera.js").Camera} camera
   * @param {Look} look
   * @param {[number, number][]} runs
   * @param {Box|null} box
   */
  show(camera, look, runs, box) {
    const { gl, canvas } = this;
    fit(canvas, camera, look.ratio);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    this.#aim(canvas.width, canvas.height, camera, look);
    gl.clear(gl.COLOR_BUFFER_BIT);
    for (const [start, end] of runs) this.draw(start, end);
    if (!box || !this.kept) return;
    const [left, top, width, height] = box;
    gl.disable(gl.BLEND);
    gl.useProgram(this.copy ?? null);
    gl.bindTexture(gl.TEXTURE_2D, this.kept.texture);
    const at = gl.getUniformLocation(/** @type {WebGLProgram} */ (this.copy), "box");
    gl.uniform4f(at, (2 * left) / camera.width - 1, 1 - (2 * (top + height)) / camera.height, (2 * width) / camera.width, (2 * height) / camera.height);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }

  end() {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

/** @implements {Painter} */
class PlainPainter {
  most = PLAIN_MOST;
  busy = false;

  /** @param {import("./points.js").Points} points */
  constructor(points) {
    this.points = points;
    this.canvas = document.createElement("canvas");
    /** Where a picture is drawn, and the last one. */
    this.next = document.createElement("canvas");
    this.kept = document.createElement("canvas");
  }

  /**
   * @param {import("./camera.js").Camera} camera
   * @param {Look} look
   */
  begin(camera, look) {
    this.#aim(this.next, camera, look);
  }

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./camera.js").Camera} camera
   * @param {Look} look
   */
  #aim(canvas, camera, look) {
    fit(canvas, camera, look.ratio);
    const paper = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    paper.setTransform(look.ratio, 0, 0, look.ratio, 0, 0);
    paper.clearRect(0, 0, camera.width, camera.height);
    paper.globalAlpha = look.opacity;
    const inks = look.colours.map((colour) => `rgb(${colour.map((part) => Math.round(part * 255)).join(" ")})`);
    this.draw = (start, end) => {
      const { xy, labels } = this.points;
      for (let i = start; i < end; i += 1) {
        const [left, top] = camera.toScreen(xy[2 * i], xy[2 * i + 1]);
        paper.fillStyle = inks[colourOf(labels[i])];
        paper.fillRect(left - look.size / 2, top - look.size / 2, look.size, look.size);
      }
    };
    return paper;
  }

  /** @type {(start: number, end: number) => void} */
  draw = () => {};

  flush() {}

  end() {}

  keep() {
    [this.next, this.kept] = [this.kept, this.next];
  }

  /**
   * @param {import("./camera.js").Camera} camera
   * @param {Look} look
   * @param {[number, number][]} runs
   * @param {Box|null} box
   */
  show(camera, look, runs, box) {
    const paper = this.#aim(this.canvas, camera, look);
    for (const [start, end] of runs) this.draw(start, end);
    if (!box) return;
    paper.globalAlpha = 1;
    paper.clearRect(...box);
    paper.drawImage(this.kept, ...box);
  }
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {import("./camera.js").Camera} camera
 * @param {number} ratio
 */
export function fit(canvas, { width, height }, ratio) {
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
}
