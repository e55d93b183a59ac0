at("in").addEventListener("click", () => { leave(); zoom(1.6); });
at("out").addEventListener("click", () => { leave(); zoom(1 / 1.6); });
at("all").addEventListener("click", whole);
at("fit").addEventListener("click", fit);
at("clear").addEventListener("click", () => { clear(); (touched ? canvas : at("search")).focus(); });
document.addEventListener("keydown", (e) => {
  if (e.isComposing) return;
  const typing = ["INPUT", "SELECT"].includes(document.activeElement?.tagName) && document.activeElement.type !== "checkbox";
  if (e.key === "Escape") {
    // The legend lies over the map where there is little room: first that goes, then what was looked for.
    if (narrow.matches && unfolded(at("fold")) && at("key").contains(document.activeElement)) {
      unfold(at("fold"), false);
      at("fold").focus();
      return;
    }
    if (lassoing || drawing) { drawing = null; lasso(false); redraw(); return; }
    clear();
    pick(null);
    canvas.focus();
  } else if (typing || e.ctrlKey || e.metaKey || e.altKey) return;
  else if (e.key === "/") { e.preventDefault(); at("search").focus(); }
  else if (e.key === "+" || e.key === "=") zoom(1.6);
  else if (e.key === "-") zoom(1 / 1.6);
  else if (e.key === "0") whole();
  else if (e.key === "s") lasso(!lassoing);
  else if (e.key === "ArrowLeft") pan(80, 0);
  else if (e.key === "ArrowRight") pan(-80, 0);
  else if (e.key === "ArrowUp") pan(0, 80);
  else if (e.key === "ArrowDown") pan(0, -80);
});
let waiting = 0;
at("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 120); });
at("search").addEventListener("keydown", (e) => {
  if (e.key !== "Enter" || e.isComposing) return;
  clearTimeout(waiting);
  if (!found.length || e.target.dataset.asked !== e.target.value) search();
  e.target.dataset.asked = e.target.value;
  if (found.length) fly(found[next++ % found.length]);
});
at("by").addEventListener("change", (e) => {
  colouring = Number(e.target.value);
  if (pressed > -2) { release(); tell(); }
  recolour();
  key();
});
at("thick").addEventListener("change", redraw);

function resize() {
  ratio = window.devicePixelRatio || 1;
  const before = home;
  width = window.innerWidth; height = window.innerHeight;
  for (const c of [canvas, lines]) { c.width = Math.round(width * ratio); c.height = Math.round(height * ratio); }
  home = Math.max(120, Math.min(width, height) * 0.98);
  view.scale *= home / before;
  began.scale *= home / before;
  placeOutside();
  redraw();
}
window.addEventListener("resize", resize);
canvas.addEventListener("webglcontextlost", (e) => { e.preventDefault(); ready = 0; });
canvas.addEventListener("webglcontextrestored", () => { if (begin()) decode(); });

at("title").textContent = data.title;
at("notes").textContent = data.notes.join("  ·  ");
at("notes").hidden = !data.notes.length;
colourings.forEach((c, k) => { const option = element("option", c.heading, at("by")); option.value = String(k); });
at("by").value = String(colouring);
at("by").parentElement.hidden = colourings.length < 1;
dress();
key();
tell();
resize();
whole();
if (begin()) decode();
