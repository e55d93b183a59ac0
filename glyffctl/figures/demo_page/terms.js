// --- words ---------------------------------------------------------------------------------------------------------

// What a word means, beside it while it is pointed at or has the focus, or after a tap; Escape hides it.
function explain() {
  const tip = element("div", document.body, "", "tip");
  tip.hidden = true;
  let leaving = 0, shown = null;
  const hide = () => { tip.hidden = true; shown = null; };
  const stay = () => clearTimeout(leaving);
  const leave = () => { leaving = setTimeout(hide, 150); };
  const place = () => {
    const box = shown.getBoundingClientRect(), wide = document.documentElement.clientWidth, edge = 12;
    tip.style.left = `${Math.max(edge, Math.min(box.left, wide - tip.offsetWidth - edge))}px`;
    const under = box.bottom + 6 + tip.offsetHeight <= window.innerHeight;
    tip.style.top = `${under ? box.bottom + 6 : box.top - tip.offsetHeight - 6}px`;
  };
  const show = (word) => {
    stay();
    shown = word;
    tip.textContent = document.getElementById(word.getAttribute("aria-describedby")).textContent;
    tip.hidden = false;
    place();
  };
  // A word that gets the focus may scroll into view with what explains it; one that leaves the window takes it along.
  const follow = () => {
    if (!shown) return;
    const box = shown.getBoundingClientRect();
    if (box.bottom < 0 || box.top > window.innerHeight) hide();
    else place();
  };
  for (const word of document.querySelectorAll(".term")) {
    word.addEventListener("mouseenter", () => show(word));
    word.addEventListener("mouseleave", leave);
    word.addEventListener("focus", () => show(word));
    word.addEventListener("blur", hide);
    word.addEventListener("click", (event) => {
      if (event.pointerType !== "touch") return;
      event.preventDefault();
      show(word);
    });
  }
  tip.addEventListener("mouseenter", stay);
  tip.addEventListener("mouseleave", hide);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  document.addEventListener("pointerdown", (event) => { if (!event.target.closest(".term, .tip")) hide(); });
  document.addEventListener("scroll", follow, {passive: true});
}
