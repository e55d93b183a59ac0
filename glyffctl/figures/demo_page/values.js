// --- numbers -------------------------------------------------------------------------------------------------------

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const common = read("common");
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const doubles = (text) => new Float64Array(bytes(text).buffer);
const floats = (text) => new Float32Array(bytes(text).buffer);

const SCHEDULES = Object.fromEntries(
  Object.entries(common.schedules ?? {}).map(([name, each]) => [name, {sigmas: doubles(each.sigmas), colour: each.colour}]));
const GLYPH = Float32Array.from(bytes(common.glyph ?? ""), (grey) => grey / 127.5 - 1);

// What is known of a noise level: x = x0 + σ·ε, z = x/√(1+σ²) = √ᾱ·x0 + √(1−ᾱ)·ε.
function level(sigma, t = null) {
  const alphaBar = 1 / (1 + sigma * sigma);
  return {t, sigma, alphaBar, snr: 1 / (sigma * sigma), signal: Math.sqrt(alphaBar), noise: sigma * Math.sqrt(alphaBar)};
}
// Step t of a schedule; 0 is the clean picture.
const levelAt = (name, t) => level(t ? SCHEDULES[name].sigmas[t - 1] : 0, t);

// Standard normal numbers, the same for the same seed (mulberry32; Box and Muller 1958).
function normals(count, seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  const found = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const length = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
    found[i] = length * Math.cos(angle);
    if (i + 1 < count) found[i + 1] = length * Math.sin(angle);
  }
  return found;
}

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
// A number in three digits, such as 0.0123, 12.3, 4.56×10⁻⁵ or ∞.
function short(value) {
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value), sign = value < 0 ? "−" : "";
  if (size >= 0.000995 && size < 9995) return sign + String(Number(size.toPrecision(3)));
  const [digits, power] = size.toExponential(2).split("e");
  const up = [...String(Math.abs(power))].map((digit) => RAISED[digit]).join("");
  return `${sign}${digits}×10${power < 0 ? "⁻" : ""}${up}`;
}

// σ, ᾱ and the signal-to-noise ratio of a level, in a line that breaks only between them.
const places = (at) =>
  [`σ = ${short(at.sigma)}`, `ᾱ = ${short(at.alphaBar)}`, `SNR = ${short(at.snr)}`].map(unbroken).join(" · ");
const timed = (at) => `${unbroken(`t = ${at.t.toLocaleString("en")}`)} · ${places(at)}`;
const unbroken = (text) => text.replaceAll(" ", "\u00a0");
