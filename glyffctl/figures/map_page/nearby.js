// --- the neighbours of a glyph -----------------------------------------------------------------------------------

// Those in the pictures were found when the map was made, those on the map are found here.
const likeness = () => document.querySelector("input[name=likeness]:checked").value;

function mapNeighbours(u, v, but) {
  const many = data.nearCount, best = [];
  let worst = Infinity;
  for (let i = 0; i < count; i++) {
    const d = (x(i) - u) ** 2 + (y(i) - v) ** 2;
    if (d >= worst || i === but) continue;
    best.push([d, i]);
    best.sort((a, b) => a[0] - b[0]);
    if (best.length > many) best.pop();
    if (best.length === many) worst = best[many - 1][0];
  }
  return best.map(([, i]) => i);
}

const pictureNeighbours = (one) => (one.marked ? one.marked.near : [...near.subarray(one.glyph * data.nearCount, (one.glyph + 1) * data.nearCount)]);
const spot = (one) => (one.marked ? [one.marked.x, one.marked.y] : [x(one.glyph), y(one.glyph)]);

let alikes = [];
function pick(one) {
  picked = one;
  at("near").hidden = !one;
  alikes = [];
  if (one) alike();
  redraw();
}

function alike() {
  const pixels = pictureNeighbours(picked), around = mapNeighbours(...spot(picked), picked.glyph ?? -1).slice(0, pixels.length);
  const byPixels = likeness() === "pixels", both = pixels.filter((i) => around.includes(i)).length;
  alikes = byPixels ? pixels : around;
  at("whose").textContent = picked.marked ? "what the model drew" : data.characters[characterOf[picked.glyph]][0] || "this glyph";
  at("saying").textContent = `${byPixels ? `Nearest first, compared in ${data.compared}.` : "Nearest first, by their places on the map."} `
    + `${both} of ${pixels.length} are the same either way.`;
  const list = at("alikes");
  list.replaceChildren();
  for (const i of alikes) {
    const [character, code, definition] = data.characters[characterOf[i]];
    const button = element("button", "", element("li", "", list)), box = element("canvas", "", button);
    box.width = box.height = 96;
    element("span", character || code || "·", button);
    button.title = definition;
    button.setAttribute("aria-label", `${character} ${definition}: go there`);
    button.addEventListener("click", () => fly(i));
    miniature(box, i);
  }
  redraw();
}

function miniature(box, i) {
  const brush = box.getContext("2d"), k = sheetOf(i);
  brush.fillStyle = "#ffffff";
  brush.fillRect(0, 0, 96, 96);
  if (!sheets[k]) { sheet(k).then(() => { if (sheets[k] && box.isConnected) miniature(box, i); }); return; }
  brush.imageSmoothingQuality = "high";
  thumbnail(brush, i, 0, 0, 96);
}

// Lines from a glyph to its neighbours: where those in the pictures lie far off, the map tells less than the truth.
function threads(ink, paper) {
  const [u, v] = screen(...spot(picked));
  for (const [colour, wide] of [[paper, 3], [ink, 1]]) {
    pen.strokeStyle = colour; pen.lineWidth = wide;
    pen.beginPath();
    for (const i of alikes) { pen.moveTo(u, v); pen.lineTo(...screen(x(i), y(i))); }
    pen.stroke();
  }
  pen.fillStyle = ink;
  for (const i of alikes) {
    pen.beginPath();
    pen.arc(...screen(x(i), y(i)), 3, 0, 7);
    pen.fill();
  }
}

at("unpick").addEventListener("click", () => { pick(null); canvas.focus(); });
for (const choice of document.querySelectorAll("input[name=likeness]")) choice.addEventListener("change", () => { if (picked) alike(); });
