// Asks the server about the message being written, once its fields have not changed for a moment.

const QUIET_TIME = 600; // ms

const form = document.getElementById("compose");
const warnings = document.getElementById("warnings");
const announcement = document.getElementById("warnings-changed");
const summary = document.getElementById("recipient-summary");
const recipient = form.elements.recipient;
let shownWarnings = withoutTimes(warnings.innerHTML);
let timer = 0;
let lastRequest = 0;
let newSummary = summary.cloneNode(true);

// The clock alone changes the times, and times.js writes them.
function withoutTimes(html) {
  return html.trim().replace(/<time.*?<\/time>/gs, "");
}

function showWarnings(html) {
  if (withoutTimes(html) === shownWarnings) return;
  shownWarnings = withoutTimes(html);
  warnings.innerHTML = html.trim();
  document.dispatchEvent(new Event("page-changed"));
  // In an element of its own: inside the warnings, every change of a time would be read out.
  announcement.textContent =
    [...warnings.querySelectorAll("p")].map((warning) => warning.textContent).join(" ");
}

// A problem with the recipient is shown only once the reader has left the field.
function showSummary() {
  const hasProblem = "problem" in newSummary.dataset;
  summary.classList.toggle("problem", hasProblem);
  const isEarly = hasProblem && document.activeElement === recipient;
  const html = isEarly ? "" : newSummary.innerHTML.trim();
  if (summary.innerHTML !== html) summary.innerHTML = html;
}

function showResponse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  newSummary = template.content.querySelector("[data-recipient]");
  newSummary.remove();
  showSummary();
  showWarnings(template.innerHTML);
}

async function check() {
  const request = ++lastRequest;
  const names = ["csrf_token", "recipient", "sender", "body", "media_urls"];
  const fields = new URLSearchParams(names.map((name) => [name, form.elements[name].value]));
  try {
    const response = await fetch(warnings.dataset.check, { method: "POST", body: fields });
    // Without a session, the response is the page of sign-in.
    if (!response.ok || response.redirected || request !== lastRequest) return;
    const html = await response.text();
    if (request === lastRequest) showResponse(html);
  } catch {
    // Sending works without the check.
  }
}

form.addEventListener("input", (event) => {
  clearTimeout(timer);
  timer = setTimeout(check, QUIET_TIME);
  if (event.target !== recipient) return;
  // The summary of the previous number must not stand beside a new one.
  lastRequest += 1;
  newSummary = document.createElement("p");
  showSummary();
});
recipient.addEventListener("focus", showSummary);
recipient.addEventListener("blur", showSummary);
// Going back, or autofill, fills the field without an input event.
addEventListener("pageshow", () => {
  if (recipient.value) check();
});
