// The days of a filter are in the reader's time zone unless another one is filled in.
const own = document.documentElement.dataset.zone; // from the settings of the reader
for (const field of document.querySelectorAll("[data-zone]")) {
  // Some browsers report none.
  if (!field.value) field.value = own ?? Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
}
