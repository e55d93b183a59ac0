// --- time ----------------------------------------------------------------------------------------------------------

const SPEEDS = [0.25, 0.5, 1, 2, 4];
const SECONDS = 10;  // from one end to the other at speed 1

let fields = 0;
function labelled(parent, label, field) {
  const holder = element("label", parent, "", "field");
  element("span", holder, label);
  field.id = `field-${fields++}`;
  holder.append(field);
  return field;
}

// A slider that is not time, such as the strength of guidance; `chosen(value)` is called as it moves.
function slider(parent, label, low, high, value, words, chosen) {
  const range = element("input");
  Object.assign(range, {type: "range", min: low, max: high, step: 1, value});
  labelled(parent, label, range);
  const said = element("output", range.parentNode);
  const tell = () => {
    said.textContent = words(Number(range.value));
    range.setAttribute("aria-valuetext", said.textContent);
  };
  range.addEventListener("input", () => { tell(); chosen(Number(range.value)); });
  tell();
  return range;
}

let choices = 0;
// One of several, as buttons that are pressed or not.
function choice(parent, legend, names, value, chosen) {
  const group = element("fieldset", parent, "", "choice"), name = `choice-${choices++}`;
  element("legend", group, legend);
  for (const each of names) {
    const label = element("label", group), field = element("input", label);
    Object.assign(field, {type: "radio", name, value: each, checked: each === value});
    element("span", label, each);
    field.addEventListener("change", () => chosen(each));
  }
  return group;
}

const scheduleChoice = (parent, chosen) =>
  choice(parent, "schedule", Object.keys(SCHEDULES), common.schedule, chosen);

// The bar of a figure: a slider from `first` to `last`, play, a step either way, speed, and a line that says where one is.
// Space plays and stops; comma and full stop take a step; the arrows move the slider; a finger or mouse may drag pictures.
function player(root, {label, first, last, start, say, draw}) {
  const bar = element("div", root, "", "bar"), buttons = element("div", bar, "", "buttons");
  const button = (text, name, action) => {
    const made = element("button", buttons, text);
    made.type = "button";
    made.title = name;
    made.setAttribute("aria-label", name);
    made.addEventListener("click", action);
    return made;
  };
  let now = start, playing = 0, since = 0;
  const back = button("‹", "one step back", () => { stop(); go(now - 1); });
  const play = button("▶", "play", () => (playing ? stop() : begin()));
  const on = button("›", "one step on", () => { stop(); go(now + 1); });
  const speed = element("select");
  for (const each of SPEEDS) element("option", speed, `${each}×`).value = each;
  speed.value = 1;
  const range = element("input", bar);
  Object.assign(range, {type: "range", min: first, max: last, step: 1, value: start});
  range.setAttribute("aria-label", label);
  labelled(bar, "speed", speed);
  const said = element("output", root, "", "said");

  function go(to) {
    now = Math.max(first, Math.min(last, to));
    const whole = Math.round(now);
    range.value = whole;
    back.disabled = whole === first;
    on.disabled = whole === last;
    speak();
    range.setAttribute("aria-valuetext", said.textContent);
    draw(whole);
  }
  // Aloud where playing stops, not in every frame; and not where the slider has the focus, which speaks for itself.
  function speak() {
    said.setAttribute("aria-live", playing || document.activeElement === range ? "off" : "polite");
    said.textContent = say(Math.round(now));
  }
  function begin() {
    if (Math.round(now) >= last) now = first;
    since = performance.now();
    playing = requestAnimationFrame(tick);
    tell();
  }
  function stop() {
    cancelAnimationFrame(playing);
    if (!playing) return;
    playing = 0;
    now = Math.round(now);
    tell();
    speak();
  }
  function tick(time) {
    const passed = Math.max(0, time - since) / 1000;
    since = time;
    go(now + passed * speed.value * (last - first) / SECONDS);
    if (now >= last) stop();
    else playing = requestAnimationFrame(tick);
  }
  function tell() {
    play.textContent = playing ? "❚❚" : "▶";
    play.title = playing ? "stop" : "play";
    play.setAttribute("aria-label", play.title);
  }
  range.addEventListener("input", () => { stop(); go(Number(range.value)); });
  root.addEventListener("keydown", (event) => {
    const own = event.target.closest("button, select, input[type=radio]");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && !own) play.click();
    else if (event.key === ",") back.click();
    else if (event.key === ".") on.click();
    else return;
    event.preventDefault();
  });
  root.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.target.closest("canvas")) return;
    const {target, clientX} = event, from = now, width = target.getBoundingClientRect().width;
    const drag = (moved) => {
      stop();
      go(from + Math.round((moved.clientX - clientX) / width * (last - first)));
    };
    target.setPointerCapture(event.pointerId);
    target.addEventListener("pointermove", drag);
    for (const end of ["pointerup", "pointercancel"]) {
      target.addEventListener(end, () => target.removeEventListener("pointermove", drag), {once: true});
    }
  });
  go(start);
  return {again: () => go(now), go: (to) => { stop(); go(to); }, at: () => Math.round(now)};
}
