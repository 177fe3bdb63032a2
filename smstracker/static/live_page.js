// Updates the page of a message and the log: replaces the parts that have changed with those of a
// new response. What the reader has opened, focused or selected stays, and no row moves.

const ANNOUNCE_INTERVAL = 2_000; // ms; a screen reader could not keep up with every change

const statusRegion = document.getElementById("live-status");
const page = document.getElementById("live");
const announcement = document.getElementById("live-announcement");

// The markup of a part without what scripts, readers and time alone change in it.
function stableMarkup(part) {
  const copy = part.cloneNode(true);
  for (const time of copy.querySelectorAll("time")) {
    time.textContent = "";
    time.removeAttribute("title");
  }
  for (const details of copy.querySelectorAll("details")) details.removeAttribute("open");
  return copy.innerHTML;
}

function copyOpenDetails(before, after) {
  for (const details of before.querySelectorAll("details[open]")) {
    const successor = after.querySelector(`details[data-event="${details.dataset.event}"]`);
    if (successor) successor.open = true;
  }
}

// Returns a function that restores the focus: on the same link, or the details of the same event.
function saveFocus(part) {
  const focused = document.activeElement;
  const name = (element) => element.href ?? element.closest("details")?.dataset.event;
  if (!part.contains(focused)) return () => {};
  return (successor) => {
    const candidates = [...successor.querySelectorAll("a, summary")];
    const target = candidates.find((element) => name(element) === name(focused));
    target?.focus({ preventScroll: true });
  };
}

function isSelected(part) {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(part, true);
}

function copyAttributes(before, after) {
  for (const name of ["data-waiting", "data-gone", "data-turns"]) {
    if (after.hasAttribute(name)) before.setAttribute(name, after.getAttribute(name));
    else before.removeAttribute(name);
  }
}

// Tries again when the selection changes.
function postponeReplacement(replace) {
  document.addEventListener("selectionchange", replace, { once: true });
  return false;
}

// Returns whether any child was replaced; both parents have the same number of children.
function replaceChanged(before, after) {
  // Copy the list: a successor that is put in place leaves its parent.
  const successors = [...after.children];
  return successors.map((successor, index) => replaceChild(before, index, successor)).some(Boolean);
}

function replaceChild(parent, index, successor) {
  const part = parent.children[index];
  if (stableMarkup(part) === stableMarkup(successor)) return false;
  if (isSelected(part)) return postponeReplacement(() => replaceChild(parent, index, successor));
  copyOpenDetails(part, successor);
  const restoreFocus = saveFocus(part);
  part.replaceWith(successor);
  restoreFocus(successor);
  return true;
}

// Returns the document at an address; throws without a connection, on a server error, and if it is
// another reader's.
async function fetchDocument(address, signal) {
  const response = await fetch(address, { headers: { Accept: "text/html" }, signal });
  if (response.status >= 500) throw new Error(`status ${response.status}`);
  const detail = new DOMParser().parseFromString(await response.text(), "text/html");
  document.dispatchEvent(new CustomEvent("page-fetched", { detail }));
  if (document.querySelector(".signed-out")) throw new Error("signed out");
  return detail;
}

// Sets the time of the page, from which other scripts compute ages.
function setPageTime(update) {
  const now = update.querySelector("time[data-now]");
  document.querySelector(".updated time").dateTime = now.dateTime;
  document.dispatchEvent(new Event("page-changed"));
}

// ---- The page of one message ----

async function refreshMessage(signal) {
  const response = await fetchDocument(location.href, signal);
  const update = response.getElementById("live");
  // A page of another version: the reader has to press Refresh.
  if (!update || update.children.length !== page.children.length) return false;
  const headline = (part) => part.querySelector("h1").textContent;
  const [before, after] = [headline(page), headline(update)];
  copyAttributes(page, update);
  const hasChanged = replaceChanged(page, update);
  if (before !== after) statusRegion.textContent = after;
  document.title = response.title;
  setPageTime(response);
  return hasChanged ? "changed" : "same";
}

// ---- The log ----

const announcements = new Map(); // by message id, since the last announcement
let announcedAt = 0;
let announceTimer = 0;

function findRow(id) {
  return document.querySelector(`#log > [data-id="${CSS.escape(id)}"]`);
}

function replaceRow(successor) {
  const row = findRow(successor.dataset.id);
  if (!row) return false;
  const label = (part) => part.querySelector(".status").textContent.trim();
  const before = label(row);
  if (isSelected(row.querySelector(".state"))) return postponeReplacement(() => replaceRow(successor));
  copyAttributes(row, successor);
  const after = label(successor);
  const hasChanged = replaceChanged(row, successor);
  const recipient = row.querySelector("a").textContent;
  if (before !== after) queueAnnouncement(row.dataset.id, `Message to ${recipient}: ${after}`);
  return hasChanged;
}

function queueAnnouncement(id, text) {
  announcements.set(id, text);
  const remaining = ANNOUNCE_INTERVAL - (Date.now() - announcedAt);
  announceTimer ||= setTimeout(announce, Math.max(0, remaining));
}

function announce() {
  const [text] = announcements.values();
  const { size } = announcements;
  statusRegion.textContent = size === 1 ? text : `${size} messages changed`;
  announcements.clear();
  announceTimer = 0;
  announcedAt = Date.now();
}

function replacePills(update) {
  const [pills, successor] = [document.getElementById("pills"), update.querySelector("#pills")];
  if (!pills || !successor || stableMarkup(pills) === stableMarkup(successor)) return;
  const restoreFocus = saveFocus(pills);
  pills.replaceWith(successor);
  restoreFocus(successor);
}

function offerNew(count) {
  const link = document.getElementById("live-new");
  link.hidden = count === "0";
  const text = link.hidden ? "" : `${count} new ${count === "1" ? "message" : "messages"}`;
  if (link.textContent !== text) link.textContent = text;
}

function displayedIds() {
  return [...document.querySelectorAll("#log > [data-id]")].map((row) => row.dataset.id);
}

async function refreshLog(ids, signal) {
  const { rows, newest } = announcement.dataset;
  const address = new URL(rows, location.href);
  const rowIds = ids ? ids.filter(findRow) : displayedIds();
  if (rowIds.length) address.searchParams.set("ids", rowIds.join(","));
  if (newest !== undefined) address.searchParams.set("newest", newest);
  const update = (await fetchDocument(address, signal)).getElementById("changes");
  if (!update) return false; // another version
  const hasChanged = [...update.querySelectorAll("li[data-id]")].map(replaceRow).some(Boolean);
  replacePills(update);
  offerNew(update.dataset.new);
  setPageTime(update);
  return hasChanged ? "changed" : "same";
}

function isAboutThisMessage(ids) {
  return !ids || ids.includes(page.dataset.message);
}

document.addEventListener("messages-changed", ({ detail }) => {
  if (announcement) detail.refresh = refreshLog(detail.ids, detail.signal);
  else if (page && isAboutThisMessage(detail.ids)) detail.refresh = refreshMessage(detail.signal);
});
