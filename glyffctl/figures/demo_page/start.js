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

// Figures are built as they come near: a page opens at once, and holds in memory what was looked at.
const near = new IntersectionObserver((seen) => {
  for (const {target, isIntersecting} of seen) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    build(target.querySelector(".live"));
  }
}, {rootMargin: "800px 0px"});

explain();
for (const root of document.querySelectorAll(".live")) near.observe(root.closest("figure"));
document.body.dataset.ready = "yes";
