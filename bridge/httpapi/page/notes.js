// Messages that are shown once: notes at the edge of the page, and words for screen readers.

import { button, h } from "./dom.js";

const shownFor = 8_000; // ms; what went wrong stays until it is closed

const toasts = document.getElementById("toasts");

// place puts the notes where they can be read and closed: an open dialog covers everything outside of it.
function place() {
  const home = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  if (toasts.parentElement !== home) home.append(toasts);
}

document.addEventListener("close", place, { capture: true });

// note shows a message and returns a function that removes it; tone is good, bad or calm.
export function note(text, tone = "calm", action = null, time = shownFor) {
  const close = () => box.remove();
  const box = h("div", { class: "toast", "data-tone": tone, role: tone === "bad" ? "alert" : "status" },
    h("p", null, text),
    action ? h("button", { type: "button", class: "quiet", onclick: () => { close(); action.run(); } }, action.words) : null,
    button("Close", "cancel", close, { small: true }));
  toasts.append(box);
  while (toasts.children.length > 4) toasts.firstElementChild.remove();
  if (tone !== "bad" && time !== Infinity) setTimeout(close, time);
  place();
  return close;
}

// announce says something to users of screen readers.
export function announce(text) {
  const place = document.getElementById("announce");
  place.append(h("p", null, text));
  while (place.children.length > 5) place.firstElementChild.remove();
}
