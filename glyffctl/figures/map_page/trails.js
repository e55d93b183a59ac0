// --- how a drawing went ------------------------------------------------------------------------------------------

const LAST = Math.max(0, ...data.trails.map((trail) => trail.points.length - 1));
const PACE = 5;          // steps a second
let moment = LAST;       // the step that is shown; between two of them while it plays
let entire = true;       // all of every path, with the first, the middle and the last guess
let playing = 0;         // the number of the frame that goes on with it

at("trace").hidden = !data.trails.length;
at("step").max = String(LAST);
at("step").value = String(LAST);

function drawTrail(trail, paper) {
  const spots = trail.points.map(([u, v]) => screen(u, v)), end = Math.min(moment, spots.length - 1), red = shownRed();
  const path = entire ? spots : [...spots.slice(0, Math.floor(end) + 1), screen(...placeAt(trail, end))];
  for (const [way, colour, wide, alpha] of [[spots, red, 1, 0.35], [path, paper, 5, 1], [path, red, 2, 1]]) {
    pen.globalAlpha = alpha;
    pen.strokeStyle = colour; pen.lineWidth = wide; pen.lineJoin = "round";
    pen.beginPath();
    way.forEach(([u, v], k) => (k ? pen.lineTo(u, v) : pen.moveTo(u, v)));
    pen.stroke();
  }
  pen.globalAlpha = 1;
  pen.fillStyle = red;
  path.forEach(([u, v], k) => {
    pen.beginPath();
    pen.arc(u, v, k + 1 === path.length ? 5 : 2.5, 0, 7);
    pen.fill();
  });
}

function placeAt(trail, step) {
  const k = Math.floor(step), [a, b] = trail.points[k], [c, d] = trail.points[Math.min(k + 1, trail.points.length - 1)];
  return [a + (c - a) * (step - k), b + (d - b) * (step - k)];
}

// The guesses of a trail that are shown as pictures.
function stations(trail) {
  const last = trail.points.length - 1, end = Math.min(moment, last);
  const station = (k, place) => ({ x: place[0], y: place[1], picture: trail.pictures[k], label: trail.label, near: trail.near[k], note: `guess after step ${k + 1} of ${last + 1}` });
  if (entire) return [...new Set([0, last >> 1, last])].map((k) => station(k, trail.points[k]));
  return [station(Math.round(end), placeAt(trail, end))];
}

function goTo(step) {
  entire = false;
  moment = Math.min(LAST, Math.max(0, step));
  at("step").value = String(Math.round(moment));
  at("when").textContent = `step ${Math.round(moment) + 1} of ${LAST + 1}`;
  redraw();
}

function stop() { playing = 0; at("play").textContent = "▶"; at("play").setAttribute("aria-label", "Play"); }
function play() {
  if (playing) { stop(); return; }
  let before = performance.now();
  goTo(moment >= LAST ? 0 : moment);
  at("play").textContent = "❚❚";
  at("play").setAttribute("aria-label", "Pause");
  const frame = (now) => {
    if (!playing) return;
    goTo(moment + (Math.max(0, now - before) / 1000) * PACE);
    before = now;
    if (moment < LAST) playing = requestAnimationFrame(frame); else stop();
  };
  playing = requestAnimationFrame(frame);
}
at("play").addEventListener("click", play);
at("step").addEventListener("input", (e) => { stop(); goTo(Number(e.target.value)); });
at("when").textContent = `step ${LAST + 1} of ${LAST + 1}`;
