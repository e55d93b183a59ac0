// --- a link that restores the view -------------------------------------------------------------------------------

// Everything that was chosen is written into the address, in words where there are some: a map of other glyphs takes
// what it has of them. What is as it was at first is left out.
let known = "", later = 0;

function described() {
  const now = new URLSearchParams(), c = colourings[colouring], set = (name, value) => now.append(name, value);
  if (theme) set("theme", theme);
  if (c && colouring !== data.initial) set("by", c.heading);
  if (c) for (const k of c.added) set("add", c.labels[k]);
  if (at("thick").checked) set("density", "1");
  if (!at("names").checked) set("names", "0");
  if (pressed > -2) set("show", pressed < 0 ? "" : c.labels[pressed]);
  if (inside.length) set("in", inside.flat().map((w) => Math.round(w * 1e4)).join(" "));
  else if (chosen && pressed === -2) set("q", at("search").value.trim());
  if (picked?.glyph !== undefined) set("glyph", String(picked.glyph));
  if (picked && likeness() !== "pixels") set("alike", "map");
  if (!entire) set("step", String(Math.round(moment) + 1));
  if (!atHome()) for (const [name, value] of [["x", view.x.toFixed(5)], ["y", view.y.toFixed(5)], ["zoom", (view.scale / home).toPrecision(4)]]) set(name, value);
  return now.toString();
}

function remember() {
  clearTimeout(later);
  later = setTimeout(() => {
    const text = described();
    document.body.dataset.link = text;
    if (text === known) return;
    known = text;
    // Some browsers do not let a page from disk change its address: the button still makes a link.
    try { history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search); } catch { /* nothing to do */ }
  }, 400);
}

// A link is as untrusted as the one who sends it: what is not understood is passed over.
function restore(text) {
  const wish = new URLSearchParams(text), get = (name) => wish.get(name), number = (name) => { const n = Number.parseFloat(get(name)); return Number.isFinite(n) ? n : null; };
  if (["light", "dark"].includes(get("theme"))) theme = get("theme");
  const by = colourings.findIndex((c) => c.heading === get("by"));
  if (by >= 0) { colouring = by; at("by").value = String(by); }
  const c = colourings[colouring];
  if (c?.of) for (const name of wish.getAll("add").slice(0, data.named)) if (c.labels.includes(name)) give(c, c.labels.indexOf(name));
  at("thick").checked = get("density") === "1";
  at("names").checked = get("names") !== "0";
  redress();
  if (get("q")) { at("search").value = get("q").slice(0, 200); search(); }
  else if (get("in")) {
    const all = get("in").split(" ").map(Number).slice(0, 2 * MOST_CORNERS + 2);
    if (all.length > 5 && all.length % 2 === 0 && all.every(Number.isFinite))
      surround(Array.from({ length: all.length / 2 }, (_, k) => [all[2 * k] / 1e4, all[2 * k + 1] / 1e4]));
  } else if (c?.of && get("show") !== null) {
    const k = get("show") ? c.labels.indexOf(get("show")) : -1;
    if (k >= 0 || !get("show")) press(k);
  }
  document.querySelector(`input[name=likeness][value=${get("alike") === "map" ? "map" : "pixels"}]`).checked = true;
  const glyph = number("glyph");
  if (glyph !== null && Number.isInteger(glyph) && glyph >= 0 && glyph < count) pick({ glyph });
  if (number("step") !== null && data.trails.length) goTo(number("step") - 1);
  if ([number("x"), number("y"), number("zoom")].every((n) => n !== null)) {
    flight++;
    Object.assign(view, { x: Math.min(1, Math.max(0, number("x"))), y: Math.min(1, Math.max(0, number("y"))) });
    view.scale = Math.min(nearest(), Math.max(home * 0.2, number("zoom") * home));
  }
  redraw();
}

at("link").addEventListener("click", async () => {
  const link = `${location.href.split("#")[0]}#${described()}`;
  let said = "link copied";
  try { await navigator.clipboard.writeText(link); } catch { said = "the link is in the address bar"; }
  at("link").title = said;
  at("said").textContent = said;
  at("said").classList.add("shown");
  setTimeout(() => at("said").classList.remove("shown"), 2000);
});
window.addEventListener("hashchange", () => { if (location.hash.slice(1) !== known) { clear(); restore(location.hash.slice(1)); } });
if (gl && location.hash.length > 1) restore(location.hash.slice(1));
