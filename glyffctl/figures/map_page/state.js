const at = (id) => document.getElementById(id);
const data = JSON.parse(at("data").textContent);
at("data").remove();

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const places = new Uint16Array(bytes(data.places).buffer);  // x and y of each glyph, over the square of the density
const characterOf = new Int32Array(bytes(data.characterOf).buffer);
const fontOf = new Int16Array(bytes(data.fontOf).buffer);
const count = characterOf.length;
const colourings = data.colourings.map((c) => ({
  ...c, of: c.of ? new Int8Array(bytes(c.of).buffer) : null, values: c.values ? bytes(c.values) : null,
}));
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const x = (i) => places[2 * i] / 65535;
const y = (i) => places[2 * i + 1] / 65535;

// What is seen: `middle` of the window in the unit square, pixels of the screen to its side, and what stands out.
const view = { x: 0.5, y: 0.5, scale: 1 };
let home = 1, ratio = 1, width = 1, height = 1, flight = 0, asked = false;
let chosen = null;      // Uint32Array of glyphs that stand out, or null
let standsOut = null;   // Uint8Array, 255 for each glyph that stands out; all of them do when none is chosen
let pressed = -2;       // the group that stands out: -1 for all others, -2 for none
let hovered = null;     // { glyph } or { marked }: what the card shows
let kept = false;       // the card stays when the pointer leaves: a finger lifts, and a flight has no pointer
let colouring = data.initial;

// As in page.css: little room, so the legend is folded until asked for and the list gives way to the map.
const narrow = matchMedia("(max-width: 720px), (max-height: 480px)");

const canvas = at("map"), lines = at("lines"), pen = lines.getContext("2d");
const sheets = [];      // decoded pages of thumbnails
