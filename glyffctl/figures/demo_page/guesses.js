// --- what denoisers guess ------------------------------------------------------------------------------------------

// One digit, rounded up, as the scale of an error.
function roundUp(value) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(value, 1e-6)));
  return Number((Math.ceil(value / unit) * unit).toPrecision(1));
}

// From d = x0 − D(x, σ) follow the guess, x0 − d, the predicted noise, ε + d/σ, and its error, d/σ.
async function guesses(root, content) {
  const eps = floats(content.noise), missed = {};
  for (const [schedule, of] of Object.entries(content.guesses)) {
    missed[schedule] = {};
    for (const [who, sheet] of Object.entries(of)) missed[schedule][who] = await scaledPictures(sheet);
  }
  const truth = row(root, "three");
  picturePanel(truth, "the glyph", common.side).show(GLYPH);
  picturePanel(truth, "the noise", common.side).show(eps, 3);
  const noisy = picturePanel(truth, "all it sees: x at step t", common.side);
  const panels = content.denoisers.map((who, k) => {
    const line = row(root, "three"), name = who.split(" ")[0];
    const panel = (what) => picturePanel(line, `${name}: ${what}`, common.side, common.palette[k]);
    return {who, glyph: panel("glyph"), noise: panel("noise"), error: panel("its error")};
  });
  let schedule = common.schedule;
  const there = (k) => levelAt(schedule, content.times[schedule][k]);
  const time = player(root, {
    label: "step t", first: 0, last: content.times[schedule].length - 1, start: 10,
    say: (k) => timed(there(k)),
    draw(k) {
      const at = there(k), off = (who) => missed[schedule][who][k].map((d) => d / at.sigma);
      const errors = panels.map(({who}) => off(who)), sizes = errors.map(rootMeanSquare);
      const reach = roundUp(2.5 * Math.max(...sizes));
      noisy.show(mixed(at.signal, GLYPH, at.noise, eps));
      panels.forEach((panel, p) => {
        panel.glyph.show(mixed(1, GLYPH, -1, missed[schedule][panel.who][k]));
        panel.noise.show(mixed(1, eps, 1, errors[p]), 3);
        panel.error.show(errors[p], reach, true);
        panel.error.remark.textContent =
          `off by ${sizes[p] < 0.0005 ? "< 0.001" : sizes[p].toFixed(3)}; blue −${reach}, orange ${reach}`;
      });
    },
  });
  scheduleChoice(row(root, "settings"), (name) => { schedule = name; time.again(); });
}
