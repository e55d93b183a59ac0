const panel = at("glyph");

async function openGlyph(name) {
  stopPlaying();
  let known;
  try {
    known = await (await ask(`glyph/${name}`)).json();
  } catch (error) {
    say("status", error.message, true);
    return;
  }
  chosen = { name, ...known };
  strip = null;
  panel.hidden = false;
  panel.scrollTop = 0;
  if (shown >= 0 && !running) markTiles(true);
  at("name").textContent = quoted(known.prompt);
  at("how").textContent = `seed ${known.seed} · ${known.recipe}`;
  at("lineage").hidden = !known.lineage.length;
  at("lineage").replaceChildren(...known.lineage.map((line) => element("li", line)));
  at("restWords").textContent = quoted(at("prompt").value);
  say("said", "");
  say("largeSaid", "");
  for (const button of document.querySelectorAll("[data-large]")) button.hidden = known.large === null;
  markCollected();
  await Promise.all([showSteps(name), showAround(name)]);
}

function closeGlyph() {
  stopPlaying();
  chosen = null;
  panel.hidden = true;
  if (shown >= 0 && !running) markTiles(true);
}

async function showSteps(name) {
  const canvas = at("picture");
  at("film").hidden = chosen.steps < 2;
  try {
    const bitmap = await createImageBitmap(await (await ask(`glyph/${name}/steps`)).blob());
    if (chosen?.name !== name) return;
    strip = bitmap;
    canvas.width = canvas.height = 2 * strip.height;
    at("step").max = strip.width / strip.height - 1;
    showStep(strip.width / strip.height - 1);
  } catch (error) {
    at("film").hidden = true;
    if (chosen?.name === name) showPng(await ask(`glyph/${name}/save.png`), canvas);
    else say("said", error.message, true);
  }
}

async function showPng(answer, canvas) {
  const bitmap = await createImageBitmap(await answer.blob());
  canvas.width = canvas.height = bitmap.width;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
}

function showStep(step) {
  if (!strip) return;
  const canvas = at("picture"), pen = canvas.getContext("2d"), size = strip.height;
  if (canvas.width !== 2 * size) canvas.width = canvas.height = 2 * size;
  at("step").value = step;
  at("stepSaid").textContent = `step ${step + 1} of ${strip.width / size}`;
  at("step").setAttribute("aria-valuetext", at("stepSaid").textContent);
  pen.drawImage(strip, step * size, 0, size, size, 0, 0, canvas.width, canvas.height);
}

function stopPlaying() {
  clearInterval(playing);
  playing = 0;
  at("play").textContent = "▶";
}

function play() {
  if (playing) return stopPlaying();
  const last = Number(at("step").max);
  let step = Number(at("step").value) >= last ? -1 : Number(at("step").value);
  at("play").textContent = "❚❚";
  playing = setInterval(() => {
    step += 1;
    showStep(step);
    if (step >= last) stopPlaying();
  }, Math.max(60, 1600 / (last + 1)));
  return undefined;
}

async function showAround(name) {
  at("neighbours").replaceChildren();
  at("map").hidden = true;
  say("mapSaid", "");
  if (about.data.missing) {
    say("around", about.data.missing);
    say("mapSaid", about.data.missing);
    return;
  }
  say("around", `Comparing with ${about.data.glyphs.toLocaleString("en")} glyphs of ${about.data.folder} …`);
  try {
    const { neighbours, rows, place } = await (await ask(`glyph/${name}/around`)).json();
    if (chosen?.name !== name) return;
    say("around", "The nearest first:");
    at("neighbours").replaceChildren(...(await Promise.all(neighbours.map(neighbour))));
    if (place) await drawMap(place, rows);
    else say("mapSaid", about.data.map);
  } catch (error) {
    say("around", error.message, true);
  }
}

async function neighbour({ character, codepoint, definition, radical, picture }) {
  const item = element("li"), bitmap = await decoded(picture), canvas = paper(bitmap.width);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  item.title = [`${character} ${codepoint}`, radical && `radical ${radical}`, definition].filter(Boolean).join("\n");
  canvas.setAttribute("aria-hidden", "true");  // it is named beside
  item.append(canvas, element("b", character), element("span", definition));
  return item;
}

async function enlarge() {
  const { name } = chosen, signal = begin();
  say("largeSaid", "enlarging …");
  at("enlarge").disabled = true;
  try {
    for await (const said of lines("enlarge", { window: here, glyph: name }, signal)) {
      if (said.share) say("largeSaid", `${Math.round(100 * said.share)} %`);
      if (!said.large) continue;
      const bitmap = await decoded(said.large), canvas = at("picture");
      if (chosen?.name !== name) return;
      stopPlaying();
      canvas.width = canvas.height = said.size;
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      say("largeSaid", `${said.size}×${said.size} pixels`);
      for (const button of document.querySelectorAll("[data-large]")) button.hidden = false;
    }
  } catch (error) {
    say("largeSaid", error.name === "AbortError" ? "stopped" : error.message);
  } finally {
    at("enlarge").disabled = false;
    end(signal);
  }
}

/** Draw a sheet that begins with the chosen glyph. */
function goOn(keep, strength, what) {
  const from = { glyph: chosen.name, keep, strength };
  if (matchMedia("(max-width: 980px)").matches) closeGlyph();  // the sheet lies beneath
  draw(from, what);
}
