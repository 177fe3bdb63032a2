// The send form: counts segments while typing, sends once, and fills in a story's number.

const GSM_BASIC = new Set(
  "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡" +
  "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà");
const GSM_EXTENDED = new Set("\f^{}\\[~]|€");
const NAMED_AT_MOST = 24;
const UNLOCKED_AFTER = 15_000; // ms; somebody who stops a slow page wants to send again

// The rule of segments.py. A pair (an escaped GSM character, a surrogate pair) is never split.
export function countSegments(text) {
  const characters = [...text];
  const costly = [...new Set(characters)]
    .filter((c) => !GSM_BASIC.has(c) && !GSM_EXTENDED.has(c))
    .sort((a, b) => a.codePointAt(0) - b.codePointAt(0));
  const isUcs2 = costly.length > 0;
  const [single, multi] = isUcs2 ? [70, 67] : [160, 153];
  const sizes = characters.map((c) => isUcs2 ? c.length : GSM_EXTENDED.has(c) ? 2 : 1);
  const units = sizes.reduce((sum, size) => sum + size, 0);
  const count = units <= single ? Math.min(units, 1) : filled(sizes, multi);
  return { encoding: isUcs2 ? "UCS-2" : "GSM-7", count, units, costly };
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

// The words of presentation.py.
export function segmentLine({ encoding, count, units }) {
  const [single, multi] = encoding === "GSM-7" ? [160, 153] : [70, 67];
  const room = count <= 1 ? single : multi * count;
  return `${encoding} · ${count} ${count === 1 ? "segment" : "segments"} · ${units} of ${room}`;
}

export function named(character, names) {
  if (!/^[\p{C}\p{M}\p{Z}]$/u.test(character)) return character;
  const codePoint = `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return character in names ? `${names[character]} (${codePoint})` : codePoint;
}

// The rule of plain_text.py, with its table.
export function plain(text, table) {
  return [...text].map((c) => Object.hasOwn(table, c) ? table[c] : c).join("");
}

// As if typed, so that the browser's own undo brings the old text back.
function retype(body, text) {
  body.focus();
  body.select();
  if (!document.execCommand("insertText", false, text)) {
    body.value = text;
    body.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

function offerPlain(button, body, table) {
  const [before, text] = [countSegments(body.value), plain(body.value, table)];
  const after = countSegments(text);
  button.parentElement.hidden = text === body.value;
  button.textContent = `Replace all (${before.count} → ${after.count} ${after.count === 1 ? "segment" : "segments"})`;
  button.onclick = () => retype(body, text);
}

function countWhileTyping(body) {
  const line = document.getElementById("segments");
  const costly = document.getElementById("costly");
  const announced = document.getElementById("segments-changed");
  const names = JSON.parse(costly.dataset.names);
  const tables = JSON.parse(costly.dataset.plain);
  const all = document.querySelector("#replace-all button");
  let said = "";
  let pause = 0;

  function show() {
    const forecast = countSegments(body.value);
    line.textContent = segmentLine(forecast);
    costly.hidden = forecast.costly.length === 0;
    costly.querySelector("span").replaceChildren(...chips(forecast.costly, names, tables, body));
    offerPlain(all, body, tables.lookAlike);
    return `${forecast.encoding}, ${forecast.count} ${forecast.count === 1 ? "segment" : "segments"}`;
  }

  // Spoken only when the price changes, and not between two letters.
  function announceLater(words) {
    clearTimeout(pause);
    pause = setTimeout(() => {
      if (words !== said) announced.textContent = said = words;
    }, 1000);
  }

  said = show();
  body.addEventListener("input", () => announceLater(show()));
  // Going back fills the field in after the script has run.
  addEventListener("pageshow", show);
}

function chip(character, names, { lookAlike, spelling }, body) {
  const times = body.value.split(character).length - 1;
  const words = `${named(character, names)} ×${times}`;
  const changesSpelling = Object.hasOwn(spelling, character);
  if (!changesSpelling && !Object.hasOwn(lookAlike, character)) {
    const code = document.createElement("code");
    code.textContent = words;
    return code;
  }
  const to = (changesSpelling ? spelling : lookAlike)[character];
  const button = document.createElement("button");
  button.type = "button";
  button.className = "chip";
  const shown = to === "" ? "nothing" : to === " " ? "a blank" : to;
  button.textContent = `${words} → ${shown}${changesSpelling ? " (changes the spelling)" : ""}`;
  button.addEventListener("click", () => retype(body, body.value.replaceAll(character, () => to)));
  return button;
}

function chips(costly, names, tables, body) {
  const shown = costly.slice(0, NAMED_AT_MOST).flatMap((character) => {
    return [chip(character, names, tables, body), " "];
  });
  const more = costly.length - NAMED_AT_MOST;
  return more > 0 ? [...shown, `and ${more} more`] : shown;
}

function sendOnce(form) {
  const button = form.querySelector("button[data-busy]");
  const words = button.textContent;
  const unlock = () => {
    button.disabled = false;
    button.textContent = words;
  };
  form.addEventListener("submit", () => {
    button.disabled = true;
    button.textContent = button.dataset.busy;
    setTimeout(unlock, UNLOCKED_AFTER);
  });
  addEventListener("pageshow", unlock);
}

function offerStories(recipient, body) {
  const stories = [...document.querySelectorAll("[data-number]")];
  const buttons = stories.map((story) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...story.childNodes);
    button.addEventListener("click", () => {
      recipient.value = story.dataset.number;
      recipient.dispatchEvent(new Event("input", { bubbles: true }));
      (body.value ? recipient : body).focus();
    });
    story.append(button);
    return button;
  });
  const mark = () => stories.forEach((story, index) => {
    const isChosen = recipient.value.replace(/[^+\d]/g, "") === story.dataset.number;
    buttons[index].setAttribute("aria-pressed", isChosen);
  });
  recipient.addEventListener("input", mark);
  addEventListener("pageshow", mark);
}

if (typeof document !== "undefined" && document.getElementById("compose")) {
  const form = document.getElementById("compose");
  countWhileTyping(form.elements.body);
  sendOnce(form);
  offerStories(form.elements.recipient, form.elements.body);
}
