// Tells the scripts of the page which messages have changed, as long as somebody looks at it.
//
// One event stream while the tab is visible. Where there is none to be had (the server has no room,
// a proxy cuts it), it asks again and again, ever more slowly, until nothing is waiting; then the
// reader has the Refresh link, until there is a stream again. What has changed is handed on as an event of the document,
// "messages-changed": `ids` is null for all, and the page promises an answer in `look`: "changed",
// "same", or false when it can show nothing any more (signed out, another version).

const MEMORY = "live"; // "paused" in the browser's own memory
const FIRST_FETCH = 100; // ms, so that changes that come together are fetched together
const FETCH_EVERY = 500;
const BREAKS = 3; // in a row, without a single event between
const STREAM_AGAIN = 60_000;
const FASTEST = 2_000; // ms between two looks without a stream
const SLOWEST = 10_000;
const SLOWING = 1.25;
const PATIENCE = 10 * 60_000;
// A failure is at times followed by a delivery, and any report by its double.
const LAST_LOOKS = 4;

const bar = document.getElementById("live-bar");

let { position, stream } = bar?.dataset ?? {};
let source = null;
let hasStreamed = false;
let breaks = 0;
let again = 0; // the timer of the next try for a stream
let changed = new Set();
let isAll = false;
let fetchTimer = 0;
let fetchedAt = 0;
let isFetching = false;
let isPaused = remembered() === "paused";
let isOver = false;
let poll = null; // { timer, pause, deadline } while there is no stream
let looksLeft = Infinity; // without a stream, once nothing is waiting

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
  if (ids) for (const id of ids) changed.add(id);
  else isAll = true;
  schedule();
}

function schedule() {
  if (isFetching || fetchTimer || isPaused || isOver) return;
  const rest = FETCH_EVERY - (Date.now() - fetchedAt);
  fetchTimer = setTimeout(hand, Math.max(FIRST_FETCH, rest));
}

async function hand() {
  fetchTimer = 0;
  const detail = { ids: isAll ? null : [...changed] };
  changed = new Set();
  isAll = false;
  isFetching = true;
  let answer = null;
  try {
    document.dispatchEvent(new CustomEvent("messages-changed", { detail }));
    answer = await detail.look;
  } catch {
    // No connection, or the server has trouble. Without a stream the next look comes anyway.
    if (source) setTimeout(() => note(detail.ids), SLOWEST);
  }
  isFetching = false;
  fetchedAt = Date.now();
  if (answer === false) return end();
  if (changed.size || isAll) schedule();
  if (poll) lookLater(answer === "changed");
}

function end() {
  isOver = true;
  close();
}

// ---- The stream ----

function open() {
  close();
  if (isPaused || isOver || document.hidden) return;
  source = new EventSource(`${stream}?since=${position}`);
  source.addEventListener("open", opened);
  source.addEventListener("changed", (event) => take(event, JSON.parse(event.data)));
  source.addEventListener("all", (event) => take(event, null));
  source.addEventListener("error", broken);
}

// Time alone makes an unsettled message something else: no event tells of that. So its page looks
// again with each stream, the first one apart.
function opened() {
  stopPolling();
  looksLeft = Infinity;
  if (hasStreamed && document.querySelector("#live[data-waiting]")) note(null);
  hasStreamed = true;
}

function take(event, ids) {
  breaks = 0;
  position = event.lastEventId || position;
  note(ids);
}

// The browser opens a stream that broke again by itself, unless the answer was none at all.
function broken() {
  if (source.readyState !== EventSource.CLOSED) {
    breaks += 1;
    setTimeout(() => source?.readyState === EventSource.OPEN && (breaks = 0), SLOWEST);
    if (breaks < BREAKS) return;
  }
  close();
  startPolling();
  again = setTimeout(open, STREAM_AGAIN);
}

function close() {
  source?.close();
  source = null;
  clearTimeout(again);
  stopPolling();
}

// ---- Without it ----

function startPolling() {
  poll = { timer: 0, pause: FASTEST, deadline: Date.now() + PATIENCE };
  lookLater(true);
}

function stopPolling() {
  clearTimeout(poll?.timer);
  poll = null;
}

function lookLater(hasChanged) {
  const isWaiting = document.querySelector("main [data-waiting]") !== null;
  looksLeft = isWaiting ? Infinity : Math.min(looksLeft, LAST_LOOKS) - 1;
  poll.pause = hasChanged ? FASTEST : Math.min(poll.pause * SLOWING, SLOWEST);
  clearTimeout(poll.timer);
  if (looksLeft > 0 && Date.now() < poll.deadline) {
    poll.timer = setTimeout(() => note(null), poll.pause);
  } else {
    stopPolling(); // but a stream is still asked for: the server may only have been restarted
  }
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
    if (isPaused) return stop();
    open();
    if (changed.size || isAll) schedule(); // learned of before the pause
  });
  mark();
  bar.append(" ", button);
}

function stop() {
  clearTimeout(fetchTimer);
  fetchTimer = 0;
  close();
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
