// --- names of regions --------------------------------------------------------------------------------------------

// They are drawn with WebGL from one picture of all of them: a canvas over the map would cost a layer of the whole
// window in every frame, and text with a halo takes longer than all the dots.

const NAMES = [`#version 300 es
layout(location = 0) in vec2 place;
layout(location = 1) in vec2 corner;
out vec2 spot;
void main() {
  gl_Position = vec4(place, 0.0, 1.0);
  spot = corner;
}`, `#version 300 es
precision highp float;
uniform sampler2D atlas;
uniform float share;
in vec2 spot;
out vec4 colour;
void main() {
  colour = texture(atlas, spot);
  colour.a *= share;
}`];
const ATLAS = 1024;  // the width of the picture, in pixels of the screen

const naming = () => data.regions.length > 0 && at("names").checked;
at("names").parentElement.hidden = !data.regions.length;
at("names").addEventListener("change", redraw);

const family = getComputedStyle(document.body).fontFamily, face = (size) => `600 ${size}px ${family}`;
const most = data.regions.length ? data.regions[0][3] : 1;
const names = data.regions.map(([name, u, v, many]) => {
  const size = Math.round(11 + 6 * Math.sqrt(many / most));
  pen.font = face(size);
  return { name, u, v, size, wide: Math.min(ATLAS, Math.ceil(pen.measureText(name).width) + 8), high: size + 6, left: 0, top: 0, shown: false };
});
let atlasHigh = 1;
{
  let left = 0, top = 0;
  for (const n of names) {
    if (left + n.wide > ATLAS) { left = 0; top += 24; }
    Object.assign(n, { left, top });
    left += n.wide;
  }
  atlasHigh = top + 24;
}

// Which names have room depends on the scale alone, so that none comes or goes while the map is dragged.
let spacedAt = 0;
function spaceNames() {
  if (spacedAt === view.scale) return;
  spacedAt = view.scale;
  const taken = [];
  for (const n of names) {
    const box = [n.u * view.scale - n.wide / 2, n.v * view.scale - n.high / 2, n.wide, n.high];
    n.shown = !taken.some((b) => b[0] < box[0] + box[2] && b[0] + b[2] > box[0] && b[1] < box[1] + box[3] && b[1] + b[3] > box[1]);
    if (n.shown) taken.push(box);
  }
}

let lettering = null, writtenAs = "";
function write() {
  const as = `${ratio} ${dark()}`;
  lettering ??= { program: program(NAMES), corners: gl.createVertexArray(), buffer: gl.createBuffer(), texture: gl.createTexture() };
  gl.activeTexture(gl.TEXTURE2);
  gl.bindTexture(gl.TEXTURE_2D, lettering.texture);
  if (writtenAs !== as) {
    writtenAs = as;
    const picture = document.createElement("canvas"), brush = picture.getContext("2d"), sharp = Math.min(2, ratio);
    picture.width = ATLAS * sharp;
    picture.height = atlasHigh * sharp;
    brush.scale(sharp, sharp);
    Object.assign(brush, { textAlign: "center", textBaseline: "middle", lineJoin: "round", lineWidth: 4, strokeStyle: css(look().paper), fillStyle: css(look().ink) });
    for (const n of names) {
      brush.font = face(n.size);
      brush.strokeText(n.name, n.left + n.wide / 2, n.top + n.high / 2, n.wide);
      brush.fillText(n.name, n.left + n.wide / 2, n.top + n.high / 2, n.wide);
    }
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
    for (const [name, value] of [[gl.TEXTURE_MIN_FILTER, gl.LINEAR], [gl.TEXTURE_MAG_FILTER, gl.LINEAR],
      [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]]) gl.texParameteri(gl.TEXTURE_2D, name, value);
  }
  gl.activeTexture(gl.TEXTURE0);
}

function nameRegions() {
  spaceNames();
  write();
  const corners = [];
  let seen = 0;
  for (const n of names) {
    if (!n.shown) continue;
    const [u, v] = screen(n.u, n.v), left = Math.round(u - n.wide / 2), top = Math.round(v - n.high / 2);
    if (left > width || left + n.wide < 0 || top > height || top + n.high < 0) continue;
    if (covers.some((b) => b.left < left + n.wide && b.right > left && b.top < top + n.high && b.bottom > top)) continue;
    for (const [a, b] of [[0, 0], [1, 0], [0, 1], [1, 0], [1, 1], [0, 1]])
      corners.push((left + a * n.wide) * 2 / width - 1, 1 - (top + b * n.high) * 2 / height, (n.left + a * n.wide) / ATLAS, (n.top + b * n.high) / atlasHigh);
    seen++;
  }
  gl.useProgram(lettering.program.made);
  gl.uniform1i(lettering.program.uniform.atlas, 2);
  // What was looked for is not to be hidden, and names are no help among glyphs that are read.
  gl.uniform1f(lettering.program.uniform.share, chosen ? 0.45 : dotSize() > 24 * ratio ? 0.6 : 1);
  gl.bindVertexArray(lettering.corners);
  gl.bindBuffer(gl.ARRAY_BUFFER, lettering.buffer);
  gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(corners), gl.DYNAMIC_DRAW);
  for (const where of [0, 1]) {
    gl.enableVertexAttribArray(where);
    gl.vertexAttribPointer(where, 2, gl.FLOAT, false, 16, 8 * where);
  }
  gl.drawArrays(gl.TRIANGLES, 0, 6 * seen);
  gl.bindVertexArray(null);
  if (document.body.dataset.named !== String(seen)) document.body.dataset.named = String(seen);
}
