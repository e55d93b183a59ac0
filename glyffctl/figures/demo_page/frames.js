// --- frames that were drawn before ---------------------------------------------------------------------------------

// A sheet of pictures on their way out of noise.
async function frames(root, content) {
  const {levels, sheet} = content, shown = (await pictures(sheet)).map((greys) => Float32Array.from(greys, (grey) => grey / 127.5 - 1));
  const panel = picturePanel(row(root, "one"), content.heading, sheet.width, "", sheet.height);
  player(root, {
    label: "progress of the drawing", first: 0, last: levels.length - 1, start: levels.length - 1,
    say: (k) => timed(level(levels[k][1], levels[k][0])),
    draw: (k) => panel.show(shown[k]),
  });
}
