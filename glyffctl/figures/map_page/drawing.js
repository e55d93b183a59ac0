// --- drawing ---------------------------------------------------------------------------------------------------

const DOTS = [`#version 300 es
layout(location = 0) in vec2 place;
layout(location = 1) in vec3 colour;
layout(location = 2) in float on;
uniform vec2 middle, reach;
uniform float size;
uniform bool above;
flat out int glyph;
out vec3 tint;
out float shown;
void main() {
  gl_Position = vec4((place - middle) / reach, 0.0, 1.0);
  gl_PointSize = size;
  glyph = gl_VertexID;
  tint = colour;
  shown = above ? 1.0 : on;
}`, `#version 300 es
precision highp float;
precision highp sampler2DArray;
uniform sampler2DArray pages;
uniform float size, across, down, cell, ready;
uniform bool above;
uniform vec3 paper, ink, faint;
uniform float deep;
flat in int glyph;
in vec3 tint;
in float shown;
out vec4 colour;
void main() {
  float picture = smoothstep(10.0, 15.0, size) * ready;
  vec2 p = gl_PointCoord;
  float radius = distance(p, vec2(0.5)) * size;
  float disc = clamp(size * 0.5 - radius, 0.0, 1.0);
  float rim = above ? clamp(radius - size * 0.5 + 2.5, 0.0, 1.0) : 0.0;
  vec4 dot = vec4(mix(tint, ink, rim), disc * (above ? 1.0 : 0.8));
  int each = int(across * down), spot = glyph % each;
  vec2 corner = vec2(spot % int(across), spot / int(across));
  // Kept half a texel off the neighbours' cells.
  vec2 inside = clamp(p, 0.5 / cell, 1.0 - 0.5 / cell);
  float black = 1.0 - texture(pages, vec3((corner + inside) / vec2(across, down), float(glyph / each))).r;
  vec2 side = min(p, 1.0 - p) * size;
  float frame = above ? clamp(2.5 - min(side.x, side.y), 0.0, 1.0) : 0.0;
  vec3 stroke = shown < 0.5 ? faint : tint * deep;
  if (shown < 0.5) dot = vec4(faint * 0.97, dot.a * 0.45);
  vec4 drawn = vec4(mix(mix(paper, stroke, black), tint * 0.8, frame), max(max(black, frame), above ? 1.0 : 0.7));
  colour = mix(dot, drawn, picture);
  if (colour.a < 0.01) discard;
}`];

const FIELD = [`#version 300 es
uniform vec2 middle, reach;
out vec2 spot;
void main() {
  spot = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  gl_Position = vec4((spot - middle) / reach, 0.0, 1.0);
}`, `#version 300 es
precision highp float;
uniform sampler2D field;
uniform vec3 ramp[5];
in vec2 spot;
out vec4 colour;
void main() {
  float value = texture(field, spot).r * 4.0;
  int i = int(min(value, 3.0));
  colour = vec4(mix(ramp[i], ramp[i + 1], value - float(i)), 1.0);
}`];

const ramped = (v) => { const ramp = look().ramp, t = v * 4, i = Math.min(3, Math.floor(t)); return ramp[i].map((c, k) => c + (ramp[i + 1][k] - c) * (t - i)); };

let gl, dots, field, buffers, texture, ready = 0;

function sorry(text) { at("sorry").textContent = text; at("sorry").classList.add("shown"); }

function program([vertex, fragment]) {
  const made = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(made));
  const uniform = {};
  for (let i = 0; i < gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS); i++) {
    const name = gl.getActiveUniform(made, i).name;
    uniform[name.replace("[0]", "")] = gl.getUniformLocation(made, name);
  }
  return { made, uniform };
}

function attribute(where, content, size, kind) {
  const buffer = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.bufferData(gl.ARRAY_BUFFER, content, gl.STATIC_DRAW);
  gl.enableVertexAttribArray(where);
  gl.vertexAttribPointer(where, size, kind, true, 0, 0);
  return buffer;
}

function begin() {
  gl = canvas.getContext("webgl2", { antialias: false, alpha: false, preserveDrawingBuffer: false });
  if (!gl) { sorry("This map needs WebGL 2, which this browser lacks or has switched off. Switch it on, or open the map in another browser."); return false; }
  lettering = null;
  writtenAs = "";
  dots = program(DOTS);
  field = program(FIELD);
  buffers = {
    place: attribute(0, places, 2, gl.UNSIGNED_SHORT),
    colour: attribute(1, new Uint8Array(4 * count), 3, gl.UNSIGNED_BYTE),
    on: attribute(2, new Uint8Array(count).fill(255), 1, gl.UNSIGNED_BYTE),
    chosen: gl.createBuffer(),
  };
  gl.bindBuffer(gl.ARRAY_BUFFER, buffers.colour);
  gl.vertexAttribPointer(1, 3, gl.UNSIGNED_BYTE, true, 4, 0);
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  gl.activeTexture(gl.TEXTURE1);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  const side = data.cells;
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, side, side, 0, gl.RED, gl.UNSIGNED_BYTE, bytes(data.density));
  for (const [name, value] of [[gl.TEXTURE_MIN_FILTER, gl.LINEAR], [gl.TEXTURE_MAG_FILTER, gl.LINEAR],
    [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]]) gl.texParameteri(gl.TEXTURE_2D, name, value);
  gl.activeTexture(gl.TEXTURE0);
  texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
  gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 3, gl.R8, data.across * data.cell, data.down * data.cell, data.pages.length);
  gl.texParameteri(gl.TEXTURE_2D_ARRAY, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  gl.texParameteri(gl.TEXTURE_2D_ARRAY, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
  gl.texParameteri(gl.TEXTURE_2D_ARRAY, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D_ARRAY, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
  recolour();
  mark();
  return true;
}

const decoding = [];
function sheet(k) {
  return decoding[k] ??= createImageBitmap(new Blob([bytes(data.pages[k])], { type: "image/webp" }),
    { premultiplyAlpha: "none", colorSpaceConversion: "none" }).then((made) => { sheets[k] = made; data.pages[k] = ""; });
}
const sheetOf = (index) => Math.floor(index / (data.across * data.down));

async function decode() {
  for (let k = 0; k < data.pages.length; k++) {
    await sheet(k);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
    gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, 0, k, sheets[k].width, sheets[k].height, 1, gl.RED, gl.UNSIGNED_BYTE, sheets[k]);
  }
  gl.generateMipmap(gl.TEXTURE_2D_ARRAY);
  ready = 1;
  document.body.dataset.ready = "yes";
  redraw();
}

function thumbnail(where, index, left, top, side) {
  const picture = sheets[sheetOf(index)], spot = index % (data.across * data.down);
  if (!picture) return;
  where.drawImage(picture, spot % data.across * data.cell, Math.floor(spot / data.across) * data.cell, data.cell, data.cell, left, top, side, side);
}

const dotSize = () => Math.min(60 * ratio, Math.max(2.4 * ratio, 0.8 * data.spacing * view.scale * ratio));

// Results are larger than the rest, the fewer the larger; a group of the legend, or what was drawn around, is too large.
const together = () => pressed > -2 || inside.length > 0;
function chosenSize() {
  return together() ? dotSize() : Math.max(dotSize(), (chosen.length > 400 ? 7 : chosen.length > 40 ? 10 : 26) * ratio);
}

function paint() {
  asked = false;
  if (!gl || gl.isContextLost()) return;
  gl.viewport(0, 0, canvas.width, canvas.height);
  gl.clearColor(...look().paper.map((c) => c / 255), 1);
  gl.clear(gl.COLOR_BUFFER_BIT);
  const reach = [width / 2 / view.scale, height / 2 / view.scale];
  if (at("thick").checked) {
    gl.useProgram(field.made);
    gl.uniform2f(field.uniform.middle, view.x, view.y);
    gl.uniform2f(field.uniform.reach, ...reach);
    gl.uniform1i(field.uniform.field, 1);
    gl.uniform3fv(field.uniform.ramp, look().ramp.flat().map((c) => c / 255));
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
  gl.useProgram(dots.made);
  const u = dots.uniform;
  gl.uniform2f(u.middle, view.x, view.y);
  gl.uniform2f(u.reach, ...reach);
  gl.uniform1i(u.pages, 0);
  gl.uniform1f(u.across, data.across);
  gl.uniform1f(u.down, data.down);
  gl.uniform1f(u.cell, data.cell);
  gl.uniform1f(u.ready, ready);
  for (const name of ["paper", "ink", "faint"]) gl.uniform3fv(u[name], look()[name].map((c) => c / 255));
  gl.uniform1f(u.deep, look().deep);
  gl.uniform1f(u.size, dotSize());
  gl.uniform1i(u.above, 0);
  gl.drawArrays(gl.POINTS, 0, count);
  if (chosen && chosen.length) {
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffers.chosen);
    gl.uniform1f(u.size, chosenSize());
    gl.uniform1i(u.above, together() ? 0 : 1);
    gl.drawElements(gl.POINTS, chosen.length, gl.UNSIGNED_INT, 0);
  }
  if (naming()) nameRegions();
  overlay();
  if (printing) copyForPaper();
  placeCard();
  countOutside();
  remember();
}

function redraw() {
  delete document.body.dataset.link;
  if (asked) return;
  asked = true;
  requestAnimationFrame(paint);
}
const screen = (u, v) => [(u - view.x) * view.scale + width / 2, height / 2 - (v - view.y) * view.scale];
const unit = (px, py) => [(px - width / 2) / view.scale + view.x, (height / 2 - py) / view.scale + view.y];
