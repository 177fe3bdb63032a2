// Shows what has changed, on the page of a message and in the log: puts the parts of a fresh page in
// the place of those that have changed, and only of those. What the reader has opened, focused or
// selected stays as it is, and no row ever moves under the reader's eyes.

const ANNOUNCE_EVERY = 2_000; // ms; a screen reader could not keep up with every change

const news = document.getElementById("live-news");
const page = document.getElementById("live");
const announcement = document.getElementById("live-announcement");

// What a part says, without what scripts and readers have changed and what time alone changes.
function essence(part) {
  const copy = part.cloneNode(true);
  for (const time of copy.querySelectorAll("time")) {
    time.textContent = "";
    time.removeAttribute("title");
  }
  for (const details of copy.querySelectorAll("details")) details.removeAttribute("open");
  return copy.innerHTML;
}

function keepOpen(before, after) {
  for (const details of before.querySelectorAll("details[open]")) {
    const same = after.querySelector(`details[data-event="${details.dataset.event}"]`);
    if (same) same.open = true;
  }
}

// Puts the keyboard back on what it was on: the same link, or the details of the same event.
function focusKeeper(part) {
  const focused = document.activeElement;
  const name = (one) => one.href ?? one.closest("details")?.dataset.event;
  if (!part.contains(focused)) return () => {};
  return (successor) => {
    const all = [...successor.querySelectorAll("a, summary")];
    all.find((one) => name(one) === name(focused))?.focus({ preventScroll: true });
  };
}

function isSelected(part) {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(part, true);
}

function takeOver(stale, fresh) {
  for (const name of ["data-waiting", "data-gone", "data-turns"]) {
    if (fresh.hasAttribute(name)) stale.setAttribute(name, fresh.getAttribute(name));
    else stale.removeAttribute(name);
  }
}

// Its time comes when nothing is selected any more.
function replaceLater(replace) {
  document.addEventListener("selectionchange", replace, { once: true });
  return false;
}

// Tells whether anything was replaced. Both have the same number of children.
function replaceChanged(stale, fresh) {
  // A list of its own: a successor that is put in place leaves the fresh page.
  return [...fresh.children].map((successor, index) => replaceChild(stale, index, successor)).some(Boolean);
}

function replaceChild(parent, index, successor) {
  const part = parent.children[index];
  if (essence(part) === essence(successor)) return false;
  if (isSelected(part)) return replaceLater(() => replaceChild(parent, index, successor));
  keepOpen(part, successor);
  const refocus = focusKeeper(part);
  part.replaceWith(successor);
  refocus(successor);
  return true;
}

// The page at an address; throws when there is no connection or the server has trouble.
async function fetchPage(address, signal) {
  const answer = await fetch(address, { headers: { Accept: "text/html" }, signal });
  if (answer.status >= 500) throw new Error("the server has trouble");
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// The moment of which the page tells, for all who reckon with it.
function setUpdated(fresh) {
  const now = fresh.querySelector("time[data-now]");
  document.querySelector(".updated time").dateTime = now.dateTime;
  document.dispatchEvent(new Event("page-changed"));
}

// ---- The page of one message ----

async function lookAtMessage(signal) {
  const document_ = await fetchPage(location.href, signal);
  const fresh = document_.getElementById("live");
  // Signed out, or a page of another version: the reader has to press Refresh.
  if (!fresh || fresh.children.length !== page.children.length) return false;
  const headline = (one) => one.querySelector("h1").textContent;
  const [before, after] = [headline(page), headline(fresh)];
  takeOver(page, fresh);
  const changed = replaceChanged(page, fresh);
  if (before !== after) news.textContent = after;
  document.title = document_.title;
  setUpdated(document_);
  return changed ? "changed" : "same";
}

// ---- The log ----

const said = new Map(); // what became of which message since the last announcement
let saidAt = 0;
let sayTimer = 0;

function row(id) {
  return document.querySelector(`#log > [data-id="${CSS.escape(id)}"]`);
}

function replaceRow(successor) {
  const stale = row(successor.dataset.id);
  if (!stale) return false;
  const label = (part) => part.querySelector(".status").textContent.trim();
  const before = label(stale);
  if (isSelected(stale.querySelector(".state"))) return replaceLater(() => replaceRow(successor));
  takeOver(stale, successor);
  const after = label(successor);
  const changed = replaceChanged(stale, successor);
  if (before !== after) say(stale.dataset.id, `Message to ${stale.querySelector("a").textContent}: ${after}`);
  return changed;
}

function say(id, words) {
  said.set(id, words);
  const rest = ANNOUNCE_EVERY - (Date.now() - saidAt);
  sayTimer ||= setTimeout(announce, Math.max(0, rest));
}

function announce() {
  news.textContent = said.size === 1 ? [...said.values()][0] : `${said.size} messages changed`;
  said.clear();
  sayTimer = 0;
  saidAt = Date.now();
}

function replacePills(fresh) {
  const [stale, pills] = [document.getElementById("pills"), fresh.querySelector("#pills")];
  if (!stale || !pills || essence(stale) === essence(pills)) return;
  const refocus = focusKeeper(stale);
  stale.replaceWith(pills);
  refocus(pills);
}

function offerNew(count) {
  const link = document.getElementById("live-new");
  link.hidden = count === "0";
  const words = link.hidden ? "" : `${count} new ${count === "1" ? "message" : "messages"}`;
  if (link.textContent !== words) link.textContent = words;
}

async function lookAtLog(ids, signal) {
  const { rows, newest } = announcement.dataset;
  const address = new URL(rows, location.href);
  const shown = ids ? ids.filter(row) : [...document.querySelectorAll("#log > [data-id]")].map((one) => one.dataset.id);
  if (shown.length) address.searchParams.set("ids", shown.join(","));
  if (newest !== undefined) address.searchParams.set("newest", newest);
  const fresh = (await fetchPage(address, signal)).getElementById("changes");
  if (!fresh) return false; // signed out, or another version
  const changed = [...fresh.querySelectorAll("li[data-id]")].map(replaceRow).some(Boolean);
  replacePills(fresh);
  offerNew(fresh.dataset.new);
  setUpdated(fresh);
  return changed ? "changed" : "same";
}

function isAboutThisMessage(ids) {
  return !ids || ids.includes(page.dataset.message);
}

document.addEventListener("messages-changed", ({ detail }) => {
  if (announcement) detail.look = lookAtLog(detail.ids, detail.signal);
  else if (page && isAboutThisMessage(detail.ids)) detail.look = lookAtMessage(detail.signal);
});
