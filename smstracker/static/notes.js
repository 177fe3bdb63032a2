// Asks what is known of the message being written, when recipient, sender and text have settled.

const SETTLED_AFTER = 600; // ms

const form = document.getElementById("compose");
const notes = document.getElementById("notes");
let timer = 0;
let asked = 0;

async function ask() {
  const turn = ++asked;
  const { csrf_token, recipient, sender, body } = form.elements;
  const typed = new URLSearchParams({
    csrf_token: csrf_token.value, recipient: recipient.value, sender: sender.value, body: body.value,
  });
  try {
    const answer = await fetch(notes.dataset.check, { method: "POST", body: typed });
    // Without a session the answer is another page, which is no note.
    if (!answer.ok || answer.redirected || turn !== asked) return;
    const words = (await answer.text()).trim();
    if (turn !== asked || words === notes.innerHTML.trim()) return;
    notes.innerHTML = words;
  } catch {
    // A note that cannot be had keeps nobody from sending.
  }
}

form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(ask, SETTLED_AFTER);
});
