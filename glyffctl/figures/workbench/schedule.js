// --- noise schedules: those of core/diffusion/schedule.py, tables of σ, ascending ---------------------------------

const LEVELS = 1000;
const table = (value) => Float64Array.from({ length: LEVELS }, (_, k) => value(k));

function fromBetas(betas) {
  let sum = 0;  // of ln(1 − β)
  return betas.map((beta) => Math.sqrt(Math.expm1(-(sum += Math.log1p(-beta)))));
}

const cosineSignal = (time) => Math.cos(((time + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
const KARRAS = [0.02, 160, 7];

const SCHEDULES = {
  linear: fromBetas(table((k) => 1e-4 + (k / (LEVELS - 1)) * (0.02 - 1e-4))),
  cosine: fromBetas(table((k) => Math.min(0.999, 1 - cosineSignal((k + 1) / LEVELS) / cosineSignal(k / LEVELS)))),
  karras: table((k) => {
    const [low, top] = [KARRAS[0] ** (1 / KARRAS[2]), KARRAS[1] ** (1 / KARRAS[2])];
    return (low + (k / (LEVELS - 1)) * (top - low)) ** KARRAS[2];
  }),
};

const roundEven = (value) => {  // as Python and PyTorch round
  const whole = Math.floor(value);
  return value - whole === 0.5 ? whole + (whole % 2) : Math.round(value);
};

// The times t that a sampler of n steps visits, from T down to 0: t = 0 is the data, t ≥ 1 has the level sigmas[t − 1].
const timesOf = (n) => Array.from({ length: n + 1 }, (_, k) => roundEven(((n - k) * LEVELS) / n));
const sigmaAt = (sigmas, t) => (t > 0 ? sigmas[t - 1] : 0);
const levelsOf = (sigmas, n) => timesOf(n).map((t) => sigmaAt(sigmas, t));
