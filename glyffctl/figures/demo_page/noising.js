// --- a glyph under noise -------------------------------------------------------------------------------------------

// Signal + noise = the noisy glyph, for any t at once.
function noising(root) {
  let schedule = common.schedule, draws = 0, eps = normals(GLYPH.length, common.seed);
  const line = row(root, "sum");
  const signal = picturePanel(line, "√ᾱ · glyph", common.side);
  element("span", line, "+", "sign");
  const noise = picturePanel(line, "√(1−ᾱ) · noise", common.side);
  element("span", line, "=", "sign");
  const sum = picturePanel(line, "x at step t", common.side);
  const nothing = new Float32Array(GLYPH.length);
  const time = player(root, {
    label: "step t", first: 0, last: SCHEDULES[schedule].sigmas.length, start: 300,
    say: (t) => timed(levelAt(schedule, t)),
    draw(t) {
      const at = levelAt(schedule, t);
      signal.show(mixed(at.signal, GLYPH, 0, nothing));
      noise.show(mixed(at.noise, eps, 0, nothing));
      sum.show(mixed(at.signal, GLYPH, at.noise, eps));
      signal.remark.textContent = `${short(at.signal)} of the glyph`;
      noise.remark.textContent = `${short(at.noise)} of the noise`;
    },
  });
  const bar = row(root, "settings");
  scheduleChoice(bar, (name) => { schedule = name; time.again(); });
  const again = element("button", bar, "new noise");
  again.type = "button";
  again.addEventListener("click", () => { eps = normals(GLYPH.length, common.seed + ++draws); time.again(); });
}
