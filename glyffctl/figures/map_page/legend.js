// --- colours and what stands out ---------------------------------------------------------------------------------

function recolour() {
  const c = colourings[colouring], table = new Uint8Array(4 * count);
  for (let i = 0; i < count; i++) {
    let colour = data.plain;
    if (c && c.of) colour = c.of[i] < 0 ? data.others : data.colours[c.of[i]];
    const value = c && c.values ? ramped(0.25 + 0.75 * c.values[i] / 255) : rgbs[colour] ??= rgb(colour);
    table.set(value, 4 * i);
  }
  gl.bindBuffer(gl.ARRAY_BUFFER, buffers.colour);
  gl.bufferData(gl.ARRAY_BUFFER, table, gl.STATIC_DRAW);
  redraw();
}
const rgbs = {};

function mark() {
  standsOut = new Uint8Array(count).fill(chosen ? 0 : 255);
  if (chosen) for (const i of chosen) standsOut[i] = 255;
  gl.bindBuffer(gl.ARRAY_BUFFER, buffers.on);
  gl.bufferData(gl.ARRAY_BUFFER, standsOut, gl.STATIC_DRAW);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffers.chosen);
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, chosen || new Uint32Array(0), gl.STATIC_DRAW);
  at("actions").hidden = !chosen || !chosen.length;
  document.body.classList.toggle("finding", Boolean(chosen));
  redraw();
}

function choose(test) {
  const found = [];
  for (let i = 0; i < count; i++) if (test(i)) found.push(i);
  chosen = Uint32Array.from(found);
  mark();
}

function element(kind, text, parent) {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function key() {
  const list = at("groups"), c = colourings[colouring];
  list.replaceChildren();
  at("scale").hidden = !(c && c.values);
  if (!c || !c.of) return;
  const rows = c.labels.map((label, k) => [k, data.colours[k], label, c.counts[k]]);
  if (c.others) rows.push([-1, data.others, "all others", c.others]);
  for (const [k, colour, label, number] of rows) {
    const button = element("button", "", element("li", "", list));
    element("i", "", button).style.background = colour;
    element("span", label, button);
    element("em", number.toLocaleString("en"), button);
    button.setAttribute("aria-pressed", "false");
    button.title = "Show these alone";
    button.addEventListener("click", () => {
      const again = pressed === k;
      clear();
      if (again) return;
      pressed = k;
      button.setAttribute("aria-pressed", "true");
      choose((i) => c.of[i] === k);
      at("count").textContent = `${number.toLocaleString("en")} of ${count.toLocaleString("en")} glyphs: ${label}`;
    });
  }
}

function release() {
  pressed = -2;
  chosen = null;
  for (const button of at("groups").querySelectorAll("button")) button.setAttribute("aria-pressed", "false");
  mark();
}

function tell() { at("count").textContent = `${count.toLocaleString("en")} glyphs. Zoom in, and the dots become glyphs.`; }

// --- folding -----------------------------------------------------------------------------------------------------

const unfolded = (button) => button.getAttribute("aria-expanded") === "true";
function unfold(button, open) {
  button.setAttribute("aria-expanded", String(open));
  at(button.getAttribute("aria-controls")).hidden = !open;
}
for (const id of ["fold", "list"]) at(id).addEventListener("click", (e) => unfold(e.currentTarget, !unfolded(e.currentTarget)));
unfold(at("fold"), !narrow.matches);
narrow.addEventListener("change", () => unfold(at("fold"), !narrow.matches));
