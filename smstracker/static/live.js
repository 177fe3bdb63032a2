// Keeps the page of a message up to date for as long as more may become of the message.

const FASTEST = 2_000; // ms between two looks
const SLOWEST = 10_000;
const SLOWING = 1.25;
const PATIENCE = 10 * 60_000; // then the reader has to press Refresh
// A failure is at times followed by a delivery, and any report by its double.
const LAST_LOOKS = 4;

const live = document.getElementById("live");
const news = document.getElementById("live-news");
const updated = document.querySelector(".updated");

let pause = FASTEST;
let deadline = Date.now() + PATIENCE;
let looksLeft = Infinity;
let timer = 0;

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

function keep(before, after) {
  for (const details of before.querySelectorAll("details[open]")) {
    const same = after.querySelector(`details[data-event="${details.dataset.event}"]`);
    if (same) same.open = true;
  }
}

// Puts the keyboard back on what it was on: the element of the same kind at the same place.
function focusKeeper(part) {
  const kinds = "a, summary";
  const index = [...part.querySelectorAll(kinds)].indexOf(document.activeElement);
  return (successor) => {
    if (index >= 0) successor.querySelectorAll(kinds)[index]?.focus({ preventScroll: true });
  };
}

function replaceChanged(fresh) {
  let changed = false;
  // A list of its own: a successor that is put in place leaves the fresh page.
  const successors = [...fresh.children];
  for (const [index, part] of [...live.children].entries()) {
    const successor = successors[index];
    if (essence(part) === essence(successor)) continue;
    keep(part, successor);
    const refocus = focusKeeper(part);
    part.replaceWith(successor);
    refocus(successor);
    changed = true;
  }
  return changed;
}

function take(page) {
  const fresh = page.getElementById("live");
  // Signed out, or a page of another version: the reader has to press Refresh.
  if (!fresh || fresh.children.length !== live.children.length) return stop();
  const headline = () => live.querySelector("h1").textContent;
  const before = headline();
  const changed = replaceChanged(fresh);
  if (headline() !== before) news.textContent = headline();
  document.title = page.title;
  updated.querySelector("time").dateTime = page.querySelector("time[data-now]").dateTime;
  document.dispatchEvent(new Event("page-changed"));

  if ("waiting" in fresh.dataset) looksLeft = Infinity;
  else looksLeft = Math.min(looksLeft, LAST_LOOKS) - 1;
  pause = changed ? FASTEST : Math.min(pause * SLOWING, SLOWEST);
}

// The page as it is now; null when there is no connection or the server has trouble.
async function fetchPage() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.status >= 500) return null;
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return null;
  }
}

async function look() {
  const page = await fetchPage();
  if (page) take(page);
  else pause = SLOWEST;
  next();
}

function next() {
  clearTimeout(timer);
  if (document.hidden) return;
  if (looksLeft > 0 && Date.now() < deadline) timer = setTimeout(look, pause);
  else stop();
}

function stop() {
  clearTimeout(timer);
  looksLeft = 0;
}

if (live && "waiting" in live.dataset) {
  next();
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden || looksLeft === 0) return;
    deadline = Date.now() + PATIENCE;
    pause = FASTEST;
    look();
  });
}
