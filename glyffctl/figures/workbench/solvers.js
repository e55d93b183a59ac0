// --- samplers: those of core/diffusion/samplers.py and langevin.py ------------------------------------------------
// Each is a generator of steps { i, sigma, x }, from noise x of level sigmas[0] down to sigmas[n] = 0.

function* ancestral(denoise, x, sigmas, draw, eta) {
  for (let i = 0; i + 1 < sigmas.length; i++) {
    const [sigma, target] = [sigmas[i], sigmas[i + 1]], x0 = denoise(x, sigma);
    const up = Math.min(target, (eta * target * Math.sqrt(Math.max(0, sigma ** 2 - target ** 2))) / sigma);
    const down = Math.sqrt(target ** 2 - up ** 2) / sigma;
    x = mix(1 - down, x0, down, x);
    if (up > 0) x = mix(1, x, up, draw(i));
    yield { i, sigma: target, x };
  }
}

function* multistep(denoise, x, sigmas) {
  let before = null, length = 0;
  for (let i = 0; i + 1 < sigmas.length; i++) {
    const [sigma, target] = [sigmas[i], sigmas[i + 1]], x0 = denoise(x, sigma);
    const h = target > 0 ? Math.log(sigma / target) : Infinity;
    const share = before && target > 0 ? h / length / 2 : 0;
    const towards = share ? mix(1 + share, x0, -share, before) : x0;
    x = mix(target / sigma, x, -Math.expm1(-h), towards);
    [before, length] = [x0, h];
    yield { i, sigma: target, x };
  }
}

function* heun(denoise, x, sigmas) {
  for (let i = 0; i + 1 < sigmas.length; i++) {
    const [sigma, target] = [sigmas[i], sigmas[i + 1]];
    const slope = mix(1 / sigma, x, -1 / sigma, denoise(x, sigma));
    let next = mix(1, x, target - sigma, slope);
    if (target > 0) {
      const second = mix(1 / target, next, -1 / target, denoise(next, target));
      next = mix(1, x, (target - sigma) / 2, mix(1, slope, 1, second));
    }
    x = next;
    yield { i, sigma: target, x };
  }
}

const SNR = 0.4, WALK = 5;

function* langevin(denoise, x, sigmas, draw) {
  for (let i = 0; i + 1 < sigmas.length; i++) {
    const target = sigmas[i + 1];
    if (target === 0) x = denoise(x, sigmas[i]);
    else for (let k = 0; k < WALK; k++) {
      const climbed = mix(1 - 2 * SNR ** 2, x, 2 * SNR ** 2, denoise(x, target));
      x = mix(1, climbed, 2 * SNR * target, draw(i * WALK + k));
    }
    yield { i, sigma: target, x };
  }
}

const SOLVERS = {
  ddim: { label: "DDIM", noisy: false, run: (denoise, x, sigmas, draw) => ancestral(denoise, x, sigmas, draw, 0) },
  "dpmpp-2m": { label: "DPM-Solver++ 2M", noisy: false, run: multistep },
  heun: { label: "Heun", noisy: false, run: heun },
  ddpm: { label: "DDPM", noisy: true, run: (denoise, x, sigmas, draw) => ancestral(denoise, x, sigmas, draw, 1) },
  langevin: { label: "Langevin", noisy: true, run: langevin },
};
