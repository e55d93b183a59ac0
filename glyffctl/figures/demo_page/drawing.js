// --- a drawing of the model ----------------------------------------------------------------------------------------

// All steps of a drawing from its noise and how each guess x̂0 differs from the one before. The predicted noise is
// ε̂ = (x − x̂0)/σ, and a step of DDIM is x' = x̂0 + σ'·ε̂.
function trajectory(noise, sigmas, changes) {
  const steps = [];
  let x = noise.map((value) => value * Math.hypot(1, sigmas[0])), guess = x.map(() => 0);
  changes.forEach((change, i) => {
    const {sigma, signal} = level(sigmas[i]);
    guess = mixed(1, guess, 1, change);
    const eps = mixed(1 / sigma, x, -1 / sigma, guess);
    steps.push({z: x.map((value) => value * signal), guess, eps});
    x = mixed(1, guess, sigmas[i + 1], eps);
  });
  steps.push({z: x, guess: x, eps: x.map(() => 0)});
  return steps;
}

// One noise drawn in several ways, each computed when it is first looked at; where the model draws in latents, decoded before.
function drawings(content) {
  if (content.decoded) {
    const made = content.decoded.map(() => null), unit = (greys, reach) => Float32Array.from(greys, (grey) => reach * (grey / 127.5 - 1));
    return async (k) => {
      if (made[k]) return made[k];
      const [seen, guesses, noises] = await Promise.all(content.decoded[k].map(pictures));
      return (made[k] = seen.map((z, i) => ({z: unit(z, 1), guess: unit(guesses[i], 1), eps: unit(noises[i], 3)})));
    };
  }
  const noise = floats(content.noise), made = content.sheets.map(() => null);
  return async (k) => (made[k] ??= trajectory(noise, content.levels.map(([, sigma]) => sigma), await scaledPictures(content.sheets[k])));
}

const sideOf = (content) => (content.decoded?.[0] ?? content.sheets)[0].width;

const levelsOf = (content) => (k) => timed(level(content.levels[k][1], content.levels[k][0]));

async function drawing(root, content) {
  const made = drawings(content), line = row(root, "three"), side = sideOf(content);
  const seen = picturePanel(line, "x at this step", side), guess = picturePanel(line, "the glyph it guesses", side);
  const noise = picturePanel(line, "the noise it predicts", side);
  let steps = await made(content.first);
  const time = player(root, {
    label: "progress of the drawing", first: 0, last: content.levels.length - 1, start: Math.floor(content.levels.length / 2),
    say: levelsOf(content),
    draw(k) {
      seen.show(steps[k].z);
      guess.show(steps[k].guess);
      noise.show(steps[k].eps, 3);
    },
  });
  let last = content.first;
  const bar = row(root, "settings");
  slider(bar, "guidance γ", 0, content.guidance.length - 1, content.first, (k) => `γ = ${content.guidance[k]}`, async (k) => {
    last = k;
    const found = await made(k);
    if (last !== k) return;
    steps = found;
    time.again();
  });
}

// The same noise under several prompts, all at the same step.
async function prompts(root, content) {
  const made = drawings(content), grid = element("div", root, "", "grid"), side = sideOf(content);
  const panels = content.prompts.map((prompt) => picturePanel(grid, prompt, side)), steps = [];
  for (const k of content.prompts.keys()) steps.push(await made(k));
  const kinds = {"the glyph it guesses": ["guess", 1], "x at this step": ["z", 1], "the noise it predicts": ["eps", 3]};
  let [what, reach] = kinds["the glyph it guesses"];
  const time = player(root, {
    label: "progress of the drawing", first: 0, last: content.levels.length - 1, start: content.levels.length - 1,
    say: levelsOf(content),
    draw: (k) => panels.forEach((panel, p) => panel.show(steps[p][k][what], reach)),
  });
  choice(row(root, "settings"), "shown", Object.keys(kinds), "the glyph it guesses", (name) => {
    [what, reach] = kinds[name];
    time.again();
  });
}
