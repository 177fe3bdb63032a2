// Stops a form that exceeds the server's limit: it would be refused unread, and lost.

const form = document.getElementById("compose");
const notice = document.getElementById("too-large");

// The size of the encoded body, in which a line end is %0D%0A.
function sizeOf(fields) {
  return new URLSearchParams(fields).toString().replaceAll("%0A", "%0D%0A").length;
}

// In the capture phase, before compose.js locks the button.
form?.addEventListener("submit", (event) => {
  const fits = sizeOf(new FormData(form)) <= Number(notice.dataset.limit);
  notice.hidden = fits;
  if (fits) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  form.elements.body.focus();
}, { capture: true });
