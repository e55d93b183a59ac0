// --- light and dark ----------------------------------------------------------------------------------------------

const system = matchMedia("(prefers-color-scheme: dark)");
let theme = "";              // "light" or "dark" where one was asked for, else as the system has it
let printing = false;        // on paper the map is light
const dark = () => !printing && (theme || (system.matches ? "dark" : "light")) === "dark";
const RAMP = data.ramp.map(rgb);
const LOOKS = {
  light: { paper: [255, 255, 255], ink: [0, 0, 0], faint: [217, 217, 217], others: rgb(data.others), deep: 0.72, ramp: RAMP },
  dark: { paper: [20, 23, 26], ink: [255, 255, 255], faint: [64, 68, 73], others: [98, 103, 109], deep: 1, ramp: [[20, 23, 26], ...RAMP.slice(0, 4).reverse()] },
};
const look = () => (dark() ? LOOKS.dark : LOOKS.light);
// Colours are chosen to differ on white; on black they are lightened.
const shade = (colour) => (dark() ? colour.map((c) => Math.round(c + (255 - c) * 0.3)) : colour);
const css = (colour) => `rgb(${colour.join(" ")})`;

function dress() {
  document.documentElement.dataset.theme = dark() ? "dark" : "light";
  at("theme").setAttribute("aria-pressed", String(dark()));
  at("ramp").style.background = `linear-gradient(90deg, ${[0.25, 0.5, 0.75, 1].map((v) => css(ramped(v).map(Math.round))).join(", ")})`;
}
function redress() {
  dress();
  key();
  if (gl) recolour();
  if (picked) alike();
}
at("theme").addEventListener("click", () => { theme = dark() ? "light" : "dark"; redress(); });
system.addEventListener("change", redress);
for (const [kind, paper] of [["beforeprint", true], ["afterprint", false]]) window.addEventListener(kind, () => {
  printing = paper;
  redress();
  paint();
});

// What WebGL paints is printed as it was in the last frame, and none may come before the paper: a copy lies above it.
function copyForPaper() {
  pen.save();
  pen.resetTransform();
  if (lines.hidden) pen.clearRect(0, 0, lines.width, lines.height);
  lines.hidden = false;
  pen.globalCompositeOperation = "destination-over";
  pen.drawImage(canvas, 0, 0);
  pen.restore();
}
