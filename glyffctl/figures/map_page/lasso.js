// --- drawing around glyphs ---------------------------------------------------------------------------------------

let lassoing = false;    // the next drag draws a line around glyphs
let drawing = null;      // { box, corners }: what is being drawn; corners [u, v]
const MOST_CORNERS = 60;

function lasso(on) {
  lassoing = on;
  canvas.classList.toggle("lassoing", on);
  at("lasso").setAttribute("aria-pressed", String(on));
}
at("lasso").addEventListener("click", () => lasso(!lassoing));

// A mouse with Shift draws a box, whether or not the button was pressed.
function startDrawing(e) {
  if (!lassoing && !e.shiftKey) return false;
  leave();
  drawing = { box: e.shiftKey, corners: [unit(e.clientX, e.clientY)] };
  return true;
}

function goOnDrawing(e) {
  const to = unit(e.clientX, e.clientY), [from] = drawing.corners;
  if (drawing.box) drawing.corners = [from, [to[0], from[1]], to, [from[0], to[1]]];
  else drawing.corners.push(to);
  redraw();
}

function endDrawing(keep) {
  const corners = drawing.corners;
  drawing = null;
  lasso(false);
  redraw();
  if (keep && corners.length > 2) surround(thinned(corners));
}

// Few enough corners to fit into a link, evenly along the line, and as exact as a link keeps them.
function thinned(corners) {
  const every = Math.max(1, corners.length / MOST_CORNERS), kept = [];
  for (let k = 0; k < corners.length; k += every) kept.push(corners[Math.floor(k)].map((c) => Math.round(c * 1e4) / 1e4));
  return kept;
}

function within(corners, u, v) {
  let odd = false;
  for (let k = 0, j = corners.length - 1; k < corners.length; j = k++) {
    const [a, b] = corners[k], [c, d] = corners[j];
    if ((b > v) !== (d > v) && u < ((c - a) * (v - b)) / (d - b) + a) odd = !odd;
  }
  return odd;
}

// The glyphs inside a line stand out and are listed, in their order in the data.
function surround(corners) {
  clear();
  inside = corners;
  const [us, vs] = [0, 1].map((k) => corners.map((c) => c[k]));
  const [left, right, low, high] = [Math.min(...us), Math.max(...us), Math.min(...vs), Math.max(...vs)];
  choose((i) => x(i) >= left && x(i) <= right && y(i) >= low && y(i) <= high && within(corners, x(i), y(i)));
  found = [...chosen];
  list();
  if (narrow.matches) unfold(at("list"), false);  // it would hide what was drawn around
  at("count").textContent = found.length ? `${found.length.toLocaleString("en")} of ${count.toLocaleString("en")} glyphs inside` : "no glyph inside";
  document.body.dataset.found = String(found.length);
}

function outline(ink, paper) {
  const corners = drawing ? drawing.corners : inside;
  if (corners.length < 2) return;
  pen.beginPath();
  corners.forEach(([u, v], k) => (k ? pen.lineTo(...screen(u, v)) : pen.moveTo(...screen(u, v))));
  pen.closePath();
  pen.globalAlpha = 0.06;
  pen.fillStyle = ink;
  pen.fill();
  pen.globalAlpha = 1;
  pen.lineJoin = "round";
  for (const [colour, wide, dash] of [[paper, 4, []], [ink, 1.5, [6, 4]]]) {
    pen.setLineDash(dash);
    pen.strokeStyle = colour; pen.lineWidth = wide;
    pen.stroke();
  }
  pen.setLineDash([]);
}
