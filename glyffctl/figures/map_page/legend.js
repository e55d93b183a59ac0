// --- colours and what stands out ---------------------------------------------------------------------------------

function recolour() {
  const c = colourings[colouring], table = new Uint8Array(4 * count);
  const others = tint(-1), plainTint = shade(rgb(data.plain)), tints = c?.of ? c.labels.map((_, k) => tint(c.slots.indexOf(k))) : [];
  const levels = c?.values ? Array.from({ length: NO_NUMBER + 1 }, (_, v) => (v === NO_NUMBER ? others : ramped(0.25 + 0.75 * v / (NO_NUMBER - 1)))) : [];
  for (let i = 0; i < count; i++) table.set(c?.of ? tints[c.of[i]] ?? others : c?.values ? levels[c.values[i]] : plainTint, 4 * i);
  gl.bindBuffer(gl.ARRAY_BUFFER, buffers.colour);
  gl.bufferData(gl.ARRAY_BUFFER, table, gl.STATIC_DRAW);
  redraw();
}
// The colour of a slot of the legend; of all others for -1.
const tint = (slot) => (slot < 0 ? look().others : shade(rgb(data.colours[slot])));

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
  at("more").parentElement.hidden = !c?.of || c.labels.length <= c.slots.length;
  if (!c) return;
  if (c.values) {
    [at("low").textContent, at("high").textContent] = c.ends;
    at("missing").textContent = c.missing ? `${c.missing.toLocaleString("en")} without a value, in grey` : "";
    return;
  }
  at("more").placeholder = /radical/i.test(c.heading) ? "Another: water, 水 or 85" : "Another";
  at("all-labels").replaceChildren(...c.labels.filter((_, k) => !c.slots.includes(k)).map((label) => { const option = element("option"); option.value = label; return option; }));
  for (const k of [...c.slots, -1]) {
    const label = k < 0 ? "all others" : c.labels[k], number = members(c, k);
    if (!number) continue;
    const button = element("button", "", element("li", "", list));
    element("i", "", button).style.background = css(tint(c.slots.indexOf(k)));
    element("span", label, button);
    element("em", number.toLocaleString("en"), button);
    button.dataset.label = String(k);
    button.setAttribute("aria-pressed", String(pressed === k));
    button.title = "Show only these";
    button.addEventListener("click", () => { if (pressed === k) clear(); else press(k); });
  }
}

const members = (c, k) => (k >= 0 ? c.counts[k] : count - c.slots.reduce((sum, slot) => sum + c.counts[slot], 0));

// One group alone: that of label k, or of all without a colour.
function press(k) {
  const c = colourings[colouring];
  clear();
  if (k >= 0) give(c, k);
  pressed = k;
  for (const button of at("groups").querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.label === String(k)));
  choose((i) => (k < 0 ? !c.slots.includes(c.of[i]) : c.of[i] === k));
  at("count").textContent = `${members(c, k).toLocaleString("en")} of ${count.toLocaleString("en")} glyphs: ${k < 0 ? "all others" : c.labels[k]}`;
}

// A colour for label k, which had none: that of the smallest group which was not asked for.
function give(c, k) {
  if (c.slots.includes(k)) return;
  if (c.added.length === c.slots.length) c.added.shift();
  const slot = c.slots.findLastIndex((label) => !c.added.includes(label));
  c.slots[slot] = k;
  c.added.push(k);
  if (c !== colourings[colouring]) return;
  key();
  recolour();
}

// A label by what was typed: all of it, a radical's number or character, or how one of its words begins.
function labelled(c, text) {
  const asked = text.trim().toLowerCase(), lower = c.labels.map((label) => label.toLowerCase()), number = /^\d{1,3}$/.test(asked) ? Number(asked) : 0;
  const tests = [(l) => l === asked, (l) => number > 0 && radicals.get(radicalOf(l)) === number, (l) => l.split(" ").includes(asked), (l) => ` ${l}`.includes(` ${asked}`)];
  for (const test of asked ? tests : []) {
    const k = lower.findIndex(test);
    if (k >= 0) return k;
  }
  return -1;
}
at("more").addEventListener("change", (e) => {
  const k = labelled(colourings[colouring], e.target.value);
  if (k >= 0) press(k);
  else if (e.target.value.trim()) at("count").textContent = `no group “${e.target.value.trim().slice(0, 40)}” among ${colourings[colouring].labels.length.toLocaleString("en")}`;
  e.target.value = "";
});

function release() {
  pressed = -2;
  chosen = null;
  for (const button of at("groups").querySelectorAll("button")) button.setAttribute("aria-pressed", "false");
  mark();
}

function tell() { at("count").textContent = `${count.toLocaleString("en")} glyphs. Zoom in, and the dots become glyphs; click one for its neighbours.`; }

// --- folding -----------------------------------------------------------------------------------------------------

const unfolded = (button) => button.getAttribute("aria-expanded") === "true";
function unfold(button, open) {
  button.setAttribute("aria-expanded", String(open));
  at(button.getAttribute("aria-controls")).hidden = !open;
}
for (const id of ["fold", "list"]) at(id).addEventListener("click", (e) => unfold(e.currentTarget, !unfolded(e.currentTarget)));
unfold(at("fold"), !narrow.matches);
narrow.addEventListener("change", () => unfold(at("fold"), !narrow.matches));
