// Shows the progress of a batch: fetches the page again while the batch changes by itself.

const SECOND = 1000; // ms
const MAX_INTERVAL = 30000; // ms, while the server does not answer
const announcement = document.getElementById("batch-status");
let interval = 2 * SECOND;

// Nothing is replaced under the hands of somebody who types or is about to press a button.
function isInUse(batch) {
  return batch.contains(document.activeElement) && document.activeElement.matches("input, select");
}

function focusAgain(batch, action) {
  if (action) batch.querySelector(`form[action="${action}"] button`)?.focus();
}

// So that the keyboard goes on at what is new, not at the top of the page.
function focusState(batch) {
  if (document.activeElement !== document.body) return;
  batch.querySelector(".batch-state").focus({ preventScroll: true });
}

async function refresh() {
  const batch = document.getElementById("batch");
  if (!("refresh" in batch.dataset)) return;
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    document.dispatchEvent(new CustomEvent("page-fetched", { detail: page }));
    if (document.querySelector(".signed-out")) throw new Error("signed out");
    if (response.status === 404) return location.reload();
    if (!response.ok) throw new Error(response.statusText);
    interval = batch.dataset.refresh * SECOND;
    if (!isInUse(batch)) show(batch, page);
  } catch {
    interval = Math.min(interval * 2, MAX_INTERVAL);
  }
  setTimeout(refresh, interval);
}

function show(batch, page) {
  const fresh = page.getElementById("batch");
  const state = batch.querySelector(".batch-state").textContent.trim();
  const newState = fresh.querySelector(".batch-state").textContent.trim();
  const action = document.activeElement.closest("#batch form")?.getAttribute("action");
  batch.replaceWith(fresh);
  focusAgain(fresh, action);
  document.querySelector(".heading .updated")?.replaceWith(page.querySelector(".heading .updated"));
  if (state !== newState) {
    announcement.textContent = newState;
    focusState(fresh);
  }
  document.dispatchEvent(new Event("page-changed"));
}

setTimeout(refresh, interval);
