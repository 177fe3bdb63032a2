// Adds the browser's time zone to the address if neither that nor the reader's settings name one.

const address = new URL(location.href);
if (!address.searchParams.has("zone") && !document.documentElement.dataset.zone) {
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  if (timeZone && timeZone !== "UTC") {
    address.searchParams.set("zone", timeZone);
    location.replace(address);
  }
}
