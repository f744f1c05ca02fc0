/** The server's API, and where its images are. */

const BASE = new URL("api/v1/", document.baseURI);

/** What went wrong with a request: what the server said, or that it did not answer (`status` 0). */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {string} hint
   * @param {number} status
   * @param {number} [wait]  seconds after which to try again
   */
  constructor(message, hint, status, wait = 0) {
    super(message);
    this.hint = hint;
    this.status = status;
    this.wait = wait;
  }
}

/**
 * Ask the server.
 *
 * @param {string} path  below /api/v1/
 * @param {{body?: any, raw?: Blob, method?: string, signal?: AbortSignal}} [options]  a body makes it a POST
 * @returns {Promise<any>} the JSON answer, or the text of one that is no JSON
 * @throws {ApiError}
 */
export async function ask(path, { body, raw, method, signal } = {}) {
  /** @type {RequestInit} */
  const options = { method, signal, headers: { Accept: "application/json" } };
  if (raw) Object.assign(options, { method: "POST", body: raw });
  else if (body !== undefined) {
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
    options.headers = { Accept: "application/json", "Content-Type": "application/json" };
  }
  const response = await answerOf(path, options);
  return response.headers.get("Content-Type")?.startsWith("application/json") ? response.json() : response.text();
}

/**
 * Ask for an array of numbers, with what distinguishes its versions.
 *
 * @param {string} path  below /api/v1/
 * @param {AbortSignal} signal
 * @returns {Promise<{data: ArrayBuffer, etag: string}>}
 * @throws {ApiError}
 */
export async function askNumbers(path, signal) {
  const response = await answerOf(path, { signal });
  return { data: await response.arrayBuffer(), etag: response.headers.get("ETag") ?? "" };
}

/**
 * @param {string} path
 * @param {RequestInit} options
 */
async function answerOf(path, options) {
  let response;
  try {
    response = await fetch(new URL(path, BASE), options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError("The server does not answer.", "Check that zsretrieve serve is still running.", 0, 3);
  }
  if (response.ok) return response;
  throw await failure(response);
}

/** @param {Response} response */
async function failure(response) {
  const { status } = response;
  const answer = await response.json().catch(() => ({}));
  const { message = `The server answered with status ${status}.`, hint = "" } = answer.error ?? {};
  if (status === 503) {
    const wait = Number(response.headers.get("Retry-After")) || 2;
    return new ApiError("The server is busy.", "", status, Math.max(1, wait));
  }
  if (status === 401) {
    return new ApiError("This server asks for a token.", "Open the full address that zsretrieve serve printed.", status);
  }
  return new ApiError(message, hint, status);
}

/** @param {string} gallery */
export const galleryPath = (gallery) => `galleries/${encodeURIComponent(gallery)}`;

/**
 * @param {string} gallery
 * @param {number|string} id
 * @param {128|256|512} size
 */
export const thumbnail = (gallery, id, size) =>
  new URL(`${galleryPath(gallery)}/items/${id}/thumbnail?size=${size}`, BASE).href;

/**
 * @param {string} gallery
 * @param {number} id
 */
export const image = (gallery, id) => new URL(`${galleryPath(gallery)}/items/${id}/image`, BASE).href;

/**
 * @param {string} upload
 * @param {128|256|512} size
 */
export const uploadThumbnail = (upload, size) =>
  new URL(`uploads/${encodeURIComponent(upload)}/thumbnail?size=${size}`, BASE).href;
