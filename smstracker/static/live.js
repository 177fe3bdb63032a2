// Tells the scripts of the page which messages have changed while the page is visible.
//
// Follows the stream that the windows of the browser share. Without one, polls ever more slowly,
// until nothing waits or MAX_POLLING is over.
// Dispatches "messages-changed" on the document: `ids` is null for all messages, `signal` aborts the
// fetch, and the page sets `refresh` to a promise of "changed", "same", or false when it can update
// no more (another version).

const STORAGE_KEY = "live"; // "paused" or "live"
const PAUSED = "Paused: this page does not change by itself.";
const FETCH_DELAY = 100; // ms, so that changes that come together are fetched together
const FETCH_INTERVAL = 300;
const FETCH_TIMEOUT = 15_000;
const STABLE_AFTER = 10_000;
const MIN_POLL_INTERVAL = 2_000;
const MAX_POLL_INTERVAL = 10_000;
const BACKOFF = 1.25;
const MINUTE = 60_000;
const MAX_POLLING = 10 * MINUTE;
// A delivery may follow a failure, so polling goes on a little after nothing waits.
const FINAL_POLLS = 4;

const bar = document.getElementById("live-bar");
const stream = bar && navigator.locks && window.BroadcastChannel && (await import(bar.dataset.module));
// By how much the reader's clock is ahead of the server's, in ms.
const clockSkew = bar ? Date.now() - Date.parse(bar.querySelector("time").dateTime) : 0;
let changed = new Set();
let isAll = false;
let fetchTimer = 0;
let fetchedAt = 0;
let fetching = null; // the AbortController of the fetch under way
let isPaused = localStorage[STORAGE_KEY] === "paused";
let isOver = false;
// { timer, interval, deadline, remaining } while there is no stable stream; `remaining` counts polls
// once nothing waits. Survives tries for a stream, or MAX_POLLING would start over every minute.
let poll = null;

// ---- Fetching ----

function addChanges(ids) {
  collect(ids);
  scheduleFetch();
}

function collect(ids) {
  if (ids) for (const id of ids) changed.add(id);
  else isAll = true;
}

function scheduleFetch() {
  if (fetching || fetchTimer || !(poll || isStreaming())) return;
  const remaining = FETCH_INTERVAL - (Date.now() - fetchedAt);
  fetchTimer = setTimeout(fetchChanges, Math.max(FETCH_DELAY, remaining));
}

async function fetchChanges() {
  fetchTimer = 0;
  fetching = new AbortController();
  const ids = isAll ? null : [...changed];
  changed = new Set();
  isAll = false;
  const result = await refreshPage({ ids, signal: fetching.signal });
  fetching = null;
  fetchedAt = Date.now();
  if (result === false) return end();
  // Without a response, the changes are still to be shown.
  if (result === null) collect(ids);
  if (result === null && isStreaming()) fetchedAt += MAX_POLL_INTERVAL;
  if ((changed.size || isAll) && (result !== null || isStreaming())) scheduleFetch();
  if (poll && !isStreaming()) schedulePoll(result === "changed");
}

// The result of the page; null when it got no response.
async function refreshPage(detail) {
  const timeout = setTimeout(() => fetching.abort(), FETCH_TIMEOUT);
  try {
    document.dispatchEvent(new CustomEvent("messages-changed", { detail }));
    return await detail.refresh;
  } catch {
    return null;
  } finally {
    clearTimeout(timeout);
  }
}

function end() {
  isOver = true;
  stop();
}

// ---- The stream ----

// Begins anew, or ends, as the state of the page says.
function follow() {
  stop();
  if (isPaused || isOver || document.hidden || document.querySelector(".signed-out")) return;
  if (stream) stream.open(onState, addChanges);
  else startPolling();
  fetchedAt = 0; // do not delay the reader after an earlier failure
  if (changed.size || isAll) scheduleFetch();
}

function stop() {
  stream?.close();
  clearTimeout(fetchTimer);
  fetchTimer = 0;
  clearTimeout(poll?.timer);
  poll = null;
}

// Or about to.
function isStreaming() {
  return stream?.opens >= 0;
}

// Whether time alone has changed the display of a message: no event reports that, so the page
// refreshes when the next stream opens.
function isOutdated() {
  const parts = [...document.querySelectorAll("main [data-turns]")];
  return parts.some((part) => Date.parse(part.dataset.turns) < Date.now() - clockSkew);
}

function onState() {
  if (!isStreaming()) return startPolling();
  clearTimeout(poll?.timer);
  setTimeout(() => { if (isStreaming()) poll = null; }, STABLE_AFTER);
  if (isOutdated()) addChanges(null);
}

// ---- Polling ----

function startPolling() {
  const isNew = poll === null;
  const deadline = Date.now() + MAX_POLLING;
  poll ??= { timer: 0, interval: MIN_POLL_INTERVAL, deadline, remaining: Infinity };
  schedulePoll(isNew);
}

// Once polling is over, tries for a stream go on: the server may only have been restarted. A page
// that cannot share polls each minute.
function schedulePoll(hasChanged) {
  const isWaiting = document.querySelector("main [data-waiting]") !== null;
  poll.remaining = isWaiting ? Infinity : Math.min(poll.remaining, FINAL_POLLS) - 1;
  poll.interval = hasChanged
    ? MIN_POLL_INTERVAL
    : Math.min(poll.interval * BACKOFF, MAX_POLL_INTERVAL);
  clearTimeout(poll.timer);
  const isOver = poll.remaining <= 0 || Date.now() >= poll.deadline;
  if (isOver && stream) return;
  poll.timer = setTimeout(() => addChanges(null), isOver ? MINUTE : poll.interval);
}

// ---- The switch of the reader ----

function offerPause() {
  const button = document.createElement("button");
  button.type = "button";
  button.id = "live-switch";
  button.className = "quiet";
  const updated = bar.querySelector(".updated");
  const notice = document.createElement("span");
  notice.className = "paused";
  notice.textContent = PAUSED;
  updated.after(notice);
  const showState = () => {
    button.textContent = isPaused ? "Resume updates" : "Pause updates";
    updated.hidden = isPaused;
    notice.hidden = !isPaused;
  };
  button.addEventListener("click", () => {
    isPaused = !isPaused;
    localStorage[STORAGE_KEY] = isPaused ? "paused" : "live";
    showState();
    document.getElementById("live-status").textContent = isPaused ? PAUSED : "Updates resumed.";
    if (isPaused) fetching?.abort();
    follow();
  });
  showState();
  bar.append(" ", button);
}

if (bar) {
  offerPause();
  follow();
  // A hidden window follows nothing. When it is visible again, it goes on from its position.
  document.addEventListener("visibilitychange", follow);
  document.addEventListener("reader-changed", follow);
  addEventListener("pagehide", stop);
  addEventListener("pageshow", ({ persisted }) => persisted && follow());
}
