// Offers to copy a text of the page. Browsers have no clipboard on a page without https.

const line = document.querySelector(".copy");
const button = line?.querySelector("button");
const outcome = line?.querySelector("[role=status]");

async function copy() {
  const text = document.getElementById(button.dataset.copies);
  try {
    await navigator.clipboard.writeText(text.textContent);
    outcome.textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(text);
    outcome.textContent = "The browser does not allow it. It is selected: copy it by hand.";
  }
}

if (line && navigator.clipboard) {
  line.hidden = false;
  button.addEventListener("click", copy);
}
