// --- controls, words and frames -----------------------------------------------------------------------------------

const SECONDS = 6;        // from one end of time to the other at the speed 1
let playing = 0;          // 1 dissolves the data, −1 draws
let before = 0;           // the time of the last frame that played
let frame = 0, time = setting.t;
let worked = 0;           // the time of the last frame that worked

const round = (value) => Number(value.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 });
const signed = (value) => value.toFixed(4).replace("-", "−");

function wake() {
  frame ||= requestAnimationFrame(draw);
}

function draw(now) {
  frame = 0;
  if (playing) {
    const passed = before ? Math.min(100, now - before) : 0;  // after a pause it goes on where it was
    before = now;
    time += (playing * passed * LEVELS * Number(at("speed").value)) / (1000 * SECONDS);
    setting.t = Math.round(Math.max(0, Math.min(LEVELS, time)));
    if (setting.t === (playing > 0 ? LEVELS : 0)) play(0);
  }
  const gap = worked ? now - worked : 0, busy = advance(gap > SLOW ? Math.min(100, gap / 3) : SLICE);
  worked = busy ? now : 0;
  paint();
  tell();
  if (playing || busy) wake();
}

function goTo(t) {
  play(0);
  setting.t = Math.max(0, Math.min(LEVELS, t));
  wake();
}

function play(way) {
  if (way && setting.t === (way > 0 ? LEVELS : 0)) setting.t = way > 0 ? 0 : LEVELS;
  [playing, before, time] = [way, 0, setting.t];
  for (const [name, own] of [["dissolve", 1], ["form", -1]]) at(name).setAttribute("aria-pressed", String(way === own));
  wake();
}

// To the next time that the samplers visit.
function step(way) {
  const times = timesOf(setting.steps), { t } = setting;
  goTo(way < 0 ? times.find((time) => time < t) ?? 0 : times.findLast((time) => time > t) ?? LEVELS);
}

// Only what is new is written: else it would be spoken again.
function write(name, text) {
  if (at(name).textContent !== text) at(name).textContent = text;
}

// What changes with every frame.
function tell() {
  const { t } = setting, sigma = sigmaAt(sigmas(), t);
  at("time").value = String(t);
  const level = `t = ${t} · σ = ${round(sigma)} · ᾱ = ${round(1 / (1 + sigma ** 2))} · SNR = ${t ? round(sigma ** -2) : "∞"}`;
  // Aloud where playing stops, not in every frame; and not where the slider has the focus, which speaks for itself.
  at("level").setAttribute("aria-live", playing || document.activeElement === at("time") ? "off" : "polite");
  write("level", level);
  at("time").setAttribute("aria-valuetext", level);
  const beside = control ? `${FRESH} fresh samples of the data: ${signed(control[0])} to ${signed(control[1])}` : "";
  ["first", "second"].forEach((name, k) => {
    const { distance } = runs[k] ?? { distance: null };
    write(`${name}-distance`, distance === null ? "…" : signed(distance));
    write(`${name}-control`, beside);
  });
}

// What changes with a setting.
function show() {
  const both = twoClasses(), alone = both && setting.towards !== "all", chosen = (name) => at(name).selectedOptions[0].label;
  at("towards").disabled = !both;
  at("strength").disabled = !alone;
  at("strength-value").textContent = alone ? setting.strength.toFixed(2) : "–";
  at("steps-value").textContent = String(setting.steps);
  at("pen").hidden = !drawing();
  at("hint").hidden = !drawing() || data.labels.length > 0;
  panels[0].classList.toggle("drawing", drawing());
  panels[0].setAttribute("role", drawing() ? "application" : "img");  // keys are for drawing
  if (drawing()) panels[0].tabIndex = 0;
  else panels[0].removeAttribute("tabindex");
  setting.solvers.forEach((name, k) => {
    at(["first-kind", "second-kind"][k]).textContent = SOLVERS[name].noisy ? "SDE: new noise at every step" : "ODE: no noise on the way";
  });
  at("summary").textContent = [
    chosen("data"), `${data.labels.length} points`, `${setting.schedule} schedule`, `${setting.steps} steps`,
    ...(alone ? [chosen("towards"), `guidance ${setting.strength}`] : []),
  ].join(" · ");
}

function change(apply, anew) {
  apply();
  show();
  restart(anew);
}

const choose = (name, apply, anew = false) => at(name).addEventListener("input", (e) => change(() => apply(e.target.value), anew));
choose("data", (name) => {
  setting.data = name;
  take(SHAPES[name]());
  if (name === "drawn") goTo(0);
}, true);
choose("schedule", (name) => { setting.schedule = name; });
choose("steps", (k) => { setting.steps = STEPS[k]; });
choose("towards", (name) => { setting.towards = name; }, true);
choose("strength", (value) => { setting.strength = Number(value); });
choose("first-solver", (name) => { setting.solvers[0] = name; });
choose("second-solver", (name) => { setting.solvers[1] = name; });
at("noise").addEventListener("click", () => change(() => {
  setting.seed += BigInt(WALKS);
  take(data);
}, true));
at("erase").addEventListener("click", () => change(() => take(SHAPES.drawn()), true));
at("time").addEventListener("input", (e) => goTo(Number(e.target.value)));
at("dissolve").addEventListener("click", () => play(playing > 0 ? 0 : 1));
at("form").addEventListener("click", () => play(playing < 0 ? 0 : -1));
at("back").addEventListener("click", () => step(-1));
at("on").addEventListener("click", () => step(1));

function repaint() {
  readColours();
  paint();
}
new ResizeObserver(repaint).observe(root);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
for (const [kind, printing] of [["beforeprint", true], ["afterprint", false]]) window.addEventListener(kind, () => {
  root.classList.toggle("printing", printing);  // on white, whatever the screen has
  repaint();
});

root.hidden = false;
at("data").value = setting.data;
at("schedule").value = setting.schedule;
at("steps").max = String(STEPS.length - 1);
at("steps").value = String(STEPS.indexOf(setting.steps));
["first-solver", "second-solver"].forEach((name, k) => {
  for (const noisy of [false, true]) {
    const group = document.createElement("optgroup");
    group.label = noisy ? "reverse SDE" : "probability-flow ODE";
    for (const [value, solver] of Object.entries(SOLVERS)) if (solver.noisy === noisy) group.append(new Option(solver.label, value));
    at(name).append(group);
  }
  at(name).value = setting.solvers[k];
});
take(SHAPES.ink());
readColours();
change(() => {}, true);

// For the console of the browser, and for tests.
window.workbench = Object.freeze({
  setting, runs, normals, SCHEDULES, levelsOf, exact, guided, score, SOLVERS, energyDistance, freshSample, SHAPES, paint,
});
