// Links to events: `#event=12` at the end of the page's address.

/** The event that the address names; -1 if none. */
function linkedEvent() {
  const named = /^#event=(\d+)$/.exec(location.hash);
  return named && Number(named[1]) < events.count ? Number(named[1]) : -1;
}

async function copyLink(i) {
  location.hash = `event=${i}`;
  try {
    await navigator.clipboard.writeText(location.href);
  } catch {
    // The clipboard may be refused for a page from disk: the link is in the address bar.
  }
  document.getElementById('spoken').textContent = 'The address is now a link to this event.';
}
