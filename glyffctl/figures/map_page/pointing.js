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

// What lies under a place of the window, within `near` pixels: of the glyphs, one that stands out before any other.
function under(px, py, near = 10) {
  for (const m of [...marked()].reverse()) {
    const [u, v] = screen(m.x, m.y);
    if (Math.max(Math.abs(u - px), Math.abs(v - py)) < framed() / 2) return { marked: m };
  }
  const size = dotSize() / ratio / 2, large = chosen && chosen.length ? chosenSize() / ratio / 2 : 0;
  const reach = Math.max(near, size, large) / view.scale, [u, v] = unit(px, py);
  const low = (w) => Math.max(0, Math.floor((w - reach) * GRID)), high = (w) => Math.min(GRID - 1, Math.floor((w + reach) * GRID));
  const ordinary = (Math.max(near, size) / view.scale) ** 2;
  let best = ordinary, glyph, bestChosen = reach * reach, chosenGlyph;
  for (let row = low(v); row <= high(v); row++) {
    for (let k = first[row * GRID + low(u)] , end = first[row * GRID + Math.max(-1, high(u)) + 1]; k < end; k++) {
      const i = byCell[k], d = (x(i) - u) ** 2 + (y(i) - v) ** 2;
      if (d < best) { best = d; glyph = i; }
      if (chosen && d < bestChosen && standsOut[i]) { bestChosen = d; chosenGlyph = i; }
    }
  }
  glyph = chosenGlyph ?? glyph;
  return glyph === undefined ? null : { glyph };
}

// --- the card of a glyph -----------------------------------------------------------------------------------------

function show() {
  const card = at("popup");
  canvas.classList.toggle("over", Boolean(hovered));
  card.classList.toggle("shown", Boolean(hovered));
  card.classList.toggle("solid", kept && touched);
  redraw();
  if (!hovered) { kept = false; return; }
  const m = hovered.marked;
  card.classList.toggle("drawn", Boolean(m));
  if (m) {
    at("name").textContent = "drawn by the model";
    at("code").textContent = m.note || "";
    at("meaning").textContent = m.label;
    at("kind").textContent = "";
  } else {
    const i = hovered.glyph, [character, code, definition, radical] = data.characters[characterOf[i]];
    at("name").textContent = character;
    at("code").textContent = code ? `U+${code}` : "";
    at("meaning").textContent = definition;
    const kinds = colourings.filter((c) => c.of && c.of[i] >= 0).map((c) => c.labels[c.of[i]]);
    const font = data.fonts.length > 1 && fontOf[i] >= 0 ? data.fonts[fontOf[i]] : "";
    for (const kind of [radical, font]) if (kind && !kinds.includes(kind)) kinds.push(kind);
    at("kind").textContent = kinds.join(" · ");
  }
  picture(m ? m.picture : hovered.glyph);
  cardSize = card.getBoundingClientRect();
  placeCard();
}
let cardSize = { width: 0, height: 0 };

// Sheets are decoded one after another when the page opens. The one that is needed goes first, and until it is there
// the card has no box for a picture rather than an empty one.
function picture(index) {
  const k = sheetOf(index), there = Boolean(sheets[k]), box = at("glyph");
  box.hidden = !there;
  if (!there) { sheet(k).then(() => { if (hovered && sheets[k]) show(); }); return; }
  const brush = box.getContext("2d");
  brush.fillStyle = "#ffffff";
  brush.fillRect(0, 0, 192, 192);
  brush.imageSmoothingQuality = "high";
  thumbnail(brush, index, 0, 0, 192);
}

// Beside its glyph, and with it when the map moves; where neither side has room, above or below.
function placeCard() {
  if (!hovered) return;
  const card = at("popup"), m = hovered.marked, edge = 6;
  const [u, v] = m ? screen(m.x, m.y) : screen(x(hovered.glyph), y(hovered.glyph));
  const gap = Math.max(18, (m ? framed() : dotSize() / ratio) / 2 + 8), { width: wide, height: high } = cardSize;
  card.classList.toggle("away", !inWindow(u, v));
  let left = u + gap, top = v + gap;
  if (left + wide > width - edge) left = u - gap - wide;
  if (left < edge) {
    left = u - wide / 2;
    // A finger covers what is below it, and the panel at the top is in use.
    const above = v - gap - high, bar = at("find").getBoundingClientRect().bottom;
    if (above >= bar || top + high > height - edge) top = above;
  }
  card.style.left = `${Math.max(edge, Math.min(width - wide - edge, left))}px`;
  card.style.top = `${Math.max(edge, Math.min(height - high - edge, top))}px`;
}

function leave() { if (hovered) { hovered = null; show(); } }

// --- pointers ----------------------------------------------------------------------------------------------------

const pointers = new Map();
let moved = 0;          // how far the pointer went since it was put down; more than any tap when there were two
let start = [0, 0];
let touched = false;    // whether the last pointer was a finger
const FINGER = 22;      // pixels: how near to a glyph a tap means it
const still = () => (touched ? 10 : 4);

canvas.addEventListener("pointerdown", (e) => {
  if (e.pointerType === "mouse" && e.button) return;  // a context menu may swallow its pointerup
  canvas.setPointerCapture(e.pointerId);
  if (drawing) endDrawing(false);  // a second finger: the map is moved instead
  else if (!pointers.size) startDrawing(e);
  pointers.set(e.pointerId, [e.clientX, e.clientY]);
  canvas.classList.add("held");
  start = [e.clientX, e.clientY];
  moved = pointers.size > 1 ? Infinity : 0;
});
canvas.addEventListener("pointermove", (e) => {
  const before = pointers.get(e.pointerId);
  if (!before) { hovered = under(e.clientX, e.clientY); kept = false; show(); return; }
  const [dx, dy] = [e.clientX - before[0], e.clientY - before[1]];
  moved = Math.max(moved, Math.hypot(e.clientX - start[0], e.clientY - start[1]));
  pointers.set(e.pointerId, [e.clientX, e.clientY]);
  if (drawing) { goOnDrawing(e); return; }
  if (pointers.size === 2) {
    const other = [...pointers].find(([id]) => id !== e.pointerId)[1];
    const apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
    zoom(apart([e.clientX, e.clientY]) / Math.max(1, apart(before)), (e.clientX + other[0]) / 2, (e.clientY + other[1]) / 2);
    pan(dx / 2, dy / 2);
  } else if (pointers.size === 1) pan(dx, dy);
  if (moved > still() && !kept) leave();
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (e) => {
  if (!pointers.delete(e.pointerId)) return;
  if (!pointers.size) canvas.classList.remove("held");
  if (drawing) { endDrawing(end === "pointerup"); return; }
  if (end !== "pointerup" || moved > still()) return;
  hovered = under(e.clientX, e.clientY, touched ? FINGER : undefined);
  kept = touched;
  show();
  // A finger asks for the neighbours on the card, which would lie below it otherwise.
  if (!touched && hovered) pick(hovered);
});
at("neighbours").addEventListener("click", () => { if (hovered) { pick(hovered); leave(); } });
// A finger that lifts leaves at once, and would take the card with it.
canvas.addEventListener("pointerleave", () => { if (!pointers.size && !kept) leave(); });
document.addEventListener("pointerdown", (e) => {
  touched = e.pointerType === "touch" || e.pointerType === "pen";
  if (e.target !== canvas && !at("popup").contains(e.target)) leave();
}, { capture: true });
canvas.addEventListener("wheel", (e) => {
  e.preventDefault();
  zoom(Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.0018)), e.clientX, e.clientY);
  hovered = under(e.clientX, e.clientY);
  kept = false;
  show();
}, { passive: false });
canvas.addEventListener("dblclick", (e) => zoom(2.5, e.clientX, e.clientY));
