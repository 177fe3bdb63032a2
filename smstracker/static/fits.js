// Stops a form that the server would refuse to read: nothing of it could be shown again.

const form = document.getElementById("compose");
const notice = document.getElementById("too-large");

// As it will be sent: a line end takes two characters, and each that is not plain takes three.
function sizeOf(fields) {
  return new URLSearchParams(fields).toString().replaceAll("%0A", "%0D%0A").length;
}

// While the event is on its way down, before the button is locked for sending.
form?.addEventListener("submit", (event) => {
  const fits = sizeOf(new FormData(form)) <= Number(notice.dataset.limit);
  notice.hidden = fits;
  if (fits) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  form.elements.body.focus();
}, { capture: true });
