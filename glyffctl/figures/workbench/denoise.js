// --- exact denoisers of finite data, as in core/theory/oracle.py; points are [x, y, x, y, …] ----------------------

const NEGLIGIBLE = 40;  // a weight of e⁻⁴⁰ of the largest is below the last digit of the sum

// E[x0 | x] for data drawn evenly from `points`: x is a mixture of Gaussians of variance σ².
function exact(points) {
  const squared = new Float64Array(points.length / 2);
  return (x, sigma) => {
    const x0 = new Float64Array(x.length), scale = 1 / (2 * sigma * sigma);
    for (let b = 0; b < x.length; b += 2) {
      let least = Infinity;
      for (let n = 0; n < squared.length; n++) {
        const u = points[2 * n] - x[b], v = points[2 * n + 1] - x[b + 1];
        squared[n] = u * u + v * v;
        if (squared[n] < least) least = squared[n];
      }
      const far = least + NEGLIGIBLE / scale;
      let total = 0, across = 0, down = 0;
      for (let n = 0; n < squared.length; n++) {
        if (squared[n] > far) continue;
        const weight = Math.exp((least - squared[n]) * scale);
        total += weight;
        across += weight * points[2 * n];
        down += weight * points[2 * n + 1];
      }
      x0[b] = across / total;
      x0[b + 1] = down / total;
    }
    return x0;
  };
}

const mix = (a, x, b, y) => x.map((value, k) => a * value + b * y[k]);

// Classifier-free guidance, as core/diffusion/guidance.py: away + γ·(towards − away); 1 is `towards` alone.
function guided(away, towards, strength) {
  if (strength === 1) return towards;
  return (x, sigma) => mix(1 - strength, away(x, sigma), strength, towards(x, sigma));
}

// ∇ log q(z) at places z = x/√(1+σ²), where all levels have about the same width: √(1+σ²)·(D − x)/σ².
function score(denoise, z, sigma) {
  const wide = Math.sqrt(1 + sigma * sigma), x = z.map((value) => value * wide);
  return mix(wide / sigma ** 2, denoise(x, sigma), -wide / sigma ** 2, x);
}
