// --- what lies over the dots -------------------------------------------------------------------------------------

function overlay() {
  const ink = css(look().ink), paper = css(look().paper);
  // A frame of nothing but a clearing is not always shown, and it costs a layer of the whole window.
  lines.hidden = !data.trails.length && !data.drawn.length && hovered?.glyph === undefined && !picked && !drawing && !inside.length;
  if (lines.hidden) return;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  if (picked) threads(ink, paper);
  for (const trail of data.trails) drawTrail(trail, paper);
  for (const m of marked()) {
    const [u, v] = screen(m.x, m.y), side = framed();
    frame(m.picture, u, v, side, shownRed());
  }
  for (const [one, wide] of [[picked, 3], [hovered, 2]]) {
    if (!one || one.glyph === undefined) continue;
    const [u, v] = screen(x(one.glyph), y(one.glyph)), size = Math.max(12, dotSize() / ratio + 4);
    pen.strokeStyle = ink; pen.lineWidth = wide;
    pen.beginPath();
    if (size > 18) pen.rect(u - size / 2, v - size / 2, size, size); else pen.arc(u, v, size / 2, 0, 7);
    pen.stroke();
  }
  outline(ink, paper);
}

const shownRed = () => css(shade(rgb(data.drawnColour)));

// A thumbnail with a frame around it, its middle at (u, v).
function frame(picture, u, v, side, colour) {
  pen.fillStyle = "#ffffff";
  pen.fillRect(u - side / 2 - 2, v - side / 2 - 2, side + 4, side + 4);
  thumbnail(pen, picture, u - side / 2, v - side / 2, side);
  if (dark()) {
    pen.globalCompositeOperation = "difference";
    pen.fillRect(u - side / 2 - 2, v - side / 2 - 2, side + 4, side + 4);
    pen.globalCompositeOperation = "source-over";
  }
  pen.strokeStyle = colour; pen.lineWidth = 2;
  pen.strokeRect(u - side / 2 - 1, v - side / 2 - 1, side + 2, side + 2);
}

const framed = () => Math.min(64, Math.max(26, dotSize() / ratio));
function* marked() {
  yield* data.drawn;
  for (const trail of data.trails) yield* stations(trail);
}

