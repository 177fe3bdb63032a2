// Stops a file that exceeds the server's limit before it is uploaded, and says so.

const MEGABYTE = 1024 * 1024;
const form = document.getElementById("batch-form");
const notice = document.getElementById("file-too-large");

function fits() {
  const size = form.elements.file.files[0]?.size ?? 0;
  notice.querySelector("span").textContent = Math.ceil(size / MEGABYTE);
  notice.hidden = size <= Number(notice.dataset.limit);
  return notice.hidden;
}

form.elements.file.addEventListener("change", fits);
form.addEventListener("submit", (event) => {
  if (fits()) return;
  event.preventDefault();
  event.stopImmediatePropagation(); // no script makes the button busy
  form.elements.file.focus();
}, { capture: true });
