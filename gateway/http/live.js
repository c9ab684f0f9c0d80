// Keeps the page current by server-sent events. Without this script the page shows the state of when it was loaded.
"use strict";
(() => {
  const RETRY_AFTER = 30000;
  const QUIET_FOR = 5000;
  const sections = document.getElementById("sections");
  const verdict = document.getElementById("verdict");
  const live = document.getElementById("live");
  let report = 0;

  // Say it a little later, unless the connection is back by then: the server ends each stream after some minutes.
  function show(text, delay) {
    clearTimeout(report);
    report = setTimeout(() => {
      if (live.textContent !== text) live.textContent = text;
    }, delay);
  }

  function elementOf(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  }

  // Put a new section in the place of the old one. The keyboard focus stays where it is.
  function replace(old, section) {
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    old.replaceWith(section);
    const again = focused && document.getElementById(focused);
    if (again) again.focus({ preventScroll: true });
  }

  function update(event) {
    const { title, text, order, changed } = JSON.parse(event.data);
    if (document.title !== title) document.title = title;
    if (verdict.textContent !== text) verdict.textContent = text;
    for (const old of [...sections.children]) {
      if (!order.includes(old.id)) old.remove();
    }
    order.forEach((id, place) => {
      let section = document.getElementById(id);
      if (Object.hasOwn(changed, id)) {
        const next = elementOf(changed[id]);
        if (section) replace(section, next);
        section = next;
      }
      if (section && sections.children[place] !== section) {
        sections.insertBefore(section, sections.children[place] || null);
      }
    });
  }

  function connect() {
    const source = new EventSource("page/events");
    source.addEventListener("open", () => show("Live.", 0));
    source.addEventListener("message", update);
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) {
        show("The connection to the gateway is lost. The values below are old.", QUIET_FOR);
        return;
      }
      show("The gateway sends no events: reload this page.", 0);
      setTimeout(connect, RETRY_AFTER);
    });
  }

  connect();
})();
