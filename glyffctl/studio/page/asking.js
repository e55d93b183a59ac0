/** Ask the server; `body` makes it a POST. The answer, or an Error of one line. */
async function ask(path, body, signal) {
  const headers = { Authorization: `Bearer ${token}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method: body === undefined ? "GET" : "POST", headers, signal,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The studio has ended. Start it again: glyffctl studio", { cause: error });
  }
  if (answer.ok) return answer;
  let why = `the server answered ${answer.status}`;
  try {
    why = (await answer.json()).error;
  } catch { /* it was no JSON */ }
  throw new Error(why);
}

/** The lines of JSON of an answer, as they come. */
async function* lines(path, body, signal) {
  const answer = await ask(path, body, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) {
      const said = JSON.parse(part);
      if (said.error) throw new Error(said.error);
      yield said;
    }
  }
}

/** Have the browser save an answer as a file. */
async function save(path, name, body) {
  const content = await (await ask(path, body)).blob();
  const link = element("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** Start work of this window in place of what it does; returns its signal. */
function begin() {
  running?.abort();
  running = new AbortController();
  document.body.classList.add("busy");
  at("draw").textContent = "Stop";
  return running.signal;
}

function end(signal) {
  if (running?.signal !== signal) return;  // other work took its place
  running = null;
  document.body.classList.remove("busy");
  at("draw").textContent = "Draw";
}
