"use strict";
(() => {
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
let pressed = -2;       // the group that stands out: -1 for all others, -2 for none
let hovered = null;     // { glyph } or { marked }
let colouring = data.initial;

const canvas = at("map"), lines = at("lines"), pen = lines.getContext("2d");
const sheets = [];      // decoded pages of thumbnails

// --- drawing ---------------------------------------------------------------------------------------------------

const DOTS = [`#version 300 es
layout(location = 0) in vec2 place;
layout(location = 1) in vec3 colour;
layout(location = 2) in float on;
uniform vec2 middle, reach;
uniform float size;
uniform bool above;
flat out int glyph;
out vec3 tint;
out float shown;
void main() {
  gl_Position = vec4((place - middle) / reach, 0.0, 1.0);
  gl_PointSize = size;
  glyph = gl_VertexID;
  tint = colour;
  shown = above ? 1.0 : on;
}`, `#version 300 es
precision highp float;
precision highp sampler2DArray;
uniform sampler2DArray pages;
uniform float size, across, down, cell, ready;
uniform bool above;
flat in int glyph;
in vec3 tint;
in float shown;
out vec4 colour;
void main() {
  float picture = smoothstep(10.0, 15.0, size) * ready;
  vec2 p = gl_PointCoord;
  float radius = distance(p, vec2(0.5)) * size;
  float disc = clamp(size * 0.5 - radius, 0.0, 1.0);
  float rim = above ? clamp(radius - size * 0.5 + 2.5, 0.0, 1.0) : 0.0;
  vec4 dot = vec4(mix(tint, vec3(0.0), rim), disc * (above ? 1.0 : 0.8));
  int each = int(across * down), spot = glyph % each;
  vec2 corner = vec2(spot % int(across), spot / int(across));
  // Kept half a texel off the neighbours' cells.
  vec2 inside = clamp(p, 0.5 / cell, 1.0 - 0.5 / cell);
  float ink = 1.0 - texture(pages, vec3((corner + inside) / vec2(across, down), float(glyph / each))).r;
  vec2 side = min(p, 1.0 - p) * size;
  float frame = above ? clamp(2.5 - min(side.x, side.y), 0.0, 1.0) : 0.0;
  vec3 stroke = shown < 0.5 ? vec3(0.85) : tint * 0.72;
  if (shown < 0.5) dot = vec4(vec3(0.82), dot.a * 0.45);
  vec4 drawn = vec4(mix(mix(vec3(1.0), stroke, ink), tint * 0.8, frame), max(max(ink, frame), above ? 1.0 : 0.7));
  colour = mix(dot, drawn, picture);
  if (colour.a < 0.01) discard;
}`];

const FIELD = [`#version 300 es
uniform vec2 middle, reach;
out vec2 spot;
void main() {
  spot = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  gl_Position = vec4((spot - middle) / reach, 0.0, 1.0);
}`, `#version 300 es
precision highp float;
uniform sampler2D field;
uniform vec3 ramp[5];
in vec2 spot;
out vec4 colour;
void main() {
  float value = texture(field, spot).r * 4.0;
  int i = int(min(value, 3.0));
  colour = vec4(mix(ramp[i], ramp[i + 1], value - float(i)), 1.0);
}`];

const RAMP = data.ramp.map(rgb);
const ramped = (v) => { const t = v * 4, i = Math.min(3, Math.floor(t)); return RAMP[i].map((c, k) => c + (RAMP[i + 1][k] - c) * (t - i)); };

let gl, dots, field, buffers, texture, ready = 0;

function sorry(text) { at("sorry").textContent = text; at("sorry").classList.add("shown"); }

function program([vertex, fragment]) {
  const made = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(made));
  const uniform = {};
  for (let i = 0; i < gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS); i++) {
    const name = gl.getActiveUniform(made, i).name;
    uniform[name.replace("[0]", "")] = gl.getUniformLocation(made, name);
  }
  return { made, uniform };
}

function attribute(where, content, size, kind) {
  const buffer = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.bufferData(gl.ARRAY_BUFFER, content, gl.STATIC_DRAW);
  gl.enableVertexAttribArray(where);
  gl.vertexAttribPointer(where, size, kind, true, 0, 0);
  return buffer;
}

function begin() {
  gl = canvas.getContext("webgl2", { antialias: false, alpha: false, preserveDrawingBuffer: false });
  if (!gl) { sorry("This map is drawn with WebGL 2, which this browser does not have or has switched off."); return false; }
  dots = program(DOTS);
  field = program(FIELD);
  buffers = {
    place: attribute(0, places, 2, gl.UNSIGNED_SHORT),
    colour: attribute(1, new Uint8Array(4 * count), 3, gl.UNSIGNED_BYTE),
    on: attribute(2, new Uint8Array(count).fill(255), 1, gl.UNSIGNED_BYTE),
    chosen: gl.createBuffer(),
  };
  gl.bindBuffer(gl.ARRAY_BUFFER, buffers.colour);
  gl.vertexAttribPointer(1, 3, gl.UNSIGNED_BYTE, true, 4, 0);
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  gl.activeTexture(gl.TEXTURE1);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  const side = data.cells;
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, side, side, 0, gl.RED, gl.UNSIGNED_BYTE, bytes(data.density));
  for (const [name, value] of [[gl.TEXTURE_MIN_FILTER, gl.LINEAR], [gl.TEXTURE_MAG_FILTER, gl.LINEAR],
    [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]]) gl.texParameteri(gl.TEXTURE_2D, name, value);
  gl.activeTexture(gl.TEXTURE0);
  texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
  gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 3, gl.R8, data.across * data.cell, data.down * data.cell, data.pages.length);
  gl.texParameteri(gl.TEXTURE_2D_ARRAY, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  gl.texParameteri(gl.TEXTURE_2D_ARRAY, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
  gl.texParameteri(gl.TEXTURE_2D_ARRAY, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D_ARRAY, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
  recolour();
  mark();
  return true;
}

async function decode() {
  for (let k = 0; k < data.pages.length; k++) {
    sheets[k] ??= await createImageBitmap(new Blob([bytes(data.pages[k])], { type: "image/webp" }),
      { premultiplyAlpha: "none", colorSpaceConversion: "none" });
    data.pages[k] = "";
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
    gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, 0, k, sheets[k].width, sheets[k].height, 1, gl.RED, gl.UNSIGNED_BYTE, sheets[k]);
  }
  gl.generateMipmap(gl.TEXTURE_2D_ARRAY);
  ready = 1;
  document.body.dataset.ready = "yes";
  redraw();
}

function thumbnail(where, index, left, top, side) {
  const each = data.across * data.down, sheet = sheets[Math.floor(index / each)], spot = index % each;
  if (!sheet) return;
  where.drawImage(sheet, spot % data.across * data.cell, Math.floor(spot / data.across) * data.cell, data.cell, data.cell, left, top, side, side);
}

const dotSize = () => Math.min(60 * ratio, Math.max(2.4 * ratio, 0.8 * data.spacing * view.scale * ratio));

function paint() {
  asked = false;
  if (!gl || gl.isContextLost()) return;
  gl.viewport(0, 0, canvas.width, canvas.height);
  gl.clearColor(1, 1, 1, 1);
  gl.clear(gl.COLOR_BUFFER_BIT);
  const reach = [width / 2 / view.scale, height / 2 / view.scale];
  if (at("thick").checked) {
    gl.useProgram(field.made);
    gl.uniform2f(field.uniform.middle, view.x, view.y);
    gl.uniform2f(field.uniform.reach, ...reach);
    gl.uniform1i(field.uniform.field, 1);
    gl.uniform3fv(field.uniform.ramp, RAMP.flat().map((c) => c / 255));
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
  gl.useProgram(dots.made);
  const u = dots.uniform;
  gl.uniform2f(u.middle, view.x, view.y);
  gl.uniform2f(u.reach, ...reach);
  gl.uniform1i(u.pages, 0);
  gl.uniform1f(u.across, data.across);
  gl.uniform1f(u.down, data.down);
  gl.uniform1f(u.cell, data.cell);
  gl.uniform1f(u.ready, ready);
  gl.uniform1f(u.size, dotSize());
  gl.uniform1i(u.above, 0);
  gl.drawArrays(gl.POINTS, 0, count);
  if (chosen && chosen.length) {
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffers.chosen);
    gl.uniform1f(u.size, pressed > -2 ? dotSize() : Math.max(dotSize(), (chosen.length > 400 ? 7 : chosen.length > 40 ? 10 : 26) * ratio));
    gl.uniform1i(u.above, pressed > -2 ? 0 : 1);
    gl.drawElements(gl.POINTS, chosen.length, gl.UNSIGNED_INT, 0);
  }
  overlay();
}

function overlay() {
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  for (const trail of data.trails) {
    const spots = trail.points.map(([u, v]) => screen(u, v));
    for (const [colour, wide] of [["#ffffff", 5], [data.drawnColour, 2]]) {
      pen.strokeStyle = colour; pen.lineWidth = wide; pen.lineJoin = "round";
      pen.beginPath();
      spots.forEach(([u, v], k) => (k ? pen.lineTo(u, v) : pen.moveTo(u, v)));
      pen.stroke();
    }
    spots.forEach(([u, v], k) => {
      pen.fillStyle = data.drawnColour;
      pen.beginPath();
      pen.arc(u, v, k + 1 === spots.length ? 5 : 2.5, 0, 7);
      pen.fill();
    });
  }
  for (const m of marked()) {
    const [u, v] = screen(m.x, m.y), side = framed();
    pen.fillStyle = "#ffffff";
    pen.fillRect(u - side / 2 - 2, v - side / 2 - 2, side + 4, side + 4);
    thumbnail(pen, m.picture, u - side / 2, v - side / 2, side);
    pen.strokeStyle = data.drawnColour; pen.lineWidth = 2;
    pen.strokeRect(u - side / 2 - 1, v - side / 2 - 1, side + 2, side + 2);
  }
  if (hovered && hovered.glyph !== undefined) {
    const [u, v] = screen(x(hovered.glyph), y(hovered.glyph)), size = Math.max(12, dotSize() / ratio + 4);
    pen.strokeStyle = "#000000"; pen.lineWidth = 2;
    pen.beginPath();
    if (size > 18) pen.rect(u - size / 2, v - size / 2, size, size); else pen.arc(u, v, size / 2, 0, 7);
    pen.stroke();
  }
}

const framed = () => Math.min(64, Math.max(26, dotSize() / ratio));
function* marked() {
  yield* data.drawn;
  for (const trail of data.trails) {
    const last = trail.points.length - 1;
    for (const k of new Set([0, last >> 1, last]))
      yield { x: trail.points[k][0], y: trail.points[k][1], picture: trail.pictures[k], label: trail.label, note: `step ${k + 1} of ${last + 1}` };
  }
}

function redraw() { if (!asked) { asked = true; requestAnimationFrame(paint); } }
const screen = (u, v) => [(u - view.x) * view.scale + width / 2, height / 2 - (v - view.y) * view.scale];
const unit = (px, py) => [(px - width / 2) / view.scale + view.x, (height / 2 - py) / view.scale + view.y];

// --- colours and what stands out ---------------------------------------------------------------------------------

function recolour() {
  const c = colourings[colouring], table = new Uint8Array(4 * count);
  for (let i = 0; i < count; i++) {
    let colour = data.plain;
    if (c && c.of) colour = c.of[i] < 0 ? data.others : data.colours[c.of[i]];
    const value = c && c.values ? ramped(0.25 + 0.75 * c.values[i] / 255) : rgbs[colour] ??= rgb(colour);
    table.set(value, 4 * i);
  }
  gl.bindBuffer(gl.ARRAY_BUFFER, buffers.colour);
  gl.bufferData(gl.ARRAY_BUFFER, table, gl.STATIC_DRAW);
  redraw();
}
const rgbs = {};

function mark() {
  const on = new Uint8Array(count).fill(chosen ? 0 : 255);
  if (chosen) for (const i of chosen) on[i] = 255;
  gl.bindBuffer(gl.ARRAY_BUFFER, buffers.on);
  gl.bufferData(gl.ARRAY_BUFFER, on, gl.STATIC_DRAW);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffers.chosen);
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, chosen || new Uint32Array(0), gl.STATIC_DRAW);
  redraw();
}

function choose(test) {
  const found = [];
  for (let i = 0; i < count; i++) if (test(i)) found.push(i);
  chosen = Uint32Array.from(found);
  mark();
}

function element(kind, text, parent) {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function key() {
  const list = at("groups"), c = colourings[colouring];
  list.replaceChildren();
  at("scale").hidden = !(c && c.values);
  if (!c || !c.of) return;
  const rows = c.labels.map((label, k) => [k, data.colours[k], label, c.counts[k]]);
  if (c.others) rows.push([-1, data.others, "all others", c.others]);
  for (const [k, colour, label, number] of rows) {
    const button = element("button", "", element("li", "", list));
    element("i", "", button).style.background = colour;
    element("span", label, button);
    element("em", number.toLocaleString("en"), button);
    button.setAttribute("aria-pressed", "false");
    button.title = "Show these alone";
    button.addEventListener("click", () => {
      const again = pressed === k;
      release();
      at("search").value = "";
      at("results").replaceChildren();
      if (again) { tell(); return; }
      pressed = k;
      button.setAttribute("aria-pressed", "true");
      choose((i) => c.of[i] === k);
      at("count").textContent = `${number.toLocaleString("en")} of ${count.toLocaleString("en")} glyphs: ${label}`;
    });
  }
}

function release() {
  pressed = -2;
  chosen = null;
  for (const button of at("groups").querySelectorAll("button")) button.setAttribute("aria-pressed", "false");
  mark();
}

function tell() { at("count").textContent = `${count.toLocaleString("en")} glyphs. Zoom in, and the dots become glyphs.`; }

// --- search ------------------------------------------------------------------------------------------------------

const plain = (text) => ` ${text.toLowerCase().normalize("NFKD").replace(/[\u0300-\u036f]/g, "").replace(/[^\p{L}\p{N}]+/gu, " ")} `;
let words = null;
let found = [], next = 0;

function search() {
  const query = at("search").value.trim();
  flight++;  // one that lands after this would show its glyph again
  release();
  leave();
  at("results").replaceChildren();
  found = []; next = 0;
  if (!query) { tell(); return; }
  words ??= data.characters.map((c) => plain(c[2]));
  const terms = plain(query).split(" ").filter(Boolean);
  const code = /^(u\+)?[0-9a-f]{4,6}$/i.test(query) ? query.replace(/^u\+/i, "").toUpperCase() : null;
  const single = [...query].every((c) => c > "\u2e7f") ? new Set(query) : null;
  const score = data.characters.map((c, k) => {
    if (single && single.has(c[0])) return 3;
    if (code && c[1] === code) return 3;
    if (!terms.length || !terms.every((t) => words[k].includes(` ${t}`))) return 0;
    return terms.every((t) => words[k].includes(` ${t} `)) ? 2 : 1;
  });
  choose((i) => score[characterOf[i]] > 0);
  found = [...chosen].sort((a, b) => score[characterOf[b]] - score[characterOf[a]]
    || data.characters[characterOf[a]][2].length - data.characters[characterOf[b]][2].length || a - b);
  const many = chosen.length;
  at("count").textContent = many ? `${many.toLocaleString("en")} of ${count.toLocaleString("en")} glyphs` : "nothing found";
  for (const i of found.slice(0, 50)) {
    const c = data.characters[characterOf[i]], button = element("button", "", element("li", "", at("results")));
    element("b", c[0] || "·", button);
    element("span", c[2], button);
    button.addEventListener("click", () => fly(i));
  }
  const inView = () => found.filter((i) => { const [u, v] = screen(x(i), y(i)); return u > 0 && u < width && v > 0 && v < height; }).length;
  if (many && !inView()) whole();
  document.body.dataset.found = String(many);
  document.body.dataset.inView = String(inView());
}

function fly(i) {
  const from = { ...view }, to = { x: x(i), y: y(i), scale: Math.max(view.scale, Math.min(home * 400, 50 / data.spacing)) };
  const began = performance.now(), still = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1 : 450, mine = ++flight;
  const step = (now) => {
    if (mine !== flight) return;
    const t = Math.min(1, Math.max(0, (now - began) / still)), s = t * t * (3 - 2 * t);
    view.scale = from.scale * (to.scale / from.scale) ** s;
    // Places go as the scale does, or a long way is gone in the last moment.
    const share = Math.abs(to.scale / from.scale - 1) < 1e-6 ? s : (1 / from.scale - 1 / view.scale) / (1 / from.scale - 1 / to.scale);
    view.x = from.x + (to.x - from.x) * share;
    view.y = from.y + (to.y - from.y) * share;
    redraw();
    if (t < 1) requestAnimationFrame(step);
    else { hovered = { glyph: i }; show(width / 2, height / 2); document.body.dataset.flown = String(i); }
  };
  requestAnimationFrame(step);
}

// --- pointing ----------------------------------------------------------------------------------------------------

const GRID = 128, first = new Int32Array(GRID * GRID + 1), cellOf = new Int32Array(count), byCell = new Int32Array(count);
{
  for (let i = 0; i < count; i++) {
    cellOf[i] = Math.min(GRID - 1, Math.floor(y(i) * GRID)) * GRID + Math.min(GRID - 1, Math.floor(x(i) * GRID));
    first[cellOf[i] + 1]++;
  }
  for (let c = 0; c < GRID * GRID; c++) first[c + 1] += first[c];
  const filled = first.slice();
  for (let i = 0; i < count; i++) byCell[filled[cellOf[i]]++] = i;
}

function under(px, py) {
  for (const m of [...marked()].reverse()) {
    const [u, v] = screen(m.x, m.y);
    if (Math.max(Math.abs(u - px), Math.abs(v - py)) < framed() / 2) return { marked: m };
  }
  const reach = Math.max(10, dotSize() / ratio / 2) / view.scale, [u, v] = unit(px, py);
  const low = (w) => Math.max(0, Math.floor((w - reach) * GRID)), high = (w) => Math.min(GRID - 1, Math.floor((w + reach) * GRID));
  let best = reach * reach, glyph;
  for (let row = low(v); row <= high(v); row++) {
    for (let k = first[row * GRID + low(u)] , end = first[row * GRID + Math.max(-1, high(u)) + 1]; k < end; k++) {
      const i = byCell[k], d = (x(i) - u) ** 2 + (y(i) - v) ** 2;
      if (d < best) { best = d; glyph = i; }
    }
  }
  return glyph === undefined ? null : { glyph };
}

function show(px, py) {
  const popup = at("popup");
  canvas.classList.toggle("over", Boolean(hovered));
  popup.classList.toggle("shown", Boolean(hovered));
  redraw();
  if (!hovered) return;
  const picture = at("glyph").getContext("2d");
  picture.fillStyle = "#ffffff";
  picture.fillRect(0, 0, 192, 192);
  picture.imageSmoothingQuality = "high";
  const m = hovered.marked;
  popup.classList.toggle("drawn", Boolean(m));
  if (m) {
    thumbnail(picture, m.picture, 0, 0, 192);
    at("name").textContent = "drawn by the model";
    at("code").textContent = m.note || "";
    at("meaning").textContent = m.label;
    at("kind").textContent = "";
  } else {
    const i = hovered.glyph, [character, code, definition, radical] = data.characters[characterOf[i]];
    thumbnail(picture, i, 0, 0, 192);
    at("name").textContent = character;
    at("code").textContent = code ? `U+${code}` : "";
    at("meaning").textContent = definition;
    const kinds = colourings.filter((c) => c.of && c.of[i] >= 0).map((c) => c.labels[c.of[i]]);
    const font = data.fonts.length > 1 && fontOf[i] >= 0 ? data.fonts[fontOf[i]] : "";
    for (const kind of [radical, font]) if (kind && !kinds.includes(kind)) kinds.push(kind);
    at("kind").textContent = kinds.join(" · ");
  }
  const box = popup.getBoundingClientRect(), gap = 18;
  popup.style.left = `${Math.max(6, px + gap + box.width < width ? px + gap : px - gap - box.width)}px`;
  popup.style.top = `${Math.max(6, Math.min(height - box.height - 6, py + gap))}px`;
}

const pointers = new Map();
let moved = 0;

function leave() { if (hovered) { hovered = null; show(0, 0); } }

function zoom(factor, px = width / 2, py = height / 2) {
  flight++;
  const [u, v] = unit(px, py);
  view.scale = Math.min(home * 400, Math.max(home * 0.5, view.scale * factor));
  view.x = u - (px - width / 2) / view.scale;
  view.y = v + (py - height / 2) / view.scale;
  redraw();
}

function pan(dx, dy) {
  flight++;
  view.x = Math.min(1.2, Math.max(-0.2, view.x - dx / view.scale));
  view.y = Math.min(1.2, Math.max(-0.2, view.y + dy / view.scale));
  redraw();
}

canvas.addEventListener("pointerdown", (e) => {
  canvas.setPointerCapture(e.pointerId);
  pointers.set(e.pointerId, [e.clientX, e.clientY]);
  canvas.classList.add("held");
  moved = 0;
});
canvas.addEventListener("pointermove", (e) => {
  const before = pointers.get(e.pointerId);
  if (!before) { hovered = under(e.clientX, e.clientY); show(e.clientX, e.clientY); return; }
  const [dx, dy] = [e.clientX - before[0], e.clientY - before[1]];
  moved += Math.abs(dx) + Math.abs(dy);
  if (pointers.size === 2) {
    const other = [...pointers].find(([id]) => id !== e.pointerId)[1];
    const apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
    zoom(apart([e.clientX, e.clientY]) / Math.max(1, apart(before)), (e.clientX + other[0]) / 2, (e.clientY + other[1]) / 2);
    pan(dx / 2, dy / 2);
  } else pan(dx, dy);
  pointers.set(e.pointerId, [e.clientX, e.clientY]);
  if (moved > 4) leave();
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (e) => {
  pointers.delete(e.pointerId);
  if (!pointers.size) canvas.classList.remove("held");
  if (end === "pointerup" && moved <= 4) { hovered = under(e.clientX, e.clientY); show(e.clientX, e.clientY); }
});
canvas.addEventListener("pointerleave", () => { if (!pointers.size) leave(); });
canvas.addEventListener("wheel", (e) => {
  e.preventDefault();
  zoom(Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.0018)), e.clientX, e.clientY);
  hovered = under(e.clientX, e.clientY);
  show(e.clientX, e.clientY);
}, { passive: false });
canvas.addEventListener("dblclick", (e) => zoom(2.5, e.clientX, e.clientY));

function whole() { flight++; leave(); Object.assign(view, { x: 0.5, y: 0.5, scale: home }); redraw(); }
at("in").addEventListener("click", () => { leave(); zoom(1.6); });
at("out").addEventListener("click", () => { leave(); zoom(1 / 1.6); });
at("all").addEventListener("click", whole);
document.addEventListener("keydown", (e) => {
  const typing = ["INPUT", "SELECT"].includes(document.activeElement?.tagName);
  if (e.key === "Escape") { at("search").value = ""; search(); leave(); canvas.focus(); }
  else if (typing || e.ctrlKey || e.metaKey || e.altKey) return;
  else if (e.key === "/") { e.preventDefault(); at("search").focus(); }
  else if (e.key === "+" || e.key === "=") zoom(1.6);
  else if (e.key === "-") zoom(1 / 1.6);
  else if (e.key === "0") whole();
  else if (e.key === "ArrowLeft") pan(80, 0);
  else if (e.key === "ArrowRight") pan(-80, 0);
  else if (e.key === "ArrowUp") pan(0, 80);
  else if (e.key === "ArrowDown") pan(0, -80);
});
let waiting = 0;
at("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 120); });
at("search").addEventListener("keydown", (e) => {
  if (e.key !== "Enter") return;
  clearTimeout(waiting);
  if (!found.length || e.target.dataset.asked !== e.target.value) search();
  e.target.dataset.asked = e.target.value;
  if (found.length) fly(found[next++ % found.length]);
});
at("by").addEventListener("change", (e) => {
  colouring = Number(e.target.value);
  if (pressed > -2) { release(); tell(); }
  recolour();
  key();
});
at("thick").addEventListener("change", redraw);

function resize() {
  ratio = window.devicePixelRatio || 1;
  const before = home;
  width = window.innerWidth; height = window.innerHeight;
  for (const c of [canvas, lines]) { c.width = Math.round(width * ratio); c.height = Math.round(height * ratio); }
  home = Math.max(120, Math.min(width, height) * 0.98);
  view.scale *= home / before;
  redraw();
}
window.addEventListener("resize", resize);
canvas.addEventListener("webglcontextlost", (e) => { e.preventDefault(); ready = 0; });
canvas.addEventListener("webglcontextrestored", () => { if (begin()) decode(); });

at("title").textContent = data.title;
at("notes").textContent = data.notes.join("  ·  ");
at("notes").hidden = !data.notes.length;
at("ramp").style.background = `linear-gradient(90deg, ${data.ramp.slice(1).join(", ")})`;
colourings.forEach((c, k) => { const option = element("option", c.heading, at("by")); option.value = String(k); });
at("by").value = String(colouring);
at("by").parentElement.hidden = colourings.length < 1;
key();
tell();
resize();
if (begin()) decode();
})();
