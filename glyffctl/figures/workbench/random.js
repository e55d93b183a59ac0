// --- random numbers: those of core/noise.py, by (seed, index, stream) ---------------------------------------------

const STREAM = { start: 0, cloud: 6, step: 16, sample: 3, shape: 11 };  // `step` + i is draw i of a sampler

// The upper half of the product of two words of 32 bits.
function high(a, b) {
  const a0 = a & 0xffff, a1 = a >>> 16, b0 = b & 0xffff, b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16), rest = a0 * b1 + (middle & 0xffff);
  return a1 * b1 + ((middle / 65536) | 0) + ((rest / 65536) | 0);
}

// Philox4x32-10 with the key 0, of the counter (0, stream, low, up): its first two words, into `words`.
function philox(words, stream, low, up) {
  let c0 = 0, c1 = stream, c2 = low, c3 = up, k0 = 0, k1 = 0;
  for (let round = 0; round < 10; round++) {
    const next0 = high(0xcd9e8d57, c2) ^ c1 ^ k0, next2 = high(0xd2511f53, c0) ^ c3 ^ k1;
    c1 = Math.imul(0xcd9e8d57, c2) >>> 0;
    c3 = Math.imul(0xd2511f53, c0) >>> 0;
    c0 = next0 >>> 0;
    c2 = next2 >>> 0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  words[0] = c0;
  words[1] = c1;
}

// Two numbers in (0, 1) for each of `count` samples from `seed` (a BigInt) up.
function uniforms(seed, count, stream) {
  const found = new Float64Array(2 * count), words = new Uint32Array(2);
  const low = Number(seed & 0xffffffffn), up = Number((seed >> 32n) & 0xffffffffn);
  for (let k = 0; k < count; k++) {
    philox(words, stream, (low + k) >>> 0, (up + (low + k > 0xffffffff)) >>> 0);
    found[2 * k] = (words[0] + 0.5) / 2 ** 32;
    found[2 * k + 1] = (words[1] + 0.5) / 2 ** 32;
  }
  return found;
}

// Standard normal points [x, y, x, y, …], a point for each sample: the transform of Box and Muller.
function normals(seed, count, stream) {
  const found = uniforms(seed, count, stream);
  for (let k = 0; k < found.length; k += 2) {
    const radius = Math.sqrt(-2 * Math.log(found[k])), angle = 2 * Math.PI * found[k + 1];
    found[k] = radius * Math.cos(angle);
    found[k + 1] = radius * Math.sin(angle);
  }
  return found;
}
