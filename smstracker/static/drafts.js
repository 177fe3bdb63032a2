// Keeps what is typed into a form until it is accepted or discarded: see the macro `draft`.

const mark = document.querySelector("[name=draft]");
const address = location.pathname + location.search;
const [, accepted] = location.hash.split("#accepted=");

function key(of) {
  return `${localStorage.signedOut} ${document.documentElement.dataset.reader} ${of}`;
}

function read(form, names) {
  const data = new FormData(form);
  return Object.fromEntries(names.map((name) => [name, data.getAll(name)]));
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
  // With its id, a form whose answer was lost is known when it comes again.
  const isKept = ({ name, type }) => name === "form_id" || (name && !/hidden|file/.test(type));
  const fields = [...form.elements].filter(isKept);
  const names = fields.map(({ name }) => name);
  const load = () => JSON.parse(sessionStorage[key(mark.value)] ?? "[]");
  const copy = form.cloneNode(true);
  copy.reset();
  const initial = read(copy, names);
  const before = (isAnswer && load()[0]) || initial; // as the server filled it in

  function show() {
    const [before, draft] = load();
    if (!draft) return;
    for (const field of fields) {
      const { name } = field;
      // What was changed elsewhere stays.
      const isSame = name === "form_id" || `${before[name]}` === `${initial[name]}`;
      if (draft[name] && isSame) restore(field, draft[name]);
    }
    document.getElementById("draft-note").hidden = false;
  }

  if (!isAnswer) show();
  // WebKit empties some fields after it.
  addEventListener("pageshow", ({ persisted }) => persisted && setTimeout(show));
  form.addEventListener("input", () => {
    const draft = read(form, names);
    // Scripts fill in zones and ids.
    const isTyped = (name) => !/_(zone|id)$/.test(name) && `${draft[name]}` !== `${initial[name]}`;
    if (isAnswer || names.some(isTyped)) sessionStorage[key(mark.value)] = JSON.stringify([before, draft]);
    else delete sessionStorage[key(mark.value)];
  });
  document.getElementById("discard").addEventListener("click", () => {
    delete sessionStorage[key(mark.value)];
    location.replace(address);
  });
}

if (accepted) {
  delete sessionStorage[key(accepted)];
  history.replaceState(null, "", address);
}
if (mark) keep(mark.form);
addEventListener("storage", ({ key }) => key === "signedOut" && sessionStorage.clear());
addEventListener("submit", ({ target }) => {
  if (!("signOut" in target.dataset)) return;
  sessionStorage.clear();
  localStorage.signedOut = Date.now();
});
