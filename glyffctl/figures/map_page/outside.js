// --- results outside the window ----------------------------------------------------------------------------------

// A button at each side of the window: how many results lie beyond it, and which way.
const SIDES = ["left", "right", "top", "bottom"].map((name) => {
  const button = element("button", "", at("outside")), arrow = element("i", "", button), number = element("span", "", button);
  button.className = "panel";
  button.hidden = true;
  const side = { name, button, arrow, number, shown: "", turned: "", count: 0, x: 0, y: 0, spot: [0, 0] };
  button.addEventListener("click", () => {
    let best = Infinity, glyph;
    for (const i of chosen) {
      const [u, v] = screen(x(i), y(i)), d = (u - width / 2) ** 2 + (v - height / 2) ** 2;
      if (beyond(u, v) === side && d < best) { best = d; glyph = i; }
    }
    if (glyph !== undefined) travel(x(glyph), y(glyph), view.scale, landing());
  });
  return side;
});
const [LEFT, RIGHT, TOP, BOTTOM] = SIDES;

function beyond(u, v) {
  const across = Math.max(-u, u - width), down = Math.max(-v, v - height);
  if (across < 0 && down < 0) return null;
  return across > down ? (u < 0 ? LEFT : RIGHT) : v < 0 ? TOP : BOTTOM;
}

// Called with every frame, so it touches the document only where something has changed.
function countOutside() {
  for (const side of SIDES) side.count = side.x = side.y = 0;
  if (chosen) for (const i of chosen) {
    const u = (places[2 * i] / 65535 - view.x) * view.scale + width / 2, v = height / 2 - (places[2 * i + 1] / 65535 - view.y) * view.scale;
    if (u > 0 && u < width && v > 0 && v < height) continue;
    const side = beyond(u, v);
    side.count++; side.x += u; side.y += v;
  }
  for (const side of SIDES) {
    const shown = side.count ? side.count.toLocaleString("en") : "";
    if (shown !== side.shown) {
      side.shown = side.number.textContent = shown;
      side.button.hidden = !shown;
      side.button.title = `${shown} outside the window, ${{ left: "to the left", right: "to the right", top: "above", bottom: "below" }[side.name]}: go to the nearest`;
      side.button.setAttribute("aria-label", side.button.title);
    }
    if (!shown) continue;
    const angle = Math.atan2(side.y / side.count - side.spot[1], side.x / side.count - side.spot[0]);
    const turned = `rotate(${Math.round(angle * 12 / Math.PI) * 15}deg)`;
    if (turned !== side.turned) side.arrow.style.transform = side.turned = turned;
  }
}

// In the middle of the longest part of its side that no panel covers; if that is short, at the side of what is free.
function placeOutside() {
  covers = panels();
  const boxes = covers, room = free(), off = 30;
  for (const side of SIDES) {
    const upright = side === LEFT || side === RIGHT, most = upright ? height : width;
    const low = side === LEFT || side === TOP ? 0 : (upright ? width : height) - 2 * off, high = low + 2 * off;
    const taken = boxes.filter((b) => (upright ? b.left < high && b.right > low : b.top < high && b.bottom > low))
      .map((b) => (upright ? [b.top, b.bottom] : [b.left, b.right])).sort((a, b) => a[0] - b[0]);
    let from = 0, best = [0, 0];
    for (const [start, end] of [...taken, [most, most]]) {
      if (start - from > best[1] - best[0]) best = [from, start];
      from = Math.max(from, end);
    }
    const middle = (best[0] + best[1]) / 2, edge = side === LEFT || side === TOP ? off : (upright ? width : height) - off;
    if (best[1] - best[0] > 120) side.spot = upright ? [edge, middle] : [middle, edge];
    else side.spot = upright ? [side === LEFT ? room.left + off : room.right - off, (room.top + room.bottom) / 2]
      : [(room.left + room.right) / 2, side === TOP ? room.top + off : room.bottom - off];
    side.button.style.left = `${side.spot[0]}px`;
    side.button.style.top = `${side.spot[1]}px`;
  }
}
const watch = new ResizeObserver(() => { placeOutside(); redraw(); });
for (const id of PANELS) watch.observe(at(id));
// Where there is little room, what lies at the bottom lifts the buttons beside it.
new ResizeObserver(() => document.documentElement.style.setProperty("--lift", `${at("dock").offsetHeight}px`)).observe(at("dock"));
