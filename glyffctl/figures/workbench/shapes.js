// --- data sets: about 500 points in the plane, with a class each --------------------------------------------------

const POINTS = 500;
const even = () => new Uint8Array(POINTS);
const halves = () => Uint8Array.from({ length: POINTS }, (_, k) => (k < POINTS / 2 ? 0 : 1));

// Points (x, y) of `place` for a number in (0, 1) along the shape and a class, with a little noise around them.
function along(labels, spread, place) {
  const chances = uniforms(0n, POINTS, STREAM.shape), noise = normals(BigInt(POINTS), POINTS, STREAM.shape);
  const points = new Float64Array(2 * POINTS);
  for (let k = 0; k < POINTS; k++) {
    const [x, y] = place(chances[2 * k], labels[k]);
    points[2 * k] = x + spread * noise[2 * k];
    points[2 * k + 1] = y + spread * noise[2 * k + 1];
  }
  return { points, labels };
}

const arc = (x, y, radius, from, to) => (share) => {
  const angle = from + share * (to - from);
  return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
};
const upper = arc(-0.6, -0.35, 1.25, 0, Math.PI), lower = arc(0.6, 0.35, 1.25, Math.PI, 2 * Math.PI);
const CORNERS = [[-1.5, -0.9], [1.4, -1.2], [0.1, 1.6], [-0.5, 0.2], [1.3, 0.8]];

const SHAPES = {
  points: () => along(even(), 0, (share) => CORNERS[Math.floor(share * CORNERS.length)]),
  spiral: () => along(even(), 0.05, (share) => {
    const turn = 1 + 10 * Math.sqrt(share);
    return [0.185 * turn * Math.cos(turn), 0.185 * turn * Math.sin(turn)];
  }),
  moons: () => along(halves(), 0.09, (share, label) => (label ? lower : upper)(share)),
  // Two strokes that cross: where they do, a place has no class of its own.
  classes: () => along(halves(), 0.18, (share, label) => {
    const run = 3.4 * share - 1.7;
    return label ? [run, 0.45 * Math.sin(1.8 * run) - 0.35 * run] : [0.4 * Math.sin(1.8 * run) + 0.35 * run, run];
  }),
};
