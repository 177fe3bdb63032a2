// Shows every time in the reader's own zone and keeps the relative ones fresh.
//
// The exact time beside a relative one: a row of the log shows it while it is pointed at or has the
// focus, and wherever there is a mouse its tooltip does. A stop of the Tab key at each of a hundred
// times would be a burden, and a finger can neither point nor focus. So there is one switch for all
// times of the page instead, which every reader can reach, and which is remembered.

const MEMORY = "times"; // "exact" in the browser's own memory
const TICK = 10_000; // ms; more often would make the page restless
const SIZES = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];

// A browser that does not know the zone of its machine says so by this name, or names none.
const reported = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "Etc/Unknown";
const isUnknown = reported === "Etc/Unknown";
const zone = isUnknown ? "UTC" : reported;
const format = new Intl.DateTimeFormat("en-GB", {
  timeZone: isUnknown ? zone : undefined,
  day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  timeZoneName: "short",
});
// Short enough for the place of a relative one; the foot of the page names the zone.
const brief = new Intl.DateTimeFormat("en-GB", {
  timeZone: isUnknown ? zone : undefined,
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
  hourCycle: "h23",
});
const abbreviation = format.formatToParts(Date.now()).find((part) => part.type === "timeZoneName").value;

// The words of the server, so that nothing changes when the script takes over.
export function ago(milliseconds) {
  const seconds = milliseconds / 1000;
  for (const [size, name] of SIZES) {
    if (seconds >= size) {
      const count = Math.floor(seconds / size);
      return `${count} ${name}${count === 1 ? "" : "s"} ago`;
    }
  }
  return "just now";
}

function inBrief(moment, local) {
  const isOfThisYear = new Date(moment).getFullYear() === new Date().getFullYear();
  return isOfThisYear ? brief.format(moment) : local;
}

let isExact = remembered() === "exact";
let ahead = 0; // how far the reader's clock is ahead of the server's, in ms

function setTheClock() {
  const page = document.querySelector("time[data-now]");
  if (page) ahead = Date.now() - Date.parse(page.dateTime);
}

function show() {
  for (const time of document.querySelectorAll("time")) {
    const moment = Date.parse(time.dateTime);
    if (Number.isNaN(moment)) continue;
    const local = format.format(moment);
    if ("relative" in time.dataset) {
      write(time, isExact ? inBrief(moment, local) : ago(Date.now() - ahead - moment));
      time.title = `${local} (${zone})`;
    } else {
      write(time, local);
      time.title = zone;
    }
  }
}

// Writing what is there already would lose the reader's selection.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

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

function offerExactTimes(footer) {
  const button = document.createElement("button");
  button.type = "button";
  button.id = "times-switch";
  button.className = "quiet";
  button.textContent = "Exact times";
  button.addEventListener("click", () => {
    isExact = !isExact;
    remember(isExact ? "exact" : "relative");
    mark();
    show();
  });
  const mark = () => {
    button.setAttribute("aria-pressed", isExact);
    document.documentElement.classList.toggle("exact-times", isExact);
  };
  mark();
  footer.append(" ", button);
}

const footer = document.getElementById("zone");
const named = zone === abbreviation ? zone : `${zone} (${abbreviation})`;
if (footer) {
  write(footer, isUnknown
    ? "Times are in UTC, because your browser does not know your time zone."
    : `Times are in your time zone: ${named}.`);
}
if (footer) offerExactTimes(footer);
setTheClock();
show();
setInterval(() => document.hidden || show(), TICK);
document.addEventListener("visibilitychange", () => document.hidden || show());
document.addEventListener("page-changed", () => {
  setTheClock();
  show();
});
