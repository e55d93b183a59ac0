// --- is the last step pure noise? ----------------------------------------------------------------------------------

// The error function to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}
const below = (x) => (1 + erf(x / Math.SQRT2)) / 2;

// Brightness is √ᾱ·m + √(1−ᾱ)·N(0, 1) for a glyph of mean m, both in deviations of the mean of pure noise: its law is
// exact, and so is the share of each bin.
function brightness(root, content) {
  const means = doubles(content.means), wide = WIDE, high = 240, bins = 80;
  const average = means.reduce((a, b) => a + b, 0) / means.length;
  const [low, top] = [means.reduce((a, b) => Math.min(a, b)), means.reduce((a, b) => Math.max(a, b))];
  let schedule = common.schedule, at = levelAt(schedule, SCHEDULES[schedule].sigmas.length);
  const panel = drawingPanel(row(root, "wide"), "brightness of noisy glyphs, in deviations of pure noise", wide, high,
    (c, colours) => {
      const [from, to] = [Math.min(-4, at.signal * low - 4), Math.max(4, at.signal * top + 4)], bin = (to - from) / bins;
      const until = Array.from({length: bins + 1}, (_, k) =>
        means.reduce((sum, mean) => sum + below((from + k * bin - at.signal * mean) / at.noise), 0) / means.length);
      const shares = until.slice(1).map((value, k) => (value - until[k]) / bin);
      const tallest = Math.max(0.42, ...shares), x = (b) => 10 + (wide - 20) * (b - from) / (to - from);
      const y = (density) => 12 + (high - 40) * (1 - density / tallest);
      c.font = "12px system-ui, sans-serif";
      c.textAlign = "center";
      c.fillStyle = colours.quiet;
      c.fillRect(10, y(0), wide - 20, 1);
      const step = [2, 10, 20, 40].find((each) => (to - from) / each < wide / 60);
      for (let b = Math.ceil(from / step) * step; b <= to; b += step) c.fillText(short(b), x(b), high - 8);
      c.fillStyle = SCHEDULES[schedule].colour;
      c.globalAlpha = 0.55;
      shares.forEach((density, k) => c.fillRect(x(from + k * bin), y(density), x(bin) - x(0), y(0) - y(density)));
      c.globalAlpha = 1;
      c.strokeStyle = colours.ink;
      c.lineWidth = 2;
      c.beginPath();
      for (let b = -4; b <= 4; b += 0.05) c.lineTo(x(b), y(Math.exp(-b * b / 2) / Math.sqrt(2 * Math.PI)));
      c.stroke();
      c.setLineDash([5, 4]);
      c.strokeStyle = SCHEDULES[schedule].colour;
      c.beginPath();
      c.moveTo(x(at.signal * average), 8);
      c.lineTo(x(at.signal * average), y(0));
      c.stroke();
      c.setLineDash([]);
      panel.remark.textContent = `bars: glyphs at this step; curve: pure noise; dashed: the mean, ${
        short(at.signal * average)} deviations from that of pure noise`;
    });
  const time = player(root, {
    label: "step t", first: 1, last: SCHEDULES[schedule].sigmas.length, start: SCHEDULES[schedule].sigmas.length,
    say: (t) => timed(levelAt(schedule, t)),
    draw(t) { at = levelAt(schedule, t); panel.redraw(); },
  });
  scheduleChoice(row(root, "settings"), (name) => { schedule = name; time.again(); });
}
