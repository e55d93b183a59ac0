// --- pictures ------------------------------------------------------------------------------------------------------

function element(kind, parent, text = "", name = "") {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  if (name) made.className = name;
  if (parent) parent.append(made);
  return made;
}

const row = (parent, name = "") => element("div", parent, "", `row ${name}`);

// The line below a picture, which says what its numbers are, and describes it to those who do not see it.
let remarks = 0;
function remarkOn(panel, canvas, heading) {
  const remark = element("p", panel, "", "remark");
  remark.id = `remark-${remarks++}`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", heading);
  canvas.setAttribute("aria-describedby", remark.id);
  return remark;
}

// A panel with a picture of numbers, side × side or side × height, a heading above and a line below.
function picturePanel(parent, heading, side, colour = "", height = side) {
  const panel = element("div", parent, "", "panel");
  const title = element("p", panel, heading, "heading");
  if (colour) title.style.borderColor = colour;
  const canvas = element("canvas", panel);
  canvas.width = side;
  canvas.height = height;
  const remark = remarkOn(panel, canvas, heading);
  const context = canvas.getContext("2d"), image = context.createImageData(side, height);
  image.data.fill(255);
  return {
    canvas, remark, title,
    // Numbers from −reach, black, to reach, white; or through the colours of an error, blue below and orange above.
    show(values, reach = 1, coloured = false) {
      const data = image.data;
      for (let i = 0; i < values.length; i++) {
        const share = Math.max(-1, Math.min(1, values[i] / reach));
        if (coloured) {
          const end = share < 0 ? ERROR.below : ERROR.above, by = Math.abs(share);
          for (let c = 0; c < 3; c++) data[4 * i + c] = 255 + (end[c] - 255) * by;
        } else {
          data[4 * i] = data[4 * i + 1] = data[4 * i + 2] = (share + 1) * 127.5;
        }
      }
      context.putImageData(image, 0, 0);
    },
  };
}

const ERROR = {below: [0, 114, 178], above: [213, 94, 0]};  // DIFFERENCE in figures/style.py

// The width of charts, so that their lettering is as large as the text beside them.
const WIDE = document.documentElement.clientWidth < 700 ? 330 : 700;

// A panel to draw lines in: width × height units, at the resolution of the screen, in the colours of the page.
function drawingPanel(parent, heading, width, height, draw) {
  const panel = element("div", parent, "", "panel");
  element("p", panel, heading, "heading");
  const canvas = element("canvas", panel, "", "drawn");
  canvas.style.aspectRatio = `${width} / ${height}`;
  const remark = remarkOn(panel, canvas, heading);
  const scale = Math.min(3, Math.max(2, window.devicePixelRatio || 1));
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  const redraw = () => {
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(document.body), colour = (name) => style.getPropertyValue(`--${name}`).trim();
    draw(context, {ink: colour("ink"), quiet: colour("quiet"), line: colour("line"), paper: colour("paper"), strong: colour("strong")});
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  return {canvas, remark, redraw};
}

// The pictures of a sheet, the greys of each row by row, when the browser has decoded it.
async function pictures(sheet) {
  const image = new Image();
  image.src = sheet.image;
  await image.decode();
  const {count, across, width, height} = sheet, canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(image, 0, 0);
  return Array.from({length: count}, (_, k) => {
    const {data} = context.getImageData((k % across) * width, Math.floor(k / across) * height, width, height);
    return Uint8Array.from({length: width * height}, (_, i) => data[4 * i]);
  });
}

// Those of `scaled_sheet`: numbers.
async function scaledPictures(sheet) {
  const found = await pictures(sheet);
  return found.map((greys, k) => Float32Array.from(greys, (grey) => (grey - 128) / 127 * sheet.reach[k]));
}

const mixed = (a, x, b, y) => x.map((value, i) => a * value + b * y[i]);
const rootMeanSquare = (x) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length);
