const at = (id) => document.getElementById(id);
const data = JSON.parse(at("data").textContent);
at("data").remove();

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const places = new Uint16Array(bytes(data.places).buffer);  // x and y of each glyph, over the square of the density
const characterOf = new Int32Array(bytes(data.characterOf).buffer);
const fontOf = new Int16Array(bytes(data.fontOf).buffer);
const count = characterOf.length;
const colourings = data.colourings.map((c) => ({
  ...c, of: c.of ? new Int16Array(bytes(c.of).buffer) : null, values: c.values ? bytes(c.values) : null,
  slots: c.labels ? c.labels.slice(0, data.named).map((_, k) => k) : [],  // the labels that have a colour, by colour
  added: [],                                                              // those of them that were asked for
}));
const NO_NUMBER = 255;  // among the values of a scale
const near = new (count > 65536 ? Int32Array : Uint16Array)(bytes(data.near).buffer);  // rows of the glyphs most alike
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const x = (i) => places[2 * i] / 65535;
const y = (i) => places[2 * i + 1] / 65535;

// What is seen: `middle` of the window in the unit square, pixels of the screen to its side, and what stands out.
const view = { x: 0.5, y: 0.5, scale: 1 };
let home = 1, ratio = 1, width = 1, height = 1, flight = 0, asked = false;
let chosen = null;      // Uint32Array of glyphs that stand out, or null
let standsOut = null;   // Uint8Array, 255 for each glyph that stands out; all of them do when none is chosen
let pressed = -2;       // the group that stands out, a label of the colouring: -1 for all others, -2 for none
let inside = [];        // the corners of what was drawn around, [u, v] each
let picked = null;      // { glyph } or { marked }: whose neighbours are listed
let hovered = null;     // { glyph } or { marked }: what the card shows
let kept = false;       // the card stays when the pointer leaves: a finger lifts, and a flight has no pointer
let colouring = data.initial;

// As in page.css: little room, so the legend is folded until asked for and the list gives way to the map.
const narrow = matchMedia("(max-width: 720px), (max-height: 480px)");

const canvas = at("map"), lines = at("lines"), pen = lines.getContext("2d");
let covers = [];        // the boxes of the panels
const sheets = [];      // decoded pages of thumbnails
