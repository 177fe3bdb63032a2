// Tells all windows of the browser who is signed in, by `reader` in localStorage: an opaque id, or ""
// for nobody. A page of somebody else says that it is signed out, until its own reader is back.

const page = document.documentElement;
const { reader } = page.dataset; // undefined on an error page, which does not know
const notice = document.getElementById("signed-out");

function show(id) {
  if (notice.hidden === (id === reader)) return;
  notice.hidden = id === reader;
  page.classList.toggle("signed-out");
  document.dispatchEvent(new Event("reader-changed"));
}

if (notice) {
  addEventListener("storage", ({ key, newValue }) => key === "reader" && show(newValue));
  // From a script that has fetched a document.
  document.addEventListener("page-fetched", ({ detail }) => {
    const { reader: id } = detail.documentElement.dataset;
    if (id === undefined) return;
    show(id);
    localStorage.reader = id;
  });
  // The page cache of the browser brings a page back as it was left.
  addEventListener("pageshow", ({ persisted }) => {
    if (!persisted || localStorage.reader === reader) return;
    document.body.replaceChildren();
    location.reload();
  });
}
if (reader !== undefined) localStorage.reader = reader;
