// --- moving ------------------------------------------------------------------------------------------------------

const MARGIN = 60;  // pixels of the map that always stay in the window
const nearest = () => home * 400;
const inWindow = (u, v) => u > 0 && u < width && v > 0 && v < height;

function zoom(factor, px = width / 2, py = height / 2) {
  flight++;
  const [u, v] = unit(px, py);
  view.scale = Math.min(nearest(), Math.max(home * 0.5, view.scale * factor));
  view.x = u - (px - width / 2) / view.scale;
  view.y = v + (py - height / 2) / view.scale;
  redraw();
}

function pan(dx, dy) {
  flight++;
  const [wide, high] = [(width / 2 - MARGIN) / view.scale, (height / 2 - MARGIN) / view.scale];
  view.x = Math.min(1 + wide, Math.max(-wide, view.x - dx / view.scale));
  view.y = Math.min(1 + high, Math.max(-high, view.y + dy / view.scale));
  redraw();
}

const PANELS = ["find", "key", "trace", "near", "notes", "tools"];
const panels = () => PANELS.map((id) => at(id).getBoundingClientRect()).filter((box) => box.width);

// The part of the window that no panel covers and that has most of what is looked for: area, or room for a shape.
function free(gain = (wide, high) => wide * high) {
  const boxes = panels(), ends = (low, high, most) => [...new Set([0, most, ...boxes.flatMap((b) => [b[low], b[high]])])].sort((a, b) => a - b);
  const across = ends("left", "right", width), down = ends("top", "bottom", height);
  let best = { left: 0, right: width, top: 0, bottom: height }, most = 0;
  for (const left of across) for (const right of across) for (const top of down) for (const bottom of down) {
    const gained = right > left && bottom > top ? gain(right - left, bottom - top) : 0;
    if (gained <= most || boxes.some((b) => b.left < right && b.right > left && b.top < bottom && b.bottom > top)) continue;
    most = gained;
    best = { left, right, top, bottom };
  }
  return best;
}

let began = { ...view };  // the view of the whole map
const atHome = () => view.x === began.x && view.y === began.y && view.scale === began.scale;

// The map goes where no panel lies over it, unless that made it much smaller.
function whole() {
  flight++;
  leave();
  let room = free(Math.min);
  if (!narrow.matches && Math.min(room.right - room.left, room.bottom - room.top) < 0.8 * home) room = { left: 0, right: width, top: 0, bottom: height };
  const scale = Math.min(home, Math.max(120, 0.98 * Math.min(room.right - room.left, room.bottom - room.top)));
  Object.assign(view, centred(0.5, 0.5, scale, [(room.left + room.right) / 2, (room.top + room.bottom) / 2]));
  began = { ...view };
  redraw();
}

// The view in which place (u, v) of the map lies at `spot` of the window.
const centred = (u, v, scale, spot) => ({ x: u - (spot[0] - width / 2) / scale, y: v + (spot[1] - height / 2) / scale, scale });

// Where in the window a glyph that is flown to comes to lie: the middle, or where no panel covers it.
function landing() {
  const [u, v] = [width / 2, height / 2], off = 40;
  if (!panels().some((b) => b.left < u + off && b.right > u - off && b.top < v + off && b.bottom > v - off)) return [u, v];
  const { left, right, top, bottom } = free();
  return [(left + right) / 2, (top + bottom) / 2];
}

function travel(u, v, scale, spot, then = () => {}) {
  const from = { ...view }, to = centred(u, v, scale, spot);
  const started = performance.now(), lasts = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1 : 450, mine = ++flight;
  const step = (now) => {
    if (mine !== flight) return;
    const t = Math.min(1, Math.max(0, (now - started) / lasts)), s = t * t * (3 - 2 * t);
    view.scale = from.scale * (to.scale / from.scale) ** s;
    // Places go as the scale does, or a long way is gone in the last moment.
    const share = Math.abs(to.scale / from.scale - 1) < 1e-6 ? s : (1 / from.scale - 1 / view.scale) / (1 / from.scale - 1 / to.scale);
    view.x = from.x + (to.x - from.x) * share;
    view.y = from.y + (to.y - from.y) * share;
    redraw();
    if (t < 1) requestAnimationFrame(step);
    else then();
  };
  requestAnimationFrame(step);
}

const close = () => Math.min(nearest(), 50 / data.spacing);  // the scale at which glyphs are read

// With little room the list would cover what was picked from it, and so would a phone's keyboard.
function makeRoom() {
  if (narrow.matches) unfold(at("list"), false);
  if (touched) at("search").blur();
}

function fly(i) {
  makeRoom();
  leave();
  if (picked) pick({ glyph: i });
  travel(x(i), y(i), Math.max(view.scale, close()), landing(), () => {
    hovered = { glyph: i };
    kept = true;
    show();
    document.body.dataset.flown = String(i);
  });
}

function fit() {
  if (!chosen || !chosen.length) return;
  makeRoom();
  leave();
  let left = 1, right = 0, low = 1, high = 0;
  for (const i of chosen) {
    left = Math.min(left, x(i)); right = Math.max(right, x(i));
    low = Math.min(low, y(i)); high = Math.max(high, y(i));
  }
  const inside = (side) => side - 2 * Math.min(40, side / 6);
  const fitting = (wide, tall) => Math.min(inside(wide) / Math.max(right - left, 1e-9), inside(tall) / Math.max(high - low, 1e-9));
  const room = free(fitting), scale = fitting(room.right - room.left, room.bottom - room.top);
  const spot = [(room.left + room.right) / 2, (room.top + room.bottom) / 2];
  travel((left + right) / 2, (low + high) / 2, Math.min(close(), scale), spot, () => { document.body.dataset.fitted = "yes"; });
  delete document.body.dataset.fitted;
}
