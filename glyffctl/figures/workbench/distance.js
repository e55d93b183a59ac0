// --- energy distance, as core/theory/planar.py --------------------------------------------------------------------

function meanDistance(xs, ys) {
  let sum = 0;
  for (let i = 0; i < xs.length; i += 2) for (let j = 0; j < ys.length; j += 2) {
    const u = xs[i] - ys[j], v = xs[i + 1] - ys[j + 1];
    sum += Math.sqrt(u * u + v * v);
  }
  return (sum * 4) / (xs.length * ys.length);
}

// 2·E|X−Y| − E|X−X'| − E|Y−Y'| for X spread evenly over `points` and a sample `drawn` of Y, without bias.
function energyDistance(points, drawn, within = meanDistance(points, points)) {
  const count = drawn.length / 2;
  return 2 * meanDistance(points, drawn) - within - (meanDistance(drawn, drawn) * count) / (count - 1);
}

// A sample of the data as large as that of a sampler, drawn evenly and with replacement: where a perfect one ends.
function freshSample(points, seed, count) {
  const chances = uniforms(seed, count, STREAM.sample), drawn = new Float64Array(2 * count);
  for (let k = 0; k < count; k++) {
    const n = Math.floor((chances[2 * k] * points.length) / 2);
    drawn.set(points.subarray(2 * n, 2 * n + 2), 2 * k);
  }
  return drawn;
}
