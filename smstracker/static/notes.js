// Asks what is known of the message being written, when recipient, sender and text have settled.

const SETTLED_AFTER = 600; // ms

const form = document.getElementById("compose");
const notes = document.getElementById("notes");
const announcement = document.getElementById("notes-changed");
const understood = document.getElementById("understood");
const recipient = form.elements.recipient;
let known = essence(notes.innerHTML);
let timer = 0;
let asked = 0;
let reading = understood.cloneNode(true);

// What a note says, without the times: the clock alone changes those, and times.js writes them.
function essence(words) {
  return words.trim().replace(/<time.*?<\/time>/gs, "");
}

function show(words) {
  if (essence(words) === known) return;
  known = essence(words);
  notes.innerHTML = words.trim();
  document.dispatchEvent(new Event("page-changed"));
  // Beside the note itself, where every tick of the clock would be read out.
  announcement.textContent = [...notes.querySelectorAll("p")].map((note) => note.textContent).join(" ");
}

// How the recipient is understood; why it is not, only once the reader has left the field.
function showRecipient() {
  const isEarly = "problem" in reading.dataset && document.activeElement === recipient;
  understood.classList.toggle("problem", "problem" in reading.dataset);
  const words = isEarly ? "" : reading.innerHTML.trim();
  if (understood.innerHTML !== words) understood.innerHTML = words;
}

function showAnswer(words) {
  const answer = document.createElement("template");
  answer.innerHTML = words;
  reading = answer.content.querySelector("[data-understood]");
  reading.remove();
  showRecipient();
  show(answer.innerHTML);
}

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
    const words = await answer.text();
    if (turn === asked) showAnswer(words);
  } catch {
    // A note that cannot be had keeps nobody from sending.
  }
}

form.addEventListener("input", (event) => {
  clearTimeout(timer);
  timer = setTimeout(ask, SETTLED_AFTER);
  if (event.target !== recipient) return;
  // The number of what stood there before must not be taken for that of what stands there now.
  asked += 1;
  reading = document.createElement("p");
  showRecipient();
});
recipient.addEventListener("focus", showRecipient);
recipient.addEventListener("blur", showRecipient);
// Going back, or a browser that remembers, fills the field in without a word.
addEventListener("pageshow", () => {
  if (recipient.value) ask();
});
