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
  const ratio = window.devicePixelRatio || 1, side = Math.round(panel.clientWidth * ratio);
  if (panel.width !== side) panel.width = panel.height = side;
  // Drawn by the CPU: where a GPU is only emulated, these paths take it many times as long.
  const pen = panel.getContext("2d", { willReadFrequently: true }), scale = side / (2 * REACH);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, side, side);
  pen.setTransform(scale, 0, 0, -scale, side / 2, side / 2);
  pen.lineCap = pen.lineJoin = "round";
  pen.pixel = (2 * REACH) / panel.clientWidth;
  return pen;
}

// Discs for the first class and squares for the second, `size` pixels across.
function dots(pen, places, labels, size, alpha = 1) {
  const radius = (size / 2) * pen.pixel;
  pen.globalAlpha = alpha;
  for (const label of [0, 1]) {
    pen.beginPath();
    for (let k = 0; k < places.length; k += 2) {
      if ((labels ? labels[k >> 1] : 0) !== label) continue;
      const [x, y] = [places[k], places[k + 1]];
      if (label) pen.rect(x - radius, y - radius, 2 * radius, 2 * radius);
      else { pen.moveTo(x + radius, y); pen.arc(x, y, radius, 0, 2 * Math.PI); }
    }
    pen.fillStyle = labels ? (label ? colours.b : colours.a) : colours.ink;
    pen.fill();
  }
  pen.globalAlpha = 1;
}

// The score at the places of the grid, along its direction, each arrow around its place.
function arrows(pen, sigma) {
  const field = score(denoise, grid, sigma), cell = (2 * REACH) / ARROWS;
  pen.beginPath();
  for (let k = 0; k < grid.length; k += 2) {
    const long = Math.hypot(field[k], field[k + 1]), [x, y] = [grid[k], grid[k + 1]];
    if (!(long > SHORTEST)) {
      pen.moveTo(x, y);
      pen.lineTo(x, y);
      continue;
    }
    const share = Math.min(1, 0.3 + (0.7 * Math.log(long / SHORTEST)) / Math.log(LONGEST / SHORTEST));
    const u = (field[k] / long) * share * cell * 0.5, v = (field[k + 1] / long) * share * cell * 0.5;
    pen.moveTo(x - u, y - v);
    pen.lineTo(x + u, y + v);
    pen.moveTo(x + 0.25 * u - 0.5 * v, y + 0.25 * v + 0.5 * u);
    pen.lineTo(x + u, y + v);
    pen.lineTo(x + 0.25 * u + 0.5 * v, y + 0.25 * v - 0.5 * u);
  }
  pen.strokeStyle = colours.arrow;
  pen.lineWidth = 1.3 * pen.pixel;
  pen.stroke();
}

function paintForward(panel) {
  const pen = open(panel), sigma = sigmaAt(sigmas(), setting.t), shrink = 1 / Math.sqrt(1 + sigma ** 2);
  dots(pen, mix(shrink, data.points, sigma * shrink, cloud), data.labels, 3.4, 0.75);
  if (sigma > 0 && denoise) arrows(pen, sigma);
  if (setting.data === "drawn") paintPen(pen);
}

function paintRun(panel, run) {
  const pen = open(panel);
  dots(pen, data.points, data.labels, 3, 0.3);
  if (!run) return;
  const { times, paths, ready } = run;
  const next = times.findIndex((time, k) => k && time <= setting.t), [before, after] = [paths[next - 1], paths[next]];
  const share = (times[next - 1] - setting.t) / (times[next - 1] - times[next]);
  const now = before.subarray(0, 2 * ready).map((value, k) => value + share * (after[k] - value));
  const every = Math.ceil(times.length / VERTICES), recent = Math.max(0, next - 1 - RECENT * every);
  trace(pen, paths, now, SHOWN, [0, next, every], colours.arrow, 0.15, 1);
  trace(pen, paths, now, SHOWN, [recent, next, every], colours.arrow, 0.5, 1);
  trace(pen, paths, now, MARKED, [0, next, every], colours.mark, 1, 1.6);
  dots(pen, now, null, 2.6, 0.9);
  pen.fillStyle = colours.mark;
  for (let k = 0; k < 2 * MARKED; k += 2) {
    pen.beginPath();
    pen.arc(now[k], now[k + 1], 3.5 * pen.pixel, 0, 2 * Math.PI);
    pen.fill();
  }
}

// Paths of the first `count` walks from one of their places to another, and on to where they are now.
function trace(pen, paths, now, count, [from, to, every], colour, alpha, width) {
  pen.beginPath();
  for (let k = 0; k < 2 * count; k += 2) {
    pen.moveTo(paths[from][k], paths[from][k + 1]);
    for (let i = from + every; i < to; i += every) pen.lineTo(paths[i][k], paths[i][k + 1]);
    pen.lineTo(now[k], now[k + 1]);
  }
  pen.strokeStyle = colour;
  pen.globalAlpha = alpha;
  pen.lineWidth = width * pen.pixel;
  pen.stroke();
  pen.globalAlpha = 1;
}

function paint() {
  paintForward(panels[0]);
  paintRun(panels[1], runs[0]);
  paintRun(panels[2], runs[1]);
}
