function takeCollection(list) {
  collected = list;
  at("collection").hidden = !collected.length;
  at("collected").replaceChildren(...collected.map(({ glyph, prompt, seed, picture }) => {
    const item = element("li"), button = element("button"), canvas = paper(128);
    button.type = "button";
    button.title = `${quoted(prompt)}, seed ${seed}`;
    button.setAttribute("aria-label", `Collected: ${prompt}, seed ${seed}`);
    button.addEventListener("click", () => openGlyph(glyph));
    button.append(canvas);
    item.append(button);
    decoded(picture).then((bitmap) => {
      canvas.width = canvas.height = bitmap.width;
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
    });
    return item;
  }));
  markCollected();
}

function markCollected() {
  const is = collected.some(({ glyph }) => glyph === chosen?.name);
  at("collect").setAttribute("aria-pressed", String(is));
  at("collect").textContent = is ? "Collected" : "Collect";
}

async function collect() {
  const wanted = !collected.some(({ glyph }) => glyph === chosen.name);
  try {
    takeCollection((await (await ask("collect", { glyph: chosen.name, collect: wanted })).json()).collected);
  } catch (error) {
    say("said", error.message, true);
  }
}

async function makeFont() {
  const name = at("fontName").value, format = at("format").value;
  say("fontSaid", "tracing …");
  try {
    await save("font", `${name.replace(/[^\p{L}\p{N} _-]+/gu, "").trim() || "glyphs"}.${format}`, { format, name });
    say("fontSaid", `${collected.length} ${collected.length === 1 ? "glyph" : "glyphs"}`);
  } catch (error) {
    say("fontSaid", error.message, true);
  }
}
