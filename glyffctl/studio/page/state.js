const at = (id) => document.getElementById(id);
const columns = 4, count = 16, mostSheets = 60;
const examples = ["lithium", "a kind of bird", "to speak", "bamboo basket", "deep water"];

const token = new URLSearchParams(location.search).get("token");
const here = crypto.randomUUID();  // this window, to the server: it draws one sheet at a time

let about = null;     // what the server says of its model and data
let stops = [];       // of the slider of steps: { passes } of the student, { steps } of the whole model
let sheets = [];      // { names, bitmap, title }: what was drawn, the oldest first
let shown = -1;       // which of them is seen
let running = null;   // AbortController of what this window draws
let chosen = null;    // { name, prompt, seed, … } of the glyph in the panel
let strip = null;     // ImageBitmap of its steps, from left to right
let playing = 0;
let collected = [];

const element = (kind, text = "") => {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
};

/** A canvas of `size` pixels with a part of a bitmap on it. */
const paper = (size) => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  return canvas;
};

const quoted = (words) => (words.trim() ? `“${words}”` : "(no prompt)");
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const decoded = (text) => createImageBitmap(new Blob([bytes(text)], { type: "image/png" }));

/** Put text where the page speaks; `wrong` marks what needs attention. */
function say(id, text, wrong = false) {
  at(id).textContent = text;
  at(id).classList.toggle("wrong", wrong);
}
