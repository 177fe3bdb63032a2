// The send form: counts segments while typing, sends once, and fills in a scenario's number.

const MAX_OFFERS = 24;
const SEND_LOCK = 15_000; // ms; a reader who stops a slow page wants to send again

// The rule of segments.py, with its tables. A pair (an escaped GSM character, a surrogate pair) is never split.
export function countSegments(text, { basic, extended, capacity, tollFree }, sender = "") {
  const characters = [...text];
  const costly = [...new Set(characters)]
    .filter((c) => !basic.includes(c) && !extended.includes(c))
    .sort((a, b) => a.codePointAt(0) - b.codePointAt(0));
  const encoding = costly.length > 0 ? "UCS-2" : "GSM-7";
  const [single, several] = capacity[encoding];
  const multi = several - new RegExp(tollFree).test(sender);
  const sizes = characters.map((c) => costly.length ? c.length : extended.includes(c) ? 2 : 1);
  const units = sizes.reduce((sum, size) => sum + size, 0);
  const count = units <= single ? Math.min(units, 1) : filled(sizes, multi);
  return { encoding, count, units, costly, room: count <= 1 ? single : multi * count };
}

function filled(sizes, capacity) {
  let count = 1;
  let used = 0;
  for (const size of sizes) {
    if (used + size > capacity) {
      count += 1;
      used = 0;
    }
    used += size;
  }
  return count;
}

// As `segment_line` of web_templates.py.
export function segmentLine({ encoding, count, units, room }, isTooLong = false) {
  const used = isTooLong ? "" : `\u00a0· ${thousands(units)} of ${thousands(room)}`;
  return `${encoding}\u00a0· ${count} ${count === 1 ? "segment" : "segments"}${used}`;
}

export function mmsLine(words, text, longest) {
  return `${words}\u00a0· ${thousands([...text].length)} of ${thousands(longest)} characters`;
}

// As `length_problem` of forms.py; empty for a text that one message can hold.
export function lengthProblem(text, longest) {
  const length = [...text].length;
  if (length <= longest) return "";
  return `${thousands(length)} characters: ${thousands(length - longest)} more than one message can hold.`;
}

const thousands = (number) => number.toLocaleString("en-US");

const isMark = (character) => /^\p{M}$/u.test(character);

// The rules of gsm_replacements.py, with its tables; `length` counts UTF-16 code units.
function rules({ basic, extended, lookAlike, shaping, compatible, spelling }) {
  const isGsm = (text) => [...text].every((c) => basic.includes(c) || extended.includes(c));
  const has = (table, key) => Object.hasOwn(table, key);
  const compatibles = new RegExp(`^[${compatible}]$`, "u");
  const plainLetter = (c) => has(lookAlike, c) ? lookAlike[c] : c;
  const letter = (c) =>
    compatibles.test(c) ? [...c.normalize("NFKC")].map(plainLetter).join("") : plainLetter(c);
  const isCheaper = (candidate, piece) =>
    isGsm(candidate) === isGsm(piece) ? candidate.length < piece.length : isGsm(candidate);

  function looking(piece) {
    if (isGsm(piece)) return piece;
    const composed = piece.normalize("NFC");
    const candidates = [[...composed].map(letter).join(""), composed];
    return candidates.find((candidate) => isCheaper(candidate, piece)) ?? piece;
  }

  function shorter(piece) {
    const replacement = looking(piece);
    return replacement.length < piece.length ? replacement : piece;
  }

  function plain(piece) {
    return shaping.includes(piece) ? "" : looking(piece);
  }

  function spelled(piece) {
    const replacement = plain(piece);
    if (isGsm(replacement)) return replacement;
    const [base, ...marks] = piece.normalize("NFD");
    const bare = has(spelling, base) ? spelling[base] : base;
    return isGsm(bare) && marks.every(isMark) ? bare : replacement;
  }

  function leftOut(piece) {
    const replacement = spelled(piece);
    return isGsm(replacement) || /\p{L}/u.test(piece) ? replacement : "";
  }
  return { isGsm, plain, shorter, spelled, leftOut };
}

function pieces(text) {
  const parts = [];
  for (const character of text) {
    if (parts.length && /^[\p{M}\u1160-\u11ff]$/u.test(character)) parts[parts.length - 1] += character;
    else parts.push(character);
  }
  return parts;
}

// The smallest change that saves a segment, or null; as `cost_advice` of gsm_replacements.py.
export function costAdvice(text, tables, sender) {
  if ([...text].length > tables.longest) return null;
  const before = countSegments(text, tables, sender).count;
  const parts = pieces(text);
  const rule = rules(tables);
  const count = new Map();
  for (const part of parts) count.set(part, (count.get(part) ?? 0) + 1);

  function offer(piece, replacement, leavesOut) {
    const times = count.get(piece);
    const plain = rule.plain(piece);
    const mayShapeSymbol = leavesOut && tables.shaping.includes(piece);
    return !mayShapeSymbol && [plain, rule.spelled(piece)].includes(replacement)
      ? { piece, times, replacement, changesSpelling: replacement !== plain }
      : { piece, times, replacement: null, changesSpelling: false };
  }

  function advice(name) {
    const changed = new Map(parts.map((part) => [part, rule[name](part)]));
    const whole = parts.map((part) => changed.get(part)).join("");
    const after = countSegments(whole, tables, sender).count;
    const isUseful = after < before && whole.trim() !== "" && (name === "shorter" || rule.isGsm(whole));
    if (!isUseful) return null;
    const replaced = [...changed].filter(([piece, to]) => to !== piece);
    const offers = replaced.map(([piece, to]) => offer(piece, to, name === "leftOut"));
    return { before, after, offers, plain: name === "shorter" || name === "plain" ? whole : null };
  }

  const [shorter, plain] = [advice("shorter"), advice("plain")];
  if (shorter && plain) return plain.after < shorter.after ? plain : shorter;
  return shorter ?? plain ?? advice("spelled") ?? advice("leftOut");
}

// As `describe_piece` of web_templates.py.
export function describePiece(piece, invisible) {
  const codePoints = [...piece].map((c) => {
    return `U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  }).join(" ");
  if (/^[\p{C}\p{M}\p{Z}]+$/u.test(piece)) {
    return Object.hasOwn(invisible, piece) ? `${invisible[piece]} (${codePoints})` : codePoints;
  }
  const composed = piece.normalize("NFC");
  return composed === piece ? piece : `${composed} (${codePoints})`;
}

export function adviceLine({ before, after, offers }) {
  const isReplaced = ({ replacement }) => replacement !== null;
  const way = !offers.some(isReplaced) ? "without them"
    : offers.every(isReplaced) ? "with all of them replaced" : "with all of them replaced or left out";
  return `These characters make it cost more (${before} segments, ${after} ${way}):`;
}

export function offerLine({ piece, times, replacement, changesSpelling }, { invisible, invisible_replacements: names }) {
  const words = `${describePiece(piece, invisible)} ×${times}`;
  if (replacement === null) return words;
  const to = Object.hasOwn(names, replacement) ? names[replacement] : replacement;
  return `${words} → ${to}${changesSpelling ? " (changes the spelling)" : ""}`;
}

// Inserted as if typed, so that the browser's undo restores the old text.
function retype(body, text) {
  body.focus();
  body.select();
  if (!document.execCommand("insertText", false, text)) {
    body.value = text;
    body.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

function offerPlain(button, body, advice) {
  const isOffered = advice !== null && advice.plain !== null;
  button.parentElement.hidden = !isOffered;
  if (!isOffered) return;
  const noun = advice.after === 1 ? "segment" : "segments";
  button.textContent = `Replace all (${advice.before} → ${advice.after} ${noun})`;
  button.onclick = () => retype(body, advice.plain);
}

function countWhileTyping({ body, media_urls: pictures, sender }) {
  const line = document.getElementById("segments");
  const tooLong = document.getElementById("too-long");
  const longest = Number(tooLong.dataset.longest);
  const costly = document.getElementById("costly");
  const announced = document.getElementById("segments-changed");
  const tables = JSON.parse(costly.dataset.plain);
  const replaceAll = document.querySelector("#replace-all button");
  let announcedWords = "";
  let pause = 0;

  // The error of the last attempt says it already, until the text changes.
  const submitted = body.value;
  const isErrorShown = () => body.value === submitted && document.getElementById("body-error") !== null;

  function show() {
    const forecast = countSegments(body.value, tables, sender.value);
    const isMms = pictures.value.trim() !== "";
    const advice = isMms ? null : costAdvice(body.value, tables, sender.value);
    const problem = lengthProblem(body.value, longest);
    line.textContent = isMms
      ? mmsLine(line.dataset.mms, body.value, longest)
      : segmentLine(forecast, problem !== "");
    tooLong.hidden = problem === "" || isErrorShown();
    tooLong.textContent = problem;
    costly.hidden = advice === null;
    document.getElementById("advice").textContent = advice ? adviceLine(advice) : "";
    document.getElementById("offers").replaceChildren(...chips(advice?.offers ?? [], tables, body));
    offerPlain(replaceAll, body, advice);
    if (problem) return "More than one message can hold";
    if (isMms) return line.dataset.mms;
    return `${forecast.encoding}, ${forecast.count} ${forecast.count === 1 ? "segment" : "segments"}`;
  }

  // Announced only when the price changes, and after a pause in typing.
  function announceLater(words) {
    clearTimeout(pause);
    pause = setTimeout(() => {
      if (words !== announcedWords) announced.textContent = announcedWords = words;
    }, 1000);
  }

  announcedWords = show();
  body.addEventListener("input", () => announceLater(show()));
  pictures.addEventListener("input", () => announceLater(show()));
  sender.addEventListener("input", () => announceLater(show()));
  // Going back fills the field after the script has run.
  addEventListener("pageshow", show);
}

function chip(offer, tables, body) {
  const element = document.createElement(offer.replacement === null ? "code" : "button");
  element.textContent = offerLine(offer, tables);
  if (offer.replacement === null) return element;
  element.type = "button";
  element.className = "chip";
  element.addEventListener("click", () => {
    const parts = pieces(body.value);
    retype(body, parts.map((part) => part === offer.piece ? offer.replacement : part).join(""));
  });
  return element;
}

function chips(offers, tables, body) {
  const elements = offers.slice(0, MAX_OFFERS).flatMap((offer) => [chip(offer, tables, body), " "]);
  const hidden = offers.length - MAX_OFFERS;
  return hidden > 0 ? [...elements, `and ${hidden} more`] : elements;
}

function sendOnce(form) {
  const button = form.querySelector("button[data-now]");
  const { send_day: day, send_time: time } = form.elements;
  const words = () => (day.value || time.value ? button.dataset.later : button.dataset.now).split("|");
  const unlock = () => {
    button.disabled = false;
    button.textContent = words()[0];
  };
  form.addEventListener("submit", () => {
    button.disabled = true;
    button.textContent = words()[1];
    setTimeout(unlock, SEND_LOCK);
  });
  for (const field of [day, time]) field.addEventListener("input", unlock);
  addEventListener("pageshow", unlock);
}

function offerScenarios(recipient, body) {
  const scenarios = [...document.querySelectorAll("[data-number]")];
  document.getElementById("scenarios-press")?.removeAttribute("hidden");
  const buttons = scenarios.map((scenario) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...scenario.childNodes);
    button.addEventListener("click", () => {
      recipient.value = scenario.dataset.number;
      recipient.dispatchEvent(new Event("input", { bubbles: true }));
      (body.value ? recipient : body).focus();
    });
    scenario.append(button);
    return button;
  });
  const mark = () => scenarios.forEach((scenario, index) => {
    const isChosen = recipient.value.replace(/[^+\d]/g, "") === scenario.dataset.number;
    buttons[index].setAttribute("aria-pressed", isChosen);
  });
  recipient.addEventListener("input", mark);
  addEventListener("pageshow", mark);
}

if (typeof document !== "undefined" && document.getElementById("compose")) {
  const form = document.getElementById("compose");
  countWhileTyping(form.elements);
  sendOnce(form);
  offerScenarios(form.elements.recipient, form.elements.body);
}
