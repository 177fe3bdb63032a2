// Days of a filter are those of the reader's own time zone, unless another one was chosen.
for (const field of document.querySelectorAll("[data-zone]")) {
  // Some browsers name none.
  if (!field.value) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
}
