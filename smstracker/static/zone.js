// The days of a filter are in the reader's time zone unless another one is filled in.
for (const field of document.querySelectorAll("[data-zone]")) {
  // Some browsers report none.
  if (!field.value) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
}
