// Shows every time in the reader's own zone and keeps the relative ones fresh.

const TICK = 10_000; // ms; more often would make the page restless
const SIZES = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];

const format = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  timeZoneName: "short",
});
const zone = format.resolvedOptions().timeZone;
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
      write(time, ago(Date.now() - ahead - moment));
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

const footer = document.getElementById("zone");
if (footer) write(footer, `Times are in your time zone: ${zone} (${abbreviation}).`);
setTheClock();
show();
setInterval(() => document.hidden || show(), TICK);
document.addEventListener("visibilitychange", () => document.hidden || show());
document.addEventListener("page-changed", () => {
  setTheClock();
  show();
});
