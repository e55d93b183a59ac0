// --- what is set, and what follows from it ------------------------------------------------------------------------

const root = document.getElementById("bench");
const at = (name) => document.getElementById(`bench-${name}`);

const WALKS = 500, SHOWN = 100;  // that a sampler draws for the number, and whose paths are seen
const FRESH = 20;                // samples of the data for the control
const STEPS = [1, 2, 3, 5, 8, 12, 20, 30, 50, 100, 200];

const setting = {
  data: "ink", schedule: root.dataset.schedule, steps: 20, solvers: ["ddim", "ddpm"],
  towards: "all", strength: 1, seed: BigInt(root.dataset.seed), t: 80,
};

let data = null;          // { points, labels }
let cloud = null;         // the same number of points of noise, for the data that dissolve
let denoise = null;       // the exact denoiser that arrows and samplers follow, or null without data
let aims = null;          // the points of the class that is drawn
let control = null;       // the least and the largest energy distance of fresh samples
const runs = [null, null];  // of the two samplers: { times, paths, distance }

const sigmas = () => SCHEDULES[setting.schedule];

SHAPES.ink = () => {
  const bytes = Uint8Array.from(atob(root.dataset.ink), (c) => c.charCodeAt(0));
  const points = Float64Array.from(new Int16Array(bytes.buffer), (value) => value / 1000);
  return { points, labels: new Uint8Array(points.length / 2) };
};
SHAPES.drawn = () => ({ points: new Float64Array(0), labels: new Uint8Array(0) });

const ofClass = (label) => data.points.filter((_, k) => data.labels[k >> 1] === label);
const twoClasses = () => data.labels.includes(0) && data.labels.includes(1);

function take(found) {
  data = found;
  cloud = normals(setting.seed, data.labels.length, STREAM.cloud);
}

function aim() {
  const alone = setting.towards !== "all" && twoClasses();
  aims = alone ? ofClass(Number(setting.towards)) : data.points;
  denoise = !aims.length ? null : alone ? guided(exact(data.points), exact(aims), setting.strength) : exact(aims);
}

// --- the work of the samplers, in slices that leave time for frames -----------------------------------------------

const SLICE = 6;  // milliseconds of a frame, and a third of one that takes longer than SLOW: less would only last longer
const SLOW = 50;
let work = null, seen = true, waiting = false;

// Walks first … last − 1 of a sampler: at each of its times their places z = x/√(1+σ²).
function* walk(run, denoise, levels, seed, first, last) {
  const count = last - first, own = seed + BigInt(first);
  const keep = (k, x) => {
    const shrink = 1 / Math.sqrt(1 + levels[k] ** 2);
    run.paths[k].set(x.map((value) => value * shrink), 2 * first);
  };
  const start = normals(own, count, STREAM.start).map((value) => value * levels[0]);
  keep(0, start);
  for (const step of run.solver.run(denoise, start, levels, (i) => normals(own, count, STREAM.step + i))) {
    keep(step.i + 1, step.x);
    yield;
  }
  run.ready = last;
}

function* compute(denoise, aims) {
  const levels = levelsOf(sigmas(), setting.steps), { seed } = setting;
  const made = setting.solvers.map((name) => ({
    solver: SOLVERS[name], times: timesOf(setting.steps), ready: 0, distance: null,
    paths: levels.map(() => new Float64Array(2 * WALKS)),
  }));
  for (let first = 0; first < WALKS; first += SHOWN) {  // the paths that are seen come first
    for (const run of made) yield* walk(run, denoise, levels, seed, first, first + SHOWN);
    if (first) continue;
    runs.splice(0, 2, ...made);
    seen = true;
    yield;
  }
  const within = meanDistance(aims, aims);
  yield;
  for (const run of made) {
    run.distance = energyDistance(aims, run.paths.at(-1), within);
    yield;
  }
  const found = [];
  for (let k = 0; k < FRESH && !control; k++) {
    found.push(energyDistance(aims, freshSample(aims, seed + BigInt(k * WALKS), WALKS), within));
    yield;
  }
  control ??= [Math.min(...found), Math.max(...found)];
}

function begin() {
  waiting = false;
  seen = !denoise;
  work = denoise ? compute(denoise, aims) : null;
}

// Draw anew, once the paths that are being drawn can be seen: a slider that moves would otherwise show none.
// `anew`: the data are other ones, or the random numbers.
function restart(anew) {
  aim();
  if (anew) control = null;
  for (const run of runs) if (run) run.distance = null;
  if (!denoise) runs.fill(null);
  if (denoise && work && !seen) waiting = true;
  else begin();
  if (work) delete root.dataset.settled;
  else root.dataset.settled = "yes";
  wake();
}

// Work for a slice of time; whether there was any.
function advance(slice) {
  if (!work) return false;
  const until = performance.now() + slice;
  while (work && performance.now() < until) {
    if (work.next().done) work = null;
    if (waiting && seen) begin();
  }
  if (!work) root.dataset.settled = "yes";
  return true;
}
