// --- data in the plane ---------------------------------------------------------------------------------------------

const RAMPS = {
  light: [[255, 255, 255], [207, 227, 241], [106, 174, 214], [31, 111, 178], [8, 48, 107]],  // DENSITY in figures/style.py
  dark: [[26, 29, 33], [20, 52, 84], [31, 111, 178], [106, 174, 214], [225, 238, 248]],
};
const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

// The grid as a picture of cells × cells, its highest value at `strongest` of the colours.
function hill(values, cells, strongest) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = cells;
  const context = canvas.getContext("2d"), image = context.createImageData(cells, cells), {data} = image;
  const ramp = RAMPS[isDark() ? "dark" : "light"];
  let top = 1e-300;
  for (let i = 0; i < values.length; i++) if (values[i] > top) top = values[i];
  for (let i = 0; i < values.length; i++) {
    const at = Math.max(0, values[i] / top * strongest * 4), k = Math.min(3, Math.floor(at)), share = at - k;
    const low = ramp[k], high = ramp[k + 1];
    for (let c = 0; c < 3; c++) data[4 * i + c] = low[c] + (high[c] - low[c]) * share;
    data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// A mark of radius r; groups differ in shape as well as in colour.
function mark(c, shape, x, y, r) {
  c.beginPath();
  if (shape === 0) c.arc(x, y, r, 0, 2 * Math.PI);
  else if (shape === 1) c.rect(x - r, y - r, 2 * r, 2 * r);
  else {
    const corners = [3, 4, 3][shape - 2] ?? 5, turn = shape === 4 ? Math.PI / 2 : -Math.PI / 2;
    for (let k = 0; k < corners; k++) {
      const angle = turn + 2 * Math.PI * k / corners;
      c.lineTo(x + 1.3 * r * Math.cos(angle), y + 1.3 * r * Math.sin(angle));
    }
    c.closePath();
  }
  c.fill();
}

const CELLS = 121, SIDE = 360;

function legend(parent, names) {
  if (names.length < 2) return;
  const list = element("ul", parent, "", "legend");
  names.forEach((name, k) => {
    const item = element("li", list), canvas = element("canvas", item);
    canvas.width = canvas.height = 28;
    canvas.setAttribute("aria-hidden", "true");  // its name stands beside it
    const c = canvas.getContext("2d");
    c.fillStyle = common.palette[k];
    mark(c, k, 14, 14, 8);
    element("span", item, name);
  });
}

function readPlane(content) {
  const at = (z) => SIDE * (z / content.reach + 1) / 2;
  return {
    points: doubles(content.points), groups: bytes(content.groups), x: at, y: (z) => SIDE - at(z),
    // The level as drawn: with less noise the peaks are narrower than the grid.
    drawn: (level) => (level.alphaBar > content.sharpest ? {alphaBar: content.sharpest, held: true} : level),
  };
}

const held = (level) =>
  (level.held ? `drawn at ᾱ = ${level.alphaBar}: with less noise the peaks are too narrow to see` : "the stronger the colour, the higher");

function density(root, content) {
  const {points, groups, x, y, drawn} = readPlane(content), eps = normals(points.length, common.seed);
  const densityAt = densityOf(points);
  let schedule = common.schedule, at = levelAt(schedule, 0);
  const line = row(root, "pair");
  const dots = drawingPanel(line, "noisy glyphs", SIDE, SIDE, (c) => {
    c.globalAlpha = 0.8;
    for (let n = 0; n < groups.length; n++) {
      c.fillStyle = common.palette[groups[n]];
      mark(c, groups[n], x(at.signal * points[2 * n] + at.noise * eps[2 * n]),
        y(at.signal * points[2 * n + 1] + at.noise * eps[2 * n + 1]), 1.9);
    }
    c.globalAlpha = 1;
  });
  const field = drawingPanel(line, "their density", SIDE, SIDE, (c) => {
    const level = drawn(at), {alphaBar} = level;
    const grid = densityAt(Math.sqrt(alphaBar), 1 - alphaBar, content.reach, CELLS);
    c.drawImage(hill(grid, CELLS, 1), 0, 0, SIDE, SIDE);
    field.remark.textContent = held(level);
  });
  legend(root, content.names);
  const time = player(root, {
    label: "step t", first: 0, last: SCHEDULES[schedule].sigmas.length, start: 150,
    say: (t) => timed(levelAt(schedule, t)),
    draw(t) { at = levelAt(schedule, t); dots.redraw(); field.redraw(); },
  });
  scheduleChoice(row(root, "settings"), (name) => { schedule = name; time.again(); });
}

const ARROWS = 11, SHORTEST = 0.5;  // as in figures/density_score.py

function score(root, content) {
  const {points, x, y, drawn} = readPlane(content), {reach} = content, densityAt = densityOf(points);
  const starts = Array.from({length: ARROWS}, (_, k) => reach * (2 * (k + 1) / (ARROWS + 1) - 1));
  const arrows = (alphaBar) => starts.flatMap((up) => starts.map((right) => {
    const [dx, dy] = scoreAt(points, Math.sqrt(alphaBar), 1 - alphaBar, right, up);
    return {right, up, dx, dy, length: Math.hypot(dx, dy)};
  }));
  const top = Math.max(...arrows(content.sharpest).map((each) => each.length));
  let schedule = common.schedule, at = levelAt(schedule, 150);
  const field = drawingPanel(row(root, "one"), "score on the density", SIDE, SIDE, (c, colours) => {
    const level = drawn(at), {alphaBar} = level;
    const grid = densityAt(Math.sqrt(alphaBar), 1 - alphaBar, reach, CELLS);
    c.drawImage(hill(grid, CELLS, 0.4), 0, 0, SIDE, SIDE);
    c.strokeStyle = c.fillStyle = colours.strong;
    const found = arrows(alphaBar), cell = SIDE / (ARROWS + 1);
    for (const each of found) {
      const [px, py] = [x(each.right), y(each.up)];
      if (each.length < SHORTEST) {
        c.beginPath();
        c.arc(px, py, 1.6, 0, 2 * Math.PI);
        c.fill();
        continue;
      }
      const share = 0.35 + 0.6 * Math.log(each.length / SHORTEST) / Math.log(top / SHORTEST);
      const dx = each.dx / each.length * share * cell, dy = -each.dy / each.length * share * cell;
      c.lineWidth = 1 + 1.6 * share;
      c.beginPath();
      c.moveTo(px - dx / 2, py - dy / 2);
      c.lineTo(px + dx / 2, py + dy / 2);
      for (const side of [0.45, -0.45]) {  // the head
        const angle = Math.atan2(dy, dx) + Math.PI + side, long = 6;
        c.moveTo(px + dx / 2, py + dy / 2);
        c.lineTo(px + dx / 2 + long * Math.cos(angle), py + dy / 2 + long * Math.sin(angle));
      }
      c.stroke();
    }
    const longest = Math.max(...found.map((each) => each.length));
    field.remark.textContent = `longest arrow: ${short(longest)}; density: ${held(level)}`;
  });
  const time = player(root, {
    label: "step t", first: 1, last: SCHEDULES[schedule].sigmas.length, start: 150,
    say: (t) => timed(levelAt(schedule, t)),
    draw(t) { at = levelAt(schedule, t); field.redraw(); },
  });
  scheduleChoice(row(root, "settings"), (name) => { schedule = name; time.again(); });
}

// Data after t steps, and after t steps that leave out the factor √(1−β) by which a step shrinks.
function shrinking(root, content) {
  const points = doubles(content.points), eps = normals(points.length, common.seed), {reach} = content;
  const at = (z) => SIDE * (z / reach + 1) / 2, line = row(root, "pair");
  let schedule = common.schedule, shown = [];
  const betas = Object.fromEntries(Object.keys(SCHEDULES).map((name) => [name, added(name)]));
  const panels = ["with the factor √(1−β)", "without it"].map((heading, k) =>
    drawingPanel(line, heading, SIDE, SIDE, (c) => {
      c.fillStyle = common.palette[k];
      for (let n = 0; n < points.length; n += 2) mark(c, 0, at(shown[k][n]), SIDE - at(shown[k][n + 1]), 2);
    }));
  const time = player(root, {
    label: "step t", first: 0, last: SCHEDULES[schedule].sigmas.length, start: 250,
    say: (t) => timed(levelAt(schedule, t)) + (t ? ` · ${unbroken(`β = ${short(betas[schedule].each[t - 1])}`)}` : ""),
    draw(t) {
      const {signal, noise} = levelAt(schedule, t), sum = t ? betas[schedule].sums[t - 1] : 0;
      shown = [[signal, noise], [1, Math.sqrt(sum)]].map(([a, b]) => points.map((x, n) => a * x + b * eps[n]));
      panels.forEach((panel, k) => {
        panel.redraw();
        panel.remark.textContent = `variance of these points: ${short(rootMeanSquare(shown[k]) ** 2)}`;
      });
    },
  });
  scheduleChoice(row(root, "settings"), (name) => { schedule = name; time.again(); });
}

// β of each step, 1 − ᾱ/ᾱ before it, and their sums.
function added(name) {
  let before = 1, sum = 0;
  const each = [], sums = [];
  for (let t = 1; t <= SCHEDULES[name].sigmas.length; t++) {
    const {alphaBar} = levelAt(name, t);
    each.push(1 - alphaBar / before);
    sums.push((sum += each.at(-1)));
    before = alphaBar;
  }
  return {each, sums};
}
