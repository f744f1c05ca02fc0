/**
 * The records of the API, as the page reads them.
 *
 * @typedef {[number, number, number, number]} Box  x0, y0, x1, y1 in 0..1 of the upright image
 *
 * @typedef {Object} Item
 * @property {number} id
 * @property {string} name
 * @property {string} path
 * @property {string} folder
 * @property {string|null} label
 * @property {number|null} width  pixels, upright
 * @property {number|null} height
 * @property {number|null} bytes
 * @property {string|null} date  ISO
 * @property {boolean} missing
 * @property {string|null} [text]  of a gallery of texts
 * @property {string|null} [image]  the path of the image that a text describes
 * @property {number|null} [score]
 * @property {number} [rank]
 * @property {Box|null} [box]  the region that fits the search best; null for the whole image
 * @property {{label: string, weight: number, score: number}[]} [terms]
 *
 * @typedef {Item & {classes?: {class_name: string, score: number, probability: number|null}[], neighbours?: Item[]}} Details
 *
 * @typedef {Object} Matching
 * @property {number} threshold
 * @property {number|null} n
 * @property {boolean} nothing
 * @property {number} false_alarms
 *
 * @typedef {Object} Answer
 * @property {Item[]} hits
 * @property {number} total
 * @property {number|null} next
 * @property {string|number} revision
 * @property {number} seconds
 * @property {boolean} exact
 * @property {{queries: string, k: number, recall: {mean: number}}|null} [expected]
 * @property {number} n_missing
 * @property {string} model
 * @property {number} n_images
 * @property {Matching|null} [matching]
 *
 * @typedef {Object} Gallery
 * @property {string} name
 * @property {number} n_images
 * @property {string} model
 * @property {boolean} has_labels
 * @property {boolean} has_map
 * @property {boolean} holds_texts
 * @property {boolean} writable
 * @property {string} revision
 * @property {{label: string, n: number}[]} [labels]
 * @property {{folder: string, n: number}[]} [folders]
 * @property {string|null} [first_date]
 * @property {string|null} [last_date]
 *
 * @typedef {Object} Catalogue
 * @property {Gallery[]} galleries
 * @property {{name: string, n_classes: number, galleries: string[]}[]} prototypes
 * @property {boolean} read_only
 * @property {string} version
 *
 * @typedef {Object} Term  one part of a query that is not in its text
 * @property {"upload"|"id"|"text"} kind
 * @property {string} value
 * @property {number} weight
 * @property {Box|null} box
 *
 * @typedef {{x: number, y: number, zoom: number}} At  the centre of a map's view, and how much it is enlarged
 *
 * @typedef {Object} State  everything a link holds
 * @property {string} view
 * @property {string} g  gallery
 * @property {string} q  query
 * @property {Term[]} t  further terms
 * @property {number[]} more
 * @property {number[]} less
 * @property {string} where
 * @property {"score"|"date"} order
 * @property {boolean} dedup
 * @property {number|null} near  similarity of near-duplicates, if it is not the usual
 * @property {number|null} min  lowest score
 * @property {number|null} id  the open image
 * @property {number[]} sel  selected images
 * @property {string} p  prototypes
 * @property {At|null} at  what is in view of the map, null for all of it
 * @property {string[]} c  classes to classify by, in place of prototypes
 * @property {number|null} over  so many of the best results are classified, null for the whole gallery
 * @property {string} bar  the class whose images are shown
 * @property {Record<string, string>} own  what only the view understands
 */
export {};
