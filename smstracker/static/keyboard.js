// Single keys for those who like them, listed by "?" and switched off in the same place: whoever
// speaks to the computer, or hits keys by accident, needs to be rid of them (WCAG 2.1.4).

const MEMORY = "keys"; // "off" in the browser's own memory; nothing of it leaves the browser

const dialog = document.getElementById("keys");
const hint = document.getElementById("keys-hint");
const choice = document.getElementById("keys-on");
const toggle = document.getElementById("keys-switch");

let isOn = remembered() !== "off";
// The row that was focused last: another script may put a new element in its place meanwhile.
let lastRow = "";

function remembered() {
  try {
    return localStorage.getItem(MEMORY);
  } catch {
    return null; // the browser keeps nothing for us: then the choice lasts for this page
  }
}

function remember(word) {
  try {
    localStorage.setItem(MEMORY, word);
  } catch {
    // as above
  }
}

function show() {
  choice.checked = isOn;
  toggle.firstChild.textContent = isOn ? "Switch off" : "Switch on";
}

function switchTo(on) {
  isOn = on;
  remember(on ? "on" : "off");
  show();
}

// Asked for at every key, because rows come and go while the page is open.
function rows() {
  return [...document.querySelectorAll("#log > [data-id]")];
}

function moveBy(step) {
  const all = rows();
  const focused = document.activeElement?.closest("#log > [data-id]");
  const at = focused ? all.indexOf(focused) : all.findIndex((row) => row.dataset.id === lastRow);
  const row = all[at < 0 ? 0 : Math.min(Math.max(at + step, 0), all.length - 1)];
  if (!row) return;
  lastRow = row.dataset.id;
  row.querySelector("a").focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function search() {
  const field = document.getElementById("search");
  if (!field) {
    if (location.pathname !== dialog.dataset.log) location.assign(`${dialog.dataset.log}#search`);
    return;
  }
  field.focus();
  field.select?.();
}

const KEYS = {
  "/": search,
  j: () => moveBy(1),
  k: () => moveBy(-1),
  n: () => location.assign(dialog.dataset.new),
  t: () => document.getElementById("times-switch")?.click(),
  "?": () => dialog.showModal(),
};

// With Shift only as far as the layout needs it for the character: event.key tells what was typed.
function isMeant(event) {
  const { target } = event;
  return isOn && !event.defaultPrevented && !event.isComposing
    && !event.ctrlKey && !event.metaKey && !event.altKey
    && !target.isContentEditable && !target.closest?.("input, select, textarea")
    && !document.querySelector("dialog[open]");
}

function press(event) {
  if (!Object.hasOwn(KEYS, event.key) || !isMeant(event)) return;
  event.preventDefault();
  KEYS[event.key]();
}

// A page without a foot has no place to switch the keys off, and so no keys.
if (dialog && hint) {
  hint.hidden = false;
  show();
  document.addEventListener("keydown", press);
  document.getElementById("keys-open").addEventListener("click", () => dialog.showModal());
  toggle.addEventListener("click", () => switchTo(!isOn));
  choice.addEventListener("change", () => switchTo(choice.checked));
  // Another tab has been told.
  addEventListener("storage", (event) => {
    if (event.key !== MEMORY) return;
    isOn = event.newValue !== "off";
    show();
  });
  // Not every browser gives the focus to what the address names.
  if (location.hash === "#search") document.getElementById("search")?.focus();
}
