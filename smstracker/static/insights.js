// Adds the browser's time zone to the address if the address names none.

const address = new URL(location.href);
if (!address.searchParams.has("zone")) {
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  if (timeZone && timeZone !== "UTC") {
    address.searchParams.set("zone", timeZone);
    location.replace(address);
  }
}
