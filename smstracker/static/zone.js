// Fills in the reader's time zone, of the settings or of the browser, where nobody has chosen one.
const own = document.documentElement.dataset.zone; // from the settings of the reader
const reported = Intl.DateTimeFormat().resolvedOptions().timeZone ?? ""; // some browsers report none

for (const field of document.querySelectorAll("[data-zone]")) {
  if (!field.value) field.value = own ?? reported;
}

// The day and time beside this one are in the zone that it holds: all three change together, or none.
const field = document.querySelector("[data-default-zone]");
const isKnown = reported !== "" && reported !== "Etc/Unknown";

function replaceZone() {
  const { send_day: day, send_time: time } = field.form.elements;
  const isUntouched = [day, time, field].every((input) => input.value === input.defaultValue);
  if (!isUntouched) return;
  field.value = reported;
  const moment = Date.parse(field.dataset.defaultZone);
  if (Number.isNaN(moment)) return; // no time is planned
  const offset = new Date(moment).getTimezoneOffset() * 60_000;
  const local = new Date(moment - offset).toISOString();
  [day.value, time.value] = [local.slice(0, 10), local.slice(11, 16)];
}

if (field && isKnown) {
  // Going back, or a reload, fills in what was typed after the script has run.
  const [navigation] = performance.getEntriesByType("navigation");
  if (navigation?.type === "navigate") replaceZone();
  else addEventListener("pageshow", replaceZone, { once: true });
}
