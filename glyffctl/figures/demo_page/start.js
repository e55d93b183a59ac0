// --- the page ------------------------------------------------------------------------------------------------------

const FIGURES = {
  noising, strips, factor, shrinking, density, score, brightness, guesses, walks, frames, drawing, prompts,
};

// The still picture of a live figure is folded away; on paper it is there instead of the live one.
function unfold(figure) {
  const still = figure.querySelector(".still"), button = element("button", null, "", "quiet");
  const turn = (open) => {
    still.classList.toggle("folded", !open);
    button.textContent = open ? "Hide the still picture" : "Show all at once, as a still picture";
    button.setAttribute("aria-expanded", String(open));
  };
  button.type = "button";
  button.addEventListener("click", () => turn(still.classList.contains("folded")));
  still.before(button);
  turn(false);
}

async function build(root) {
  const {kind, content} = read(root.dataset.content);
  await FIGURES[kind](root, content);
  root.hidden = false;
  unfold(root.closest("figure"));
  root.dataset.ready = "yes";
}

explain();
const waiting = [...document.querySelectorAll(".live")];
(async () => {
  for (const root of waiting) {
    await build(root);
    await new Promise((done) => setTimeout(done));  // the page stays quick while it builds
  }
  document.body.dataset.ready = "yes";
})();
