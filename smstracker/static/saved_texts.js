// Inserts a saved text where the cursor is, so that what is typed stays.

for (const link of document.querySelectorAll("[data-text]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("body").focus();
    document.execCommand("insertText", false, link.dataset.text);
  });
}
