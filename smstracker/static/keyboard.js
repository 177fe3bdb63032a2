// Single-key shortcuts, listed by "?" and switched off in the same place, for readers who use speech
// input or hit keys by accident (WCAG 2.1.4).

const STORAGE_KEY = "keys"; // "off" in localStorage

const dialog = document.getElementById("keys");
const hint = document.getElementById("keys-hint");
const choice = document.getElementById("keys-on");
const toggle = document.getElementById("keys-switch");

let isOn = localStorage[STORAGE_KEY] !== "off";
// The id of the row focused last; live_page.js may replace its element.
let lastRow = "";

function show() {
  choice.checked = isOn;
  toggle.firstChild.textContent = isOn ? "Switch off" : "Switch on";
}

function switchTo(on) {
  isOn = on;
  localStorage[STORAGE_KEY] = on ? "on" : "off";
  show();
}

// Queried at every key, because the rows change while the page is open.
function rows() {
  return [...document.querySelectorAll("#log > [data-id]")];
}

function moveBy(step) {
  const list = rows();
  const focused = document.activeElement?.closest("#log > [data-id]");
  const index = focused ? list.indexOf(focused) : list.findIndex((row) => row.dataset.id === lastRow);
  const row = list[index < 0 ? 0 : Math.min(Math.max(index + step, 0), list.length - 1)];
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

// Shift is allowed, because some layouts need it for a character: event.key is the character.
function isShortcut(event) {
  const { target } = event;
  return isOn && !event.defaultPrevented && !event.isComposing
    && !event.ctrlKey && !event.metaKey && !event.altKey
    && !target.isContentEditable && !target.closest?.("input, select, textarea")
    && !document.querySelector("dialog[open]");
}

function press(event) {
  if (!Object.hasOwn(KEYS, event.key) || !isShortcut(event)) return;
  event.preventDefault();
  KEYS[event.key]();
}

// Without the footer there is no switch, and so no shortcuts.
if (dialog && hint) {
  hint.hidden = false;
  show();
  document.addEventListener("keydown", press);
  document.getElementById("keys-open").addEventListener("click", () => dialog.showModal());
  toggle.addEventListener("click", () => switchTo(!isOn));
  choice.addEventListener("change", () => switchTo(choice.checked));
  // The setting was changed in another tab.
  addEventListener("storage", (event) => {
    if (event.key !== STORAGE_KEY) return;
    isOn = event.newValue !== "off";
    show();
  });
  // Not every browser focuses the element of the URL's hash.
  if (location.hash === "#search") document.getElementById("search")?.focus();
}
