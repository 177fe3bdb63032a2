// Tells the scripts of the page which messages have changed, as long as somebody looks at it.
//
// One event stream while the tab is visible. Where there is none to be had (the server has no room,
// a proxy cuts it or keeps it back), it asks again and again, ever more slowly, until nothing is
// waiting or its patience is at an end; then the reader has the Refresh link, until there is a
// stream again. What has changed is handed on as an event of the document, "messages-changed":
// `ids` is null for all, `signal` ends the look, and the page promises an answer in `look`:
// "changed", "same", or false when it can show nothing any more (signed out, another version).

const MEMORY = "live"; // "paused" in the browser's own memory
const FIRST_FETCH = 100; // ms, so that changes that come together are fetched together
const FETCH_EVERY = 300;
const LATE = 15_000; // an answer that has not come by now never will
const BREAKS = 3; // in a row, without a single event between
const STREAM_AGAIN = 60_000;
// The server ends a stream within 54 seconds, so an older one has lost its connection unnoticed.
const OLDEST = 75_000;
const FASTEST = 2_000; // ms between two looks without a stream
const SLOWEST = 10_000;
const SLOWING = 1.25;
const PATIENCE = 10 * 60_000;
// A failure is at times followed by a delivery, and any report by its double.
const LAST_LOOKS = 4;

const bar = document.getElementById("live-bar");

let { position, stream } = bar?.dataset ?? {};
// How far the reader's clock is ahead of the server's, in ms.
const ahead = bar ? Date.now() - Date.parse(bar.querySelector("time").dateTime) : 0;
let source = null;
let breaks = 0;
let again = 0; // the timer of the next try for a stream
let watch = 0; // the timer that ends a stream in which nothing happens
let changed = new Set();
let isAll = false;
let fetchTimer = 0;
let fetchedAt = 0;
let fetching = null; // what ends the look that is under way
let isPaused = remembered() === "paused";
let isOver = false;
// { timer, pause, deadline, looks } since there is no stream; `looks` once nothing is waiting. It is
// kept while a stream is tried for, or its patience would begin anew every minute.
let poll = null;

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

// ---- Fetching ----

function note(ids) {
  keep(ids);
  schedule();
}

function keep(ids) {
  if (ids) for (const id of ids) changed.add(id);
  else isAll = true;
}

function schedule() {
  if (fetching || fetchTimer || isPaused || isOver) return;
  const rest = FETCH_EVERY - (Date.now() - fetchedAt);
  fetchTimer = setTimeout(hand, Math.max(FIRST_FETCH, rest));
}

async function hand() {
  fetchTimer = 0;
  fetching = new AbortController();
  const ids = isAll ? null : [...changed];
  changed = new Set();
  isAll = false;
  const answer = await look({ ids, signal: fetching.signal });
  fetching = null;
  fetchedAt = Date.now();
  if (answer === false) return end();
  // No connection, or the server has trouble: what was learned of has still to be shown.
  if (answer === null) keep(ids);
  if (answer === null && source) fetchedAt += SLOWEST;
  if ((changed.size || isAll) && (answer !== null || source)) schedule();
  if (poll && source?.readyState !== EventSource.OPEN) lookLater(answer === "changed");
}

// The answer of the page; null when it could not look.
async function look(detail) {
  const late = setTimeout(() => fetching.abort(), LATE);
  try {
    document.dispatchEvent(new CustomEvent("messages-changed", { detail }));
    return await detail.look;
  } catch {
    return null;
  } finally {
    clearTimeout(late);
  }
}

function end() {
  isOver = true;
  close();
}

// ---- The stream ----

// The reader begins to look at the page, or looks again.
function open() {
  close();
  if (isPaused || isOver || document.hidden) return;
  connect();
  fetchedAt = 0; // the reader does not wait for what did not work before
  if (changed.size || isAll) schedule(); // learned of before, and not shown yet
}

function connect() {
  breaks = 0;
  source = new EventSource(`${stream}?since=${position}`);
  source.addEventListener("open", opened);
  source.addEventListener("changed", (event) => take(event, JSON.parse(event.data)));
  source.addEventListener("all", (event) => take(event, null));
  source.addEventListener("error", broken);
  expectOpen();
}

function expectOpen() {
  clearTimeout(watch);
  watch = setTimeout(doWithout, SLOWEST);
}

// Time alone makes an unsettled message something else, and no event tells of that. The pages say
// when: then they look again, with the next stream.
function isDue() {
  const turns = [...document.querySelectorAll("main [data-turns]")].map((one) => one.dataset.turns);
  return turns.some((moment) => Date.parse(moment) < Date.now() - ahead);
}

function opened() {
  clearTimeout(poll?.timer);
  clearTimeout(watch);
  watch = setTimeout(connectAgain, OLDEST);
  setTimeout(() => source?.readyState === EventSource.OPEN && trust(), SLOWEST);
  if (isDue()) note(null);
}

// This stream is one that stays.
function trust() {
  breaks = 0;
  poll = null;
}

function take(event, ids) {
  trust();
  position = event.lastEventId || position;
  note(ids);
}

// The browser opens a stream that broke again by itself, unless the answer was none at all.
function broken() {
  breaks += 1;
  if (source.readyState === EventSource.CLOSED || breaks === BREAKS) doWithout();
  else expectOpen();
}

function doWithout() {
  hangUp();
  keepAsking();
  again = setTimeout(connect, STREAM_AGAIN);
}

function connectAgain() {
  hangUp();
  connect();
}

function hangUp() {
  source?.close();
  source = null;
  clearTimeout(watch);
}

function close() {
  hangUp();
  clearTimeout(again);
  clearTimeout(fetchTimer);
  fetchTimer = 0;
  clearTimeout(poll?.timer);
  poll = null;
}

// ---- Without it ----

function keepAsking() {
  const isNew = poll === null;
  poll ??= { timer: 0, pause: FASTEST, deadline: Date.now() + PATIENCE, looks: Infinity };
  lookLater(isNew);
}

// In the end nothing is asked for but a stream: the server may only have been restarted.
function lookLater(hasChanged) {
  const isWaiting = document.querySelector("main [data-waiting]") !== null;
  poll.looks = isWaiting ? Infinity : Math.min(poll.looks, LAST_LOOKS) - 1;
  poll.pause = hasChanged ? FASTEST : Math.min(poll.pause * SLOWING, SLOWEST);
  clearTimeout(poll.timer);
  if (poll.looks <= 0 || Date.now() >= poll.deadline) return;
  poll.timer = setTimeout(() => note(null), poll.pause);
}

// ---- The reader's switch ----

function offerPause() {
  const button = document.createElement("button");
  button.type = "button";
  button.id = "live-switch";
  button.className = "quiet";
  button.textContent = "Pause updates";
  const mark = () => button.setAttribute("aria-pressed", isPaused);
  button.addEventListener("click", () => {
    isPaused = !isPaused;
    remember(isPaused ? "paused" : "live");
    mark();
    if (!isPaused) return open();
    fetching?.abort();
    close();
  });
  mark();
  bar.append(" ", button);
}

if (bar) {
  offerPause();
  open();
  // Nobody reads a hidden tab, and its stream would keep others from having one. What was missed
  // is told when it opens again, from the position that was reached.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else open();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open());
}
