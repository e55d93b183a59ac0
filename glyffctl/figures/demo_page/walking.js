// --- walks ---------------------------------------------------------------------------------------------------------

function walks(root, content) {
  const {frames, walkers, modes, expected, names, reach} = content, points = doubles(content.points);
  const paths = Object.fromEntries(Object.entries(content.paths).map(([name, text]) => [name, floats(text)]));
  const x = (z) => SIDE * (z / reach + 1) / 2, y = (z) => SIDE - x(z), colours = [common.palette[1], common.palette[0]];
  const place = (path, frame, walker) => [path[2 * (frame * walkers + walker)], path[2 * (frame * walkers + walker) + 1]];
  const background = {}, grid = densityOf(points)(1, content.sigma ** 2, reach, CELLS);
  let now = 0;
  const line = row(root, "pair");
  const panels = Object.entries(paths).map(([name, path], k) =>
    drawingPanel(line, name, SIDE, SIDE, (c, page) => {
      const theme = isDark() ? "dark" : "light";
      c.drawImage((background[theme] ??= hill(grid, CELLS, 0.5)), 0, 0, SIDE, SIDE);
      c.strokeStyle = colours[k];
      c.lineWidth = 1.2;
      for (let walker = 0; walker < (k ? 1 : content.drawn); walker++) {
        c.beginPath();
        for (let frame = 0; frame <= now; frame++) {
          const [px, py] = place(path, frame, walker);
          c.lineTo(x(px), y(py));
        }
        c.stroke();
      }
      c.fillStyle = page.ink;
      for (let walker = 0; walker < walkers; walker++) {
        const [px, py] = place(path, now, walker);
        mark(c, 0, x(px), y(py), 2);
      }
    }));
  const shares = (path) => {
    const counts = modes.map(() => 0);
    for (let walker = 0; walker < walkers; walker++) {
      const [px, py] = place(path, now, walker);
      const far = modes.map(([mx, my]) => Math.hypot(px - mx, py - my));
      counts[far.indexOf(Math.min(...far))]++;
    }
    return counts.map((count) => count / walkers);
  };
  const table = element("table", root), head = element("tr", element("thead", table)), body = element("tbody", table);
  element("th", head, `of ${walkers} walks, nearest to`);
  for (const name of names) element("th", head, `the ${name} mode`);
  const percent = (share) => `${(100 * share).toFixed(0)} %`;
  const fill = (name, values) => {
    const line = element("tr", body);
    element("th", line, name);
    return values.map((value) => element("td", line, percent(value)));
  };
  const cells = Object.keys(paths).map((name) => fill(name, expected));
  fill("true shares", expected);
  player(root, {
    label: "steps walked", first: 0, last: frames.length - 1, start: 0,
    say: (k) => `${frames[k]} of ${frames.at(-1)} steps, all at ${places(level(content.sigma))}`,
    draw(k) {
      now = k;
      for (const panel of panels) panel.redraw();
      Object.values(paths).forEach((path, p) => shares(path).forEach((share, m) => {
        cells[p][m].textContent = percent(share);
      }));
    },
  });
}
