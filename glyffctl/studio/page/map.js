let places = null;  // Uint16Array: x and y of each real glyph in the map

/** The map with a ring at `place` and dots at the glyphs `rows`. */
async function drawMap(place, rows) {
  if (!places) places = new Uint16Array(bytes((await (await ask("map")).json()).places).buffer);
  const canvas = at("map"), pen = canvas.getContext("2d"), margin = 12, side = canvas.width - 2 * margin;
  const spot = (x, y) => [margin + (x / 65535) * side, margin + (1 - y / 65535) * side];
  const dot = (x, y, radius) => {
    pen.beginPath();
    pen.arc(...spot(x, y), radius, 0, 2 * Math.PI);
  };
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = "rgba(60, 60, 70, 0.28)";
  const wide = places.length > 10000 ? 2 : 4;
  for (let i = 0; i < places.length; i += 2) {
    const [left, top] = spot(places[i], places[i + 1]);
    pen.fillRect(left - wide / 2, top - wide / 2, wide, wide);
  }
  pen.fillStyle = "#0072b2";
  for (const row of rows) {
    dot(places[2 * row], places[2 * row + 1], 5);
    pen.fill();
  }
  pen.strokeStyle = "#d0021b";
  pen.lineWidth = 5;
  dot(...place, 13);
  pen.stroke();
  canvas.hidden = false;
}
