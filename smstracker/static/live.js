// Tells the scripts of the page which messages have changed while the page is visible.
//
// Opens one event stream. Without a stream (the server has no room, or a proxy cuts or buffers it),
// polls ever more slowly, until nothing waits or MAX_POLLING is over, and keeps trying for a stream.
// Dispatches "messages-changed" on the document: `ids` is null for all messages, `signal` aborts the
// fetch, and the page sets `refresh` to a promise of "changed", "same", or false when it can update
// no more (signed out, another version).

const STORAGE_KEY = "live"; // "paused" or "live"
const PAUSED = "Paused: this page does not change by itself.";
const FETCH_DELAY = 100; // ms, so that changes that come together are fetched together
const FETCH_INTERVAL = 300;
const FETCH_TIMEOUT = 15_000;
const MAX_BREAKS = 3; // in a row, without an event between
const OPEN_TIMEOUT = 10_000;
const STABLE_AFTER = 10_000;
const STREAM_RETRY = 60_000;
// The server ends a stream within 54 seconds, so an older one has lost its connection unnoticed.
const MAX_STREAM_AGE = 75_000;
const MIN_POLL_INTERVAL = 2_000;
const MAX_POLL_INTERVAL = 10_000;
const BACKOFF = 1.25;
const MAX_POLLING = 10 * 60_000;
// A delivery may follow a failure, so polling goes on a little after nothing waits.
const FINAL_POLLS = 4;

const bar = document.getElementById("live-bar");

let { position, stream } = bar?.dataset ?? {};
// By how much the reader's clock is ahead of the server's, in ms.
const clockSkew = bar ? Date.now() - Date.parse(bar.querySelector("time").dateTime) : 0;
let source = null;
let breaks = 0;
let retryTimer = 0; // of the next try for a stream
let watchdog = 0; // replaces a stream that does not open or grows too old
let changed = new Set();
let isAll = false;
let fetchTimer = 0;
let fetchedAt = 0;
let fetching = null; // the AbortController of the fetch under way
let isPaused = storedMode() === "paused";
let isOver = false;
// { timer, interval, deadline, remaining } while there is no stable stream; `remaining` counts polls
// once nothing waits. Survives tries for a stream, or MAX_POLLING would start over every minute.
let poll = null;

function storedMode() {
  try {
    return localStorage.getItem(STORAGE_KEY);
  } catch {
    return null; // without storage, the choice lasts for this page
  }
}

function storeMode(mode) {
  try {
    localStorage.setItem(STORAGE_KEY, mode);
  } catch {
    // Without storage, the choice lasts for this page.
  }
}

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
  if (fetching || fetchTimer || isPaused || isOver) return;
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
  if (result === null && source) fetchedAt += MAX_POLL_INTERVAL;
  if ((changed.size || isAll) && (result !== null || source)) scheduleFetch();
  if (poll && source?.readyState !== EventSource.OPEN) schedulePoll(result === "changed");
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
  close();
}

// ---- The stream ----

// Called when the page becomes visible and when updates resume.
function open() {
  close();
  if (isPaused || isOver || document.hidden) return;
  connect();
  fetchedAt = 0; // do not delay the reader after an earlier failure
  if (changed.size || isAll) scheduleFetch();
}

function connect() {
  breaks = 0;
  source = new EventSource(`${stream}?since=${position}`);
  source.addEventListener("open", onOpen);
  source.addEventListener("changed", (event) => receive(event, JSON.parse(event.data)));
  source.addEventListener("all", (event) => receive(event, null));
  source.addEventListener("error", onError);
  awaitOpen();
}

function awaitOpen() {
  clearTimeout(watchdog);
  watchdog = setTimeout(fallBackToPolling, OPEN_TIMEOUT);
}

// Whether time alone has changed the display of a message: no event reports that, so the page
// refreshes when the next stream opens.
function isOutdated() {
  const parts = [...document.querySelectorAll("main [data-turns]")];
  return parts.some((part) => Date.parse(part.dataset.turns) < Date.now() - clockSkew);
}

function onOpen() {
  clearTimeout(poll?.timer);
  clearTimeout(watchdog);
  watchdog = setTimeout(reconnect, MAX_STREAM_AGE);
  setTimeout(() => source?.readyState === EventSource.OPEN && markStable(), STABLE_AFTER);
  if (isOutdated()) addChanges(null);
}

function markStable() {
  breaks = 0;
  poll = null;
}

function receive(event, ids) {
  markStable();
  position = event.lastEventId || position;
  addChanges(ids);
}

// The browser reopens a broken stream by itself, unless the response was not a stream.
function onError() {
  breaks += 1;
  if (source.readyState === EventSource.CLOSED || breaks === MAX_BREAKS) fallBackToPolling();
  else awaitOpen();
}

function fallBackToPolling() {
  disconnect();
  startPolling();
  retryTimer = setTimeout(connect, STREAM_RETRY);
}

function reconnect() {
  disconnect();
  connect();
}

function disconnect() {
  source?.close();
  source = null;
  clearTimeout(watchdog);
}

function close() {
  disconnect();
  clearTimeout(retryTimer);
  clearTimeout(fetchTimer);
  fetchTimer = 0;
  clearTimeout(poll?.timer);
  poll = null;
}

// ---- Polling ----

function startPolling() {
  const isNew = poll === null;
  const deadline = Date.now() + MAX_POLLING;
  poll ??= { timer: 0, interval: MIN_POLL_INTERVAL, deadline, remaining: Infinity };
  schedulePoll(isNew);
}

// Once polling is over, tries for a stream go on: the server may only have been restarted.
function schedulePoll(hasChanged) {
  const isWaiting = document.querySelector("main [data-waiting]") !== null;
  poll.remaining = isWaiting ? Infinity : Math.min(poll.remaining, FINAL_POLLS) - 1;
  poll.interval = hasChanged
    ? MIN_POLL_INTERVAL
    : Math.min(poll.interval * BACKOFF, MAX_POLL_INTERVAL);
  clearTimeout(poll.timer);
  if (poll.remaining <= 0 || Date.now() >= poll.deadline) return;
  poll.timer = setTimeout(() => addChanges(null), poll.interval);
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
    storeMode(isPaused ? "paused" : "live");
    showState();
    document.getElementById("live-status").textContent = isPaused ? PAUSED : "Updates resumed.";
    if (!isPaused) return open();
    fetching?.abort();
    close();
  });
  showState();
  bar.append(" ", button);
}

if (bar) {
  offerPause();
  open();
  // A hidden tab would take a stream from other readers. When it is visible again, its next stream
  // resumes at the position.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else open();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open());
}
