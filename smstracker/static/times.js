// Shows times in the reader's time zone and updates the relative ones.
//
// The exact time of a relative one is shown on hover or focus, and as a tooltip. Touch has neither:
// one switch makes all times of the page exact.

const STORAGE_KEY = "times"; // "exact" in localStorage
const TICK = 10_000; // ms; more often would make the page restless
const SIZES = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];

// From the settings of the reader, in the attributes of the page.
const { zone: ownZone, exact: ownExact } = document.documentElement.dataset;
// A browser that does not know the time zone reports this name, or none.
const reported = ownZone ?? Intl.DateTimeFormat().resolvedOptions().timeZone ?? "Etc/Unknown";
const isUnknown = reported === "Etc/Unknown";
const zone = isUnknown ? "UTC" : reported;
const format = new Intl.DateTimeFormat("en-GB", {
  timeZone: ownZone ?? (isUnknown ? zone : undefined),
  day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  timeZoneName: "short",
});
// Short enough for the place of a relative one; the footer names the zone.
const shortFormat = new Intl.DateTimeFormat("en-GB", {
  timeZone: ownZone ?? (isUnknown ? zone : undefined),
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
  hourCycle: "h23",
});
const abbreviation = format.formatToParts(Date.now()).find((part) => part.type === "timeZoneName").value;

// As `format_age` of clock.py, so that nothing changes when the script takes over.
export function formatAge(milliseconds) {
  const seconds = milliseconds / 1000;
  for (const [size, name] of SIZES) {
    if (seconds >= size) {
      const count = Math.floor(seconds / size);
      return `${count} ${name}${count === 1 ? "" : "s"} ago`;
    }
  }
  return "just now";
}

function formatShort(moment, local) {
  const isOfThisYear = new Date(moment).getFullYear() === new Date().getFullYear();
  return isOfThisYear ? shortFormat.format(moment) : local;
}

let isExact = ownExact !== undefined || localStorage[STORAGE_KEY] === "exact";
let clockOffset = 0; // ms by which the reader's clock is ahead of the server's

function readServerClock() {
  const page = document.querySelector("time[data-now]");
  if (page) clockOffset = Date.now() - Date.parse(page.dateTime);
}

function show() {
  for (const time of document.querySelectorAll("time")) {
    const moment = Date.parse(time.dateTime);
    if (Number.isNaN(moment)) continue;
    const local = format.format(moment);
    if ("relative" in time.dataset) {
      write(time, isExact ? formatShort(moment, local) : formatAge(Date.now() - clockOffset - moment));
      time.title = `${local} (${zone})`;
    } else {
      write(time, local);
      time.title = zone;
    }
  }
}

// An unneeded write would lose the reader's selection.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function offerExactTimes(footer) {
  const button = document.createElement("button");
  button.type = "button";
  button.id = "times-switch";
  button.className = "quiet";
  button.textContent = "Exact times";
  button.addEventListener("click", () => {
    isExact = !isExact;
    localStorage[STORAGE_KEY] = isExact ? "exact" : "relative";
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
    : ownZone ? `Times are in the time zone of your settings: ${named}.`
    : `Times are in your time zone: ${named}.`);
}
if (footer) offerExactTimes(footer);
readServerClock();
show();
setInterval(() => document.hidden || show(), TICK);
document.addEventListener("visibilitychange", () => document.hidden || show());
document.addEventListener("page-changed", () => {
  readServerClock();
  show();
});
