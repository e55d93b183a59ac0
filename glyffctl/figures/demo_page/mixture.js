// --- Gaussians around data in the plane -----------------------------------------------------------------------------

// The score at a place of Gaussians of one variance around the data, centre·scale, as core/theory/planar.py.
function scoreAt(points, scale, variance, x, y) {
  const squared = new Float64Array(points.length / 2);
  let nearest = Infinity, sum = 0, towardsX = 0, towardsY = 0;
  for (let n = 0; n < squared.length; n++) {
    const dx = scale * points[2 * n] - x, dy = scale * points[2 * n + 1] - y;
    squared[n] = dx * dx + dy * dy;
    if (squared[n] < nearest) nearest = squared[n];
  }
  const far = nearest + 80 * variance;  // a weight of e⁻⁴⁰ of the largest is below the last digit of the sum
  for (let n = 0; n < squared.length; n++) {
    if (squared[n] > far) continue;
    const weight = Math.exp((nearest - squared[n]) / (2 * variance));
    sum += weight;
    towardsX += weight * (scale * points[2 * n] - x);
    towardsY += weight * (scale * points[2 * n + 1] - y);
  }
  return [towardsX / sum / variance, towardsY / sum / variance];
}

const NODES = 96;    // along each axis
const SMOOTH = 5.3;  // from so many nodes to a standard deviation on, times the data's reach, they err by less than 1e-7
const FAR = 6.5;     // standard deviations: there a Gaussian has 7e-10 of its height

// The data as weights on a grid of Chebyshev nodes: for a smooth f, Σ f(x_n, y_n) is Σ w_kl f(node_k, node_l), by the
// barycentric formula along each axis (Berrut and Trefethen 2004, SIAM Review 46).
function onNodes(points) {
  const reach = 1e-9 + points.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const nodes = Float64Array.from({length: NODES}, (_, k) => reach * Math.cos(Math.PI * k / (NODES - 1)));
  const shares = (value) => {
    const on = nodes.indexOf(value), found = new Float64Array(NODES);
    if (on >= 0) {
      found[on] = 1;
      return found;
    }
    let sum = 0;
    for (let k = 0; k < NODES; k++) {
      found[k] = (k % 2 ? -1 : 1) * (k && k < NODES - 1 ? 1 : 0.5) / (value - nodes[k]);
      sum += found[k];
    }
    return found.map((share) => share / sum);
  };
  const weights = new Float64Array(NODES * NODES);  // rows: y
  for (let n = 0; n < points.length; n += 2) {
    const across = shares(points[n]), down = shares(points[n + 1]);
    for (let l = 0; l < NODES; l++) for (let k = 0; k < NODES; k++) weights[l * NODES + k] += down[l] * across[k];
  }
  return {reach, nodes, weights};
}

// sum + left·right, row by row; left has NODES columns, a multiple of four: four at once save most of the reading.
function addProduct(sum, left, right, across) {
  for (let i = 0; i * across < sum.length; i++) {
    for (let k = 0; k < NODES; k += 4) {
      const [a, b, c, d] = left.subarray(i * NODES + k, i * NODES + k + 4);
      for (let j = 0, at = k * across, to = i * across; j < across; j++, at++, to++) {
        sum[to] += a * right[at] + b * right[at + across] + c * right[at + 2 * across] + d * right[at + 3 * across];
      }
    }
  }
  return sum;
}

// The density of such Gaussians on a grid of cells × cells, rows from the top, to 1e-7 of its largest value. Each is a
// product of one along each axis; wide ones see the data as on nodes, narrow ones are left out where they are far.
function densityOf(points) {
  const data = onNodes(points);
  return (scale, variance, reach, cells) => {
    const step = 2 * reach / (cells - 1), width = Math.sqrt(variance);
    const factor = 1 / (points.length / 2 * 2 * Math.PI * variance);
    const gaussian = (cell, centre) => Math.exp(-((cell * step - reach - centre) ** 2) / (2 * variance));
    const values = new Float64Array(cells * cells);
    const wide = () => {
      const lines = new Float64Array(NODES * cells), down = new Float64Array(cells * NODES);
      for (let k = 0; k < NODES; k++) {
        for (let j = 0; j < cells; j++) {
          lines[k * cells + j] = gaussian(j, scale * data.nodes[k]);
          down[(cells - 1 - j) * NODES + k] = factor * lines[k * cells + j];
        }
      }
      return addProduct(values, down, addProduct(new Float64Array(NODES * cells), data.weights, lines, cells), cells);
    };
    const narrow = () => {
      const across = new Float64Array(cells);
      const first = (centre) => Math.max(0, Math.ceil((centre + reach - FAR * width) / step));
      const last = (centre) => Math.min(cells - 1, Math.floor((centre + reach + FAR * width) / step));
      for (let n = 0; n < points.length; n += 2) {
        const x = scale * points[n], y = scale * points[n + 1], left = first(x), right = last(x), top = last(y);
        for (let j = left; j <= right; j++) across[j] = gaussian(j, x);
        for (let i = first(y); i <= top; i++) {
          const down = factor * gaussian(i, y), from = (cells - 1 - i) * cells;
          for (let j = left; j <= right; j++) values[from + j] += down * across[j];
        }
      }
      return values;
    };
    return width * NODES > SMOOTH * data.reach * scale ? wide() : narrow();
  };
}
