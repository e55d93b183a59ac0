at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) {
    running.abort();
    return;
  }
  if (!at("hold").checked && sheets.length) at("seed").value = Number(at("seed").value) + count;
  draw();
});
at("prompt").addEventListener("input", () => {
  at("restWords").textContent = quoted(at("prompt").value);
});
at("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !running) return;
  event.preventDefault();  // other words, while these are drawn
  draw();
});
for (const id of ["steps", "guidance"]) {
  at(id).addEventListener("input", () => {
    sayStops();
    drawSoon();
  });
}
at("seed").addEventListener("change", drawSoon);
at("back").addEventListener("click", () => show(shown - 1));
at("forth").addEventListener("click", () => show(shown + 1));
at("close").addEventListener("click", closeGlyph);
at("play").addEventListener("click", play);
at("step").addEventListener("input", () => {
  stopPlaying();
  showStep(Number(at("step").value));
});
at("collect").addEventListener("click", collect);
at("strength").addEventListener("input", () => say("strengthSaid", `${at("strength").value} %`));
at("vary").addEventListener("click", () => {
  goOn(null, Number(at("strength").value) / 100, `${quoted(at("prompt").value)}: glyph ${chosen.seed} varied by ${at("strength").value} %`);
});
for (const button of document.querySelectorAll("[data-keep]")) {
  button.addEventListener("click", () => {
    goOn(button.dataset.keep, 1, `${quoted(at("prompt").value)}: the ${button.dataset.keep} half of glyph ${chosen.seed} kept`);
  });
}
at("enlarge").addEventListener("click", enlarge);
for (const [kind, of] of [["save", ""], ["large", "-large"]]) {
  for (const button of document.querySelectorAll(`[data-${kind}]`)) {
    button.addEventListener("click", () => {
      const ending = button.dataset[kind];
      save(`glyph/${chosen.name}/${kind}.${ending}`, `${chosen.file}${of}.${ending}`)
        .then(() => say("said", `saved ${chosen.file}${of}.${ending}`))
        .catch((error) => say("said", error.message, true));
    });
  }
}
at("make").addEventListener("submit", (event) => {
  event.preventDefault();
  makeFont();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (running) running.abort();
  else closeGlyph();
});
window.addEventListener("focus", async () => {  // another window may have collected something
  if (about) takeCollection((await (await ask("about")).json()).collected);
});

async function start() {
  about = await (await ask("about")).json();
  at("model").textContent = `${about.model}, ${about.history}`;
  at("prompt").maxLength = about.longest;
  const whole = about.steps === null ? [] : [...new Set([about.steps, 12, 20, 40, 80])].sort((a, b) => a - b);
  stops = [...about.passes.map((passes) => ({ passes })), ...whole.map((steps) => ({ steps }))];
  const own = stops.findIndex((s) => ("passes" in about.own ? s.passes === about.own.passes : s.steps === about.own.steps));
  at("steps").max = Math.max(0, stops.length - 1);
  at("steps").value = Math.max(0, own);
  at("stepsField").hidden = at("guidanceField").hidden = !stops.length;  // what draws in one pass has neither
  [at("guidance").min, at("guidance").max] = about.learned ?? [1, 8];
  at("guidance").value = about.guidance;
  sayStops();
  say("strengthSaid", `${at("strength").value} %`);
  for (const words of examples) {
    const button = element("button", words);
    button.type = "button";
    button.addEventListener("click", () => {
      at("prompt").value = words;
      draw();
    });
    at("examples").append(button);
  }
  at("format").replaceChildren(...about.fonts.map((format) => element("option", format)));
  takeCollection(about.collected);
  at("prompt").focus();
  document.body.dataset.ready = "yes";
}

start().catch((error) => say("status", error.message, true));
