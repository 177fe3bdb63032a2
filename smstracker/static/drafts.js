// Keeps what is typed into a form until it is accepted or discarded: see the macro `draft`.

const mark = document.querySelector("[name=draft]");
const address = location.pathname + location.search;
const [, accepted] = location.hash.split("#accepted=");
const prefix = `${localStorage.getItem("signed-out")} ${document.documentElement.dataset.reader} `;

function read(form, names) {
  const data = new FormData(form);
  return JSON.stringify(Object.fromEntries(names.map((name) => [name, data.getAll(name)])));
}

function restore(field, values) {
  if (!/box|radio|select/.test(field.type)) [field.value] = values;
  for (const choice of field.options ?? [field]) {
    choice.checked = choice.selected = values.includes(choice.value);
  }
  if (`${values}` && !field.list) field.closest("details")?.setAttribute("open", "");
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

function keep(form) {
  const isAnswer = mark.value !== ""; // shown as it was sent
  mark.value ||= address;
  const key = prefix + mark.value;
  // With its id, a form whose answer was lost is known when it comes again.
  const isKept = ({ name, type }) => name === "form_id" || (name && !/hidden|file/.test(type));
  const fields = [...form.elements].filter(isKept);
  const names = fields.map(({ name }) => name);
  const typed = names.filter((name) => !/_(zone|id)$/.test(name)); // scripts fill them in
  const copy = form.cloneNode(true);
  copy.reset();
  const initial = isAnswer || read(copy, typed);

  function show() {
    const draft = JSON.parse(sessionStorage.getItem(key));
    if (!draft) return;
    for (const field of fields) if (draft[field.name]) restore(field, draft[field.name]);
    document.getElementById("draft-note").hidden = false;
  }

  if (!isAnswer) show();
  // WebKit empties some fields after it.
  addEventListener("pageshow", ({ persisted }) => persisted && setTimeout(show));
  form.addEventListener("input", () => {
    if (read(form, typed) === initial) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, read(form, names));
  });
  document.getElementById("discard").addEventListener("click", () => {
    sessionStorage.removeItem(key);
    location.replace(address);
  });
}

if (accepted) {
  sessionStorage.removeItem(prefix + accepted);
  history.replaceState(null, "", address);
}
if (mark) keep(mark.form);
addEventListener("storage", ({ key }) => key === "signed-out" && sessionStorage.clear());
addEventListener("submit", ({ target }) => {
  if (!("signOut" in target.dataset)) return;
  localStorage.setItem("signed-out", Date.now());
  sessionStorage.clear();
});
