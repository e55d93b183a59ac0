const tiles = Array.from({ length: count }, (_, k) => {
  const tile = element("button"), canvas = paper(128);
  tile.type = "button";
  tile.disabled = true;
  tile.setAttribute("aria-label", `Glyph ${k + 1}`);
  tile.append(canvas);
  tile.addEventListener("click", () => openGlyph(sheets[shown].names[k]));
  at("sheet").append(tile);
  return { tile, canvas };
});

function paint(bitmap) {
  const size = bitmap.width / columns;
  tiles.forEach(({ canvas }, k) => {
    if (canvas.width !== size) canvas.width = canvas.height = size;
    canvas.getContext("2d").drawImage(
      bitmap, (k % columns) * size, Math.floor(k / columns) * size, size, size, 0, 0, size, size);
  });
}

/** Mark the tile of the chosen glyph, and let those be chosen that are done. */
function markTiles(done) {
  tiles.forEach(({ tile }, k) => {
    tile.disabled = !done;
    tile.setAttribute("aria-pressed", String(done && chosen?.name === sheets[shown].names[k]));
  });
}

function show(number) {
  shown = number;
  const { bitmap, title } = sheets[shown];
  paint(bitmap);
  at("title").textContent = title;
  at("back").disabled = shown <= 0;
  at("forth").disabled = shown >= sheets.length - 1;
  markTiles(true);
}

const stop = () => stops[Number(at("steps").value)] ?? { passes: null, steps: null };

/** Draw a sheet of the words in the field, or one that begins with a glyph: from = { glyph, keep, strength }. */
async function draw(from = null, what = "") {
  const words = at("prompt").value, seed = Math.max(0, Math.floor(Number(at("seed").value) || 0));
  at("seed").value = seed;
  const { passes = null, steps = null } = stop();
  const signal = begin();
  at("examples").hidden = true;
  at("progress").value = 0;
  say("status", "");
  at("title").textContent = what || quoted(words);
  markTiles(false);
  const started = performance.now();
  let notes = [], recipe = "";
  try {
    const wish = {
      window: here, prompt: words, seed, passes: from ? null : passes, steps,
      guidance: Number(at("guidance").value), from,
    };
    for await (const said of lines("draw", wish, signal)) {
      if (said.recipe) ({ recipe, notes } = said);
      if (said.share) at("progress").value = said.share;
      if (!said.sheet) continue;
      const bitmap = await decoded(said.sheet);
      if (signal.aborted) return;
      paint(bitmap);
      if (!said.done) continue;
      sheets = [...sheets, { names: said.done, bitmap, title: `${what || quoted(words)}, seeds ${seed}–${seed + count - 1}` }];
      sheets = sheets.slice(-mostSheets);
      show(sheets.length - 1);
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      say("status", [`${recipe}: ${seconds} s`, ...notes].join(" · "));
      document.body.dataset.sheets = String(Number(document.body.dataset.sheets ?? 0) + 1);
    }
  } catch (error) {
    if (error.name !== "AbortError") say("status", error.message, true);
    else if (running?.signal === signal) say("status", "stopped");
  } finally {
    const last = running?.signal === signal;
    end(signal);
    if (last && sheets.length) show(shown);  // what was not drawn to its end goes
  }
}

let waiting = 0;

/** Draw again soon with the same noise: a slider is still moving. */
function drawSoon() {
  if (!sheets.length && !running) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => draw(), 150);
}

function sayStops() {
  const { passes, steps } = stop();
  at("stepsSaid").textContent = passes ? `${passes} (student)` : steps ? `${steps} (whole model)` : "";
  at("guidanceSaid").textContent = Number(at("guidance").value).toFixed(1);
}
