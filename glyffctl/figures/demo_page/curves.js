// --- curves over the step ------------------------------------------------------------------------------------------

const LINES = [[], [9, 4], [3, 3]];

// A curve for each schedule, from 0 to the last step, and a mark on each at the step `now()`.
function curves(parent, heading, ticks, share, value, now) {
  const names = Object.keys(SCHEDULES), count = SCHEDULES[names[0]].sigmas.length, wide = WIDE, high = 190;
  return drawingPanel(row(parent, "wide"), heading, wide, high, (c, colours) => {
    const x = (t) => 46 + (wide - 66) * t / count, y = (number) => 10 + (high - 36) * (1 - share(number));
    c.font = "12px system-ui, sans-serif";
    c.fillStyle = colours.quiet;
    c.textAlign = "right";
    for (const tick of ticks) {
      c.fillText(short(tick), 40, y(tick) + 4);
      c.fillRect(46, y(tick), wide - 66, 0.5);
    }
    c.textAlign = "center";
    for (let t = 0; t <= count; t += count / 4) c.fillText(t.toLocaleString("en"), x(t), high - 6);
    c.fillRect(x(now()), 6, 1, high - 30);
    names.forEach((name, k) => {
      c.strokeStyle = c.fillStyle = SCHEDULES[name].colour;
      c.lineWidth = 2;
      c.setLineDash(LINES[k % LINES.length]);
      c.beginPath();
      for (let t = 1; t <= count; t += t < 20 ? 1 : 3) c.lineTo(x(t), y(value(levelAt(name, t))));
      c.stroke();
      c.setLineDash([]);
      c.beginPath();
      c.arc(x(now()), y(value(levelAt(name, now()))), 4.5, 0, 2 * Math.PI);
      c.fill();
    });
  });
}

// The same step and the same noise under every schedule, and where that is on the curves of ᾱ.
function strips(root) {
  const eps = normals(GLYPH.length, common.seed), names = Object.keys(SCHEDULES), line = row(root, "three");
  const panels = names.map((name) => picturePanel(line, name, common.side, SCHEDULES[name].colour));
  let now = 0;
  const chart = curves(
    root, "share of signal ᾱ over the step t", [0, 0.5, 1], (share) => share, (at) => at.alphaBar, () => now);
  player(root, {
    label: "step t", first: 0, last: SCHEDULES[names[0]].sigmas.length, start: 300,
    say: (t) => `t = ${t.toLocaleString("en")} in all three`,
    draw(t) {
      now = t;
      names.forEach((name, k) => {
        const at = levelAt(name, t);
        panels[k].show(mixed(at.signal, GLYPH, at.noise, eps));
        panels[k].remark.textContent = places(at);
      });
      chart.redraw();
    },
  });
}

// The noise and the score of one noisy glyph, whose data are that glyph alone: score = −ε/√(1−ᾱ).
function factor(root) {
  const eps = normals(GLYPH.length, common.seed), line = row(root, "three");
  const noisy = picturePanel(line, "x at step t", common.side), noise = picturePanel(line, "its noise", common.side);
  const score = picturePanel(line, "the score, sign flipped", common.side);
  let schedule = common.schedule, now = 1;
  const times = (at) => 1 / at.noise, chart = curves(
    root, "how many times longer the score is than the noise", [1, 10, 100],
    (value) => Math.log10(value) / 2.2, times, () => now);
  const time = player(root, {
    label: "step t", first: 1, last: SCHEDULES[schedule].sigmas.length, start: 150,
    say: (t) => timed(levelAt(schedule, t)),
    draw(t) {
      const at = levelAt(schedule, t);
      now = t;
      noisy.show(mixed(at.signal, GLYPH, at.noise, eps));
      noise.show(eps, 6);
      score.show(eps.map((value) => value * times(at)), 6);
      score.remark.textContent = `${short(times(at))} times as long as the noise, in the same greys`;
      chart.redraw();
    },
  });
  scheduleChoice(row(root, "settings"), (name) => { schedule = name; time.again(); });
}
