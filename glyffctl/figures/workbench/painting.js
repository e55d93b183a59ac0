// --- painting -----------------------------------------------------------------------------------------------------

const REACH = 3;            // panels show −REACH…REACH of z
const ARROWS = 15;          // across
const SHORTEST = 0.5, LONGEST = 5000;  // scores: shorter ones are dots, and arrows grow with the logarithm
const VERTICES = 60;        // of a path at most: nobody sees more
const RECENT = 5;           // of them stand out, or the older ones would hide them
const MARKED = 3;           // walks in a colour of their own: the same ones in both panels

const panels = ["forward", "first", "second"].map(at);
const grid = Float64Array.from({ length: 2 * ARROWS ** 2 }, (_, k) => {
  const cell = (2 * REACH) / ARROWS, n = k >> 1;
  return ((k % 2 ? Math.floor(n / ARROWS) : n % ARROWS) + 0.5) * cell - REACH;
});

let colours = {};
function readColours() {
  const style = getComputedStyle(root);
  for (const name of ["ink", "a", "b", "arrow", "mark"]) colours[name] = style.getPropertyValue(`--bench-${name}`);
}

// An empty panel, whose pen takes z: to the right and up.
function open(panel) {
  const ratio = Math.min(2, window.devicePixelRatio || 1), side = Math.round(panel.clientWidth * ratio);
  if (panel.width !== side) panel.width = panel.height = side;
  // Drawn by the CPU: where a GPU is only emulated, these paths take it many times as long.
  const pen = panel.getContext("2d", { willReadFrequently: true }), scale = side / (2 * REACH);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, side, side);
  pen.setTransform(scale, 0, 0, -scale, side / 2, side / 2);
  pen.lineCap = pen.lineJoin = "round";
  pen.pixel = (2 * REACH) / panel.clientWidth;
  pen.mark = pen.pixel * Math.max(0.6, Math.min(1, panel.clientWidth / 300));  // smaller marks in small panels
  return pen;
}

// Squares around places, `size` pixels across in a panel of 300, of those whose class is `label`: many times as fast as discs.
function squares(pen, places, size, colour, labels = null, label = 0) {
  const side = size * pen.mark;
  pen.fillStyle = colour;
  for (let k = 0; k < places.length; k += 2) {
    if (!labels || labels[k >> 1] === label) pen.fillRect(places[k] - side / 2, places[k + 1] - side / 2, side, side);
  }
}

function discs(pen, places, size, colour, labels, label) {
  pen.fillStyle = colour;
  for (let k = 0; k < places.length; k += 2) {
    if (labels[k >> 1] !== label) continue;
    pen.beginPath();
    pen.arc(places[k], places[k + 1], (size / 2) * pen.mark, 0, 2 * Math.PI);
    pen.fill();
  }
}

// The score at the places of the grid: arrows along it, each around its place, and dots where it is short.
function arrows(pen, sigma) {
  const field = score(denoise, grid, sigma), cell = (2 * REACH) / ARROWS;
  pen.fillStyle = colours.arrow;
  pen.beginPath();
  for (let k = 0; k < grid.length; k += 2) {
    const long = Math.hypot(field[k], field[k + 1]), x = grid[k], y = grid[k + 1];
    if (!(long > SHORTEST)) {
      pen.rect(x - pen.pixel, y - pen.pixel, 2 * pen.pixel, 2 * pen.pixel);
      continue;
    }
    const share = Math.min(1, 0.4 + (0.6 * Math.log(long / SHORTEST)) / Math.log(LONGEST / SHORTEST));
    const u = (field[k] / long) * share * cell * 0.5, v = (field[k + 1] / long) * share * cell * 0.5;
    const thick = (0.65 * pen.pixel) / Math.hypot(u, v), [s, t] = [thick * v, thick * u];  // half the shaft, across
    const [neckX, neckY] = [x + 0.2 * u, y + 0.2 * v];
    pen.moveTo(x - u + s, y - v - t);
    pen.lineTo(neckX + s, neckY - t);
    pen.lineTo(neckX + 0.4 * v, neckY - 0.4 * u);
    pen.lineTo(x + u, y + v);
    pen.lineTo(neckX - 0.4 * v, neckY + 0.4 * u);
    pen.lineTo(neckX - s, neckY + t);
    pen.lineTo(x - u - s, y - v + t);
    pen.closePath();
  }
  pen.fill();
}

function paintForward(panel) {
  const pen = open(panel), sigma = sigmaAt(sigmas(), setting.t), shrink = 1 / Math.sqrt(1 + sigma ** 2);
  const places = mix(shrink, data.points, sigma * shrink, cloud);
  pen.globalAlpha = 0.75;
  discs(pen, places, 3.6, colours.a, data.labels, 0);
  squares(pen, places, 3.2, colours.b, data.labels, 1);
  pen.globalAlpha = 1;
  if (sigma > 0 && denoise) arrows(pen, sigma);
  if (setting.data === "drawn") paintPen(pen);
}

function paintRun(panel, run) {
  const pen = open(panel);
  pen.globalAlpha = 0.35;
  squares(pen, data.points, 2.8, colours.a, data.labels, 0);
  squares(pen, data.points, 2.8, colours.b, data.labels, 1);
  pen.globalAlpha = 1;
  if (!run) return;
  const { times, paths, ready } = run;
  const next = times.findIndex((time, k) => k && time <= setting.t), [before, after] = [paths[next - 1], paths[next]];
  const share = (times[next - 1] - setting.t) / (times[next - 1] - times[next]);
  const now = before.subarray(0, 2 * ready).map((value, k) => value + share * (after[k] - value));
  const every = Math.ceil(times.length / VERTICES), recent = Math.max(0, next - 1 - RECENT * every);
  // As thin as the screen has it: a wider line is filled as a shape, which takes ten times as long. Where that is thinner
  // than a pixel of the page, it is darker.
  const thin = (2 * REACH) / panel.width, dark = Math.sqrt(pen.pixel / thin);
  trace(pen, paths, now, SHOWN, [0, next, every], colours.arrow, 0.15 * dark, thin);
  trace(pen, paths, now, SHOWN, [recent, next, every], colours.arrow, 0.5 * dark, thin);
  trace(pen, paths, now, MARKED, [0, next, every], colours.mark, 1, 1.6 * pen.pixel);
  squares(pen, now, 2.2, colours.ink);
  pen.fillStyle = colours.mark;
  for (let k = 0; k < 2 * MARKED; k += 2) {
    pen.beginPath();
    pen.arc(now[k], now[k + 1], 3.5 * pen.pixel, 0, 2 * Math.PI);
    pen.fill();
  }
}

// Paths of the first `count` walks from one of their places to another, and on to where they are now.
function trace(pen, paths, now, count, [from, to, every], colour, alpha, width) {
  pen.strokeStyle = colour;
  pen.globalAlpha = alpha;
  pen.lineWidth = width;
  for (let k = 0; k < 2 * count; k += 2) {
    pen.beginPath();
    pen.moveTo(paths[from][k], paths[from][k + 1]);
    for (let i = from + every; i < to; i += every) pen.lineTo(paths[i][k], paths[i][k + 1]);
    pen.lineTo(now[k], now[k + 1]);
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

function paint() {
  paintForward(panels[0]);
  paintRun(panels[1], runs[0]);
  paintRun(panels[2], runs[1]);
}
