// Keeps the page current by server-sent events. Without this script the page shows the state of when it was loaded.
"use strict";
(() => {
  const RETRY_AFTER = 30000;
  const QUIET_FOR = 5000;
  const sections = document.getElementById("sections");
  const verdict = document.getElementById("verdict");
  const live = document.getElementById("live");
  let report = 0;
  let reported = "";

  // Say it a little later, unless the connection is back by then: the server ends each stream after some minutes.
  function show(text, delay) {
    // Each failed try to connect again is an error as well.
    if (text === reported) return;
    reported = text;
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

  // Change an element into another one, node by node: what stays the same is not touched, so that the keyboard focus,
  // a selection, and the place of a screen reader stay where they are.
  function change(old, next) {
    if (old.isEqualNode(next)) return;
    if (old.nodeName !== next.nodeName) {
      old.replaceWith(next);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = next.data;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!next.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of next.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const before = [...old.childNodes];
    const after = [...next.childNodes];
    after.forEach((node, place) => (place < before.length ? change(before[place], node) : old.append(node)));
    before.slice(after.length).forEach((node) => node.remove());
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
        if (section) change(section, next);
        section = document.getElementById(id) || next;
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
