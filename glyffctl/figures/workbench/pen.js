// --- drawing data with a mouse, a finger or the keyboard ----------------------------------------------------------

const MOST = 500;                   // points; more replace the first ones
const BRUSH = 0.1, GAP = 0.03;      // its radius, and from one point to the next, in units of z
const MOVE = 0.15, PRESS = 6;       // a key moves the cursor so far, and the space bar leaves so many points

const cursor = { x: 0, y: 0 };
let last = null;                    // where the pointer was

function paintPen(pen) {
  if (document.activeElement !== panels[0]) return;
  pen.beginPath();
  pen.arc(cursor.x, cursor.y, BRUSH, 0, 2 * Math.PI);
  pen.strokeStyle = colours.ink;
  pen.lineWidth = 1.5 * pen.pixel;
  pen.stroke();
}

// Leave points around places [[x, y], …], inside the panel.
function leave(places) {
  const label = at("second-class").checked ? 1 : 0, points = [...data.points], labels = [...data.labels];
  for (const place of places) {
    const angle = 2 * Math.PI * Math.random(), radius = BRUSH * Math.sqrt(Math.random());
    const spot = [place[0] + radius * Math.cos(angle), place[1] + radius * Math.sin(angle)];
    points.push(...spot.map((value) => Math.max(-REACH, Math.min(REACH, value))));
    labels.push(label);
  }
  const excess = Math.max(0, labels.length - MOST);
  take({ points: Float64Array.from(points.slice(2 * excess)), labels: Uint8Array.from(labels.slice(excess)) });
  show();
  restart(true);
}

function place(e) {
  const box = panels[0].getBoundingClientRect(), scale = (2 * REACH) / box.width;
  return [(e.clientX - box.left) * scale - REACH, REACH - (e.clientY - box.top) * scale];
}

const drawing = () => setting.data === "drawn";

panels[0].addEventListener("pointerdown", (e) => {
  if (!drawing() || e.button || !e.isPrimary) return;
  panels[0].setPointerCapture(e.pointerId);
  goTo(0);
  last = place(e);
  leave([last]);
});
panels[0].addEventListener("pointermove", (e) => {
  if (!last || !e.isPrimary) return;
  const to = place(e), count = Math.floor(Math.hypot(to[0] - last[0], to[1] - last[1]) / GAP);
  if (!count) return;
  const from = last, between = (axis, k) => from[axis] + ((to[axis] - from[axis]) * (k + 1)) / count;
  leave(Array.from({ length: count }, (_, k) => [between(0, k), between(1, k)]));
  last = to;
});
for (const end of ["pointerup", "pointercancel"]) panels[0].addEventListener(end, () => { last = null; });

const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
panels[0].addEventListener("keydown", (e) => {
  if (!drawing() || e.ctrlKey || e.metaKey || e.altKey) return;
  const way = ways[e.key], within = (value) => Math.max(-REACH, Math.min(REACH, value));
  if (way) Object.assign(cursor, { x: within(cursor.x + MOVE * way[0]), y: within(cursor.y + MOVE * way[1]) });
  else if (e.key === " " || e.key === "Enter") leave(Array.from({ length: PRESS }, () => [cursor.x, cursor.y]));
  else return;
  e.preventDefault();
  goTo(0);
});
for (const kind of ["focus", "blur"]) panels[0].addEventListener(kind, () => wake());
