// --- search ------------------------------------------------------------------------------------------------------

const plain = (text) => ` ${text.toLowerCase().normalize("NFKD").replace(/[\u0300-\u036f]/g, "").replace(/[^\p{L}\p{N}]+/gu, " ")} `;
const ARTICLES = new Set(["a", "an", "the", "to"]);
const wordsOf = (text) => plain(text).split(" ").filter(Boolean);
// "to drink" is found as "drink" is; words that are nothing but articles are kept.
const meant = (text) => { const all = wordsOf(text), kept = all.filter((w) => !ARTICLES.has(w)); return kept.length ? kept : all; };
const senses = (definition) => definition.replace(/\([^)]*\)/g, " ").split(/[;,]/).map((part) => meant(part).join(" ")).filter(Boolean);

const radicals = new Map();  // "水": 85
for (let n = 1; n <= 214; n++) radicals.set(String.fromCodePoint(0x2eff + n).normalize("NFKC"), n);
const radicalOf = (label) => [...label][0] ?? "";
// 水 has its own character as its radical; 氵 and 鱼 are forms of one, and their definitions say so.
const isRadical = ([character, , definition, label]) =>
  Boolean(label) && (radicalOf(label) === character || /\bradical (number )?\d/i.test(definition));

// GB 2312, Big5 and JIS X 0208 hold the characters in common use on a level of their own, the first. Browsers can
// decode all three, so the page need not hold how common a character is.
const FIRST_LEVELS = [["gbk", 0xb0a1, 0xd7f9, 0xa1], ["big5", 0xa440, 0xc67e, 0x40], ["shift_jis", 0x889f, 0x9872, 0x40]];
let commonness = null;       // character: on how many first levels it is
function common(character) {
  if (!commonness) {
    commonness = new Map();
    for (const [name, from, to, trail] of FIRST_LEVELS) {
      const codes = [];
      for (let code = from; code <= to; code++) if ((code & 255) >= trail && (code & 255) < 255) codes.push(code >> 8, code & 255);
      const level = new Set(new TextDecoder(name).decode(Uint8Array.from(codes)).match(/\p{Script=Han}/gu));
      for (const c of level) commonness.set(c, (commonness.get(c) || 0) + 1);
    }
  }
  return commonness.get(character) || 0;
}

const HAN = /\p{Script=Han}/u;
const hasWord = (text, word) => [" ", "s ", "es "].some((end) => text.includes(` ${word}${end}`));  // or its plural

let words = null;            // the words of each definition, between blanks
let found = [], next = 0;

// What a query asks for. Only what is no word by itself is read as a code point: "face" and "decade" are words.
function readQuery(query) {
  const parts = query.split(/[\s,;]+/).filter(Boolean);
  const codes = parts.map((part) => /^(?:(?:u\+|\\u|0x)\{?([0-9a-f]{3,6})\}?|(?=[a-f]*[0-9])([0-9a-f]{4,6}))$/i.exec(part));
  const radical = /^(?:(?:kangxi )?radical (?:number |no\.? ?)?|#)?(\d{1,3})$/i.exec(query);
  const terms = meant(query), ideographs = terms.filter((term) => HAN.test(term)), others = terms.filter((term) => !HAN.test(term));
  return {
    codes: codes.every(Boolean) ? new Set(codes.map((m) => (m[1] ?? m[2]).toUpperCase().replace(/^0+/, "").padStart(4, "0"))) : null,
    characters: [...query].every((c) => c > "\u2e7f") ? new Set([...query, ...query.normalize("NFKC")]) : null,
    radical: radical ? Number(radical[1]) : 0,
    ideographs, others, phrase: others.join(" "),
  };
}

// How well a character answers: 0 for not at all.
function grade(row, k, query) {
  const [character, code, definition, label] = row;
  if (query.characters && query.characters.has(character)) return 10;
  if (query.codes && query.codes.has(code)) return 10;
  if (query.radical && label && radicals.get(radicalOf(label)) === query.radical) return isRadical(row) ? 9 : 0.5;
  if (!query.ideographs.length && !query.others.length) return 0;
  // Chinese has no blanks between words. Beside words, a radical's character stands for those that have the radical.
  const meansIt = (term) => query.others.length && (character === term || radicalOf(label) === term);
  if (!query.ideographs.every((term) => words[k].includes(term) || meansIt(term))) return 0;
  if (!query.others.every((term) => words[k].includes(` ${term}`))) return 0;
  if (!query.others.every((term) => hasWord(words[k], term))) return 1;
  if (!query.others.length) return 2;
  const own = isRadical(row), all = senses(definition);
  if (own) all.unshift(meant(label.slice(radicalOf(label).length)).join(" "));
  const place = all.indexOf(query.phrase);
  if (place >= 0) return (own ? 7 : 4) + (place === 0 || all[0] === all[place] ? 1 : 0);
  const together = all.some((sense) => query.others.every((term) => hasWord(` ${sense} `, term)));
  return together ? (own ? 4.5 : 3) : 2;
}

function search() {
  const text = at("search").value.trim();
  flight++;  // one that lands after this would show its glyph again
  release();
  leave();
  at("results").replaceChildren();
  unfold(at("list"), true);
  at("list").hidden = true;
  found = []; next = 0; inside = [];
  delete document.body.dataset.found;
  if (!text) { tell(); return; }
  // The name of a radical is no part of its character's definition, always.
  words ??= data.characters.map((row) => plain(isRadical(row) ? `${row[2]} ${row[3].slice(radicalOf(row[3]).length)}` : row[2]));
  const query = readQuery(text), grades = data.characters.map((row, k) => grade(row, k, query));
  choose((i) => grades[characterOf[i]] > 0);
  const rank = (k) => [-grades[k], -common(data.characters[k][0]), data.characters[k][2].length];
  const ranks = new Map();
  for (const i of chosen) if (!ranks.has(characterOf[i])) ranks.set(characterOf[i], rank(characterOf[i]));
  found = [...chosen].sort((a, b) => {
    const [one, other] = [ranks.get(characterOf[a]), ranks.get(characterOf[b])];
    return one[0] - other[0] || one[1] - other[1] || one[2] - other[2] || a - b;
  });
  list();
  document.body.dataset.found = String(found.length);
  const inView = () => found.filter((i) => inWindow(...screen(x(i), y(i)))).length;
  if (found.length && !inView()) whole();
  document.body.dataset.inView = String(inView());
}

const LISTED = 50, MORE = 250;
function list() {
  const many = found.length;
  at("count").textContent = many ? `${many.toLocaleString("en")} of ${count.toLocaleString("en")} glyphs` : "nothing found";
  at("list").hidden = !many;
  enlist(0, LISTED);
}

function enlist(from, to) {
  for (const i of found.slice(from, to)) {
    const row = data.characters[characterOf[i]], button = element("button", "", element("li", "", at("results")));
    element("b", row[0] || "·", button);
    element("span", row[2], button);
    if (row[1]) button.title = `U+${row[1]}`;
    if (data.fonts.length > 1 && fontOf[i] >= 0) element("em", data.fonts[fontOf[i]], button);
    button.addEventListener("click", () => fly(i));
  }
  if (found.length <= to) return;
  const rest = element("li", "", at("results")), button = element("button", `and ${(found.length - to).toLocaleString("en")} more, marked on the map`, rest);
  rest.className = "rest";
  button.addEventListener("click", () => { rest.remove(); enlist(to, to + MORE); });
}

function clear() {
  clearTimeout(waiting);
  at("search").value = "";
  search();
}
