// --- saving what stands out --------------------------------------------------------------------------------------

const standing = () => (found.length ? found : [...(chosen ?? [])]);

// A program for tables takes what begins like a formula for one; a definition is no formula.
const cell = (text) => {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

function table(rows) {
  const heads = ["character", "codepoint", "definition", "radical", "font", "x", "y", ...colourings.map((c) => (c.of ? c.heading : `${c.heading}, 0 to 1`))];
  const texts = rows.map((i) => {
    const [character, code, definition, radical] = data.characters[characterOf[i]];
    const kinds = colourings.map((c) => {
      if (c.of) return c.of[i] < 0 ? "" : c.labels[c.of[i]];
      return c.values[i] === NO_NUMBER ? "" : (c.values[i] / (NO_NUMBER - 1)).toFixed(3);
    });
    const font = fontOf[i] >= 0 ? data.fonts[fontOf[i]] : "";
    return [character, code && `U+${code}`, definition, radical, font, x(i).toFixed(4), y(i).toFixed(4), ...kinds];
  });
  // With a byte order mark, without which Excel takes UTF-8 for something else.
  return `\ufeff${[heads, ...texts].map((row) => `${row.map(cell).join(",")}\r\n`).join("")}`;
}

const MOST_PICTURES = 4096;
async function sheetOfGlyphs(rows) {
  const shown = rows.slice(0, MOST_PICTURES), across = Math.min(64, Math.ceil(Math.sqrt(shown.length))), side = data.cell, gap = 4;
  const page = document.createElement("canvas"), brush = page.getContext("2d");
  page.width = across * (side + gap) + gap;
  page.height = Math.ceil(shown.length / across) * (side + gap) + gap;
  brush.fillStyle = "#ffffff";
  brush.fillRect(0, 0, page.width, page.height);
  for (const k of new Set(shown.map(sheetOf))) await sheet(k);
  shown.forEach((i, k) => thumbnail(brush, i, gap + (k % across) * (side + gap), gap + Math.floor(k / across) * (side + gap), side));
  return new Promise((done) => page.toBlob(done, "image/png"));
}

function save(blob, name) {
  const way = document.createElement("a");
  way.href = URL.createObjectURL(blob);
  way.download = name;
  way.click();
  setTimeout(() => URL.revokeObjectURL(way.href), 10000);
}

at("csv").addEventListener("click", () => save(new Blob([table(standing())], { type: "text/csv" }), "glyphs.csv"));
at("png").addEventListener("click", async () => save(await sheetOfGlyphs(standing()), "glyphs.png"));
