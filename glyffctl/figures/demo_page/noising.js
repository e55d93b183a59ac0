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
  const again = element("button", bar, "other noise");
  again.type = "button";
  again.addEventListener("click", () => { eps = normals(GLYPH.length, common.seed + ++draws); time.again(); });
}

// The same step and the same noise under every schedule, and where that is on the curves of ᾱ.
function strips(root) {
  const eps = normals(GLYPH.length, common.seed), names = Object.keys(SCHEDULES), line = row(root, "three");
  const panels = names.map((name) => picturePanel(line, name, common.side, SCHEDULES[name].colour));
  const count = SCHEDULES[names[0]].sigmas.length, wide = 720, high = 190;
  let now = 0;
  const curves = drawingPanel(row(root, "wide"), "share of signal ᾱ over the step t", wide, high, (c, colours) => {
    const x = (t) => 40 + (wide - 60) * t / count, y = (share) => 10 + (high - 36) * (1 - share);
    c.font = "12px system-ui, sans-serif";
    c.fillStyle = c.strokeStyle = colours.quiet;
    c.textAlign = "right";
    for (const share of [0, 0.5, 1]) {
      c.fillText(String(share), 34, y(share) + 4);
      c.fillRect(40, y(share), wide - 60, 0.5);
    }
    c.textAlign = "center";
    for (let t = 0; t <= count; t += count / 4) c.fillText(t.toLocaleString("en"), x(t), high - 6);
    c.fillRect(x(now), 6, 1, high - 30);
    names.forEach((name, k) => {
      c.strokeStyle = c.fillStyle = SCHEDULES[name].colour;
      c.lineWidth = 2;
      c.setLineDash([[], [9, 4], [3, 3]][k % 3]);
      c.beginPath();
      for (let t = 0; t <= count; t += 2) c.lineTo(x(t), y(levelAt(name, t).alphaBar));
      c.stroke();
      c.setLineDash([]);
      c.beginPath();
      c.arc(x(now), y(levelAt(name, now).alphaBar), 4.5, 0, 2 * Math.PI);
      c.fill();
    });
  });
  player(root, {
    label: "step t", first: 0, last: count, start: 300,
    say: (t) => `t = ${t.toLocaleString("en")} in all three`,
    draw(t) {
      now = t;
      names.forEach((name, k) => {
        const at = levelAt(name, t);
        panels[k].show(mixed(at.signal, GLYPH, at.noise, eps));
        panels[k].remark.textContent = places(at);
      });
      curves.redraw();
    },
  });
}
