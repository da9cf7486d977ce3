// The list of events, the newest first.

import { call, Refused } from "./api.js";
import { attempt } from "./actions.js";
import { arrange, h, setAttribute, setHidden } from "./dom.js";
import { store } from "./store.js";
import { clockText, eventDetails, eventText, eventTone, momentText } from "./words.js";

const kinds = {
  events: { words: "Events", test: (e) => e.name !== "downloadProgress" },
  progress: { words: "With progress", test: () => true },
  trouble: { words: "Trouble", test: (e) => ["bad", "hold"].includes(eventTone(e)) },
};

export class LogView {
  #lines = new WeakMap(); // by event
  #kind = "events";
  #dirty = true;

  constructor(root) {
    this.root = root;
    this.list = h("ol", { class: "events", role: "log", "aria-label": "Events, newest first", "aria-live": "off" });
    this.empty = h("p", { class: "empty" }, "Nothing has happened yet.");
    this.chips = Object.entries(kinds).map(([key, { words }]) =>
      h("button", { type: "button", class: "chip", "data-kind": key, "aria-pressed": String(key === "events"), onclick: () => this.#choose(key) }, words));
    this.level = h("select", { id: "log-level", onchange: () => this.#setLevel() }, ["debug", "info", "warn", "error"].map((level) => h("option", { value: level }, level)));
    root.append(
      h("div", { class: "head" }, h("h1", { id: "log-title" }, "Log"),
        h("label", { class: "level" }, "Service log level", this.level)),
      h("div", { class: "tools" }, h("div", { class: "chips", role: "group", "aria-label": "Show" }, this.chips)), this.empty, this.list);
  }

  update(changes) {
    if (!changes.events) return;
    this.#dirty = true;
    if (!this.root.hidden) this.#show();
  }

  shown() {
    if (this.#dirty) this.#show();
    this.#getLevel();
  }

  #choose(kind) {
    this.#kind = kind;
    for (const chip of this.chips) setAttribute(chip, "aria-pressed", String(chip.dataset.kind === kind));
    this.#show();
  }

  #show() {
    this.#dirty = false;
    const events = store.events.filter(kinds[this.#kind].test).reverse();
    arrange(this.list, events.map((event) => this.#line(event)));
    setHidden(this.empty, events.length > 0);
  }

  #line(event) {
    let line = this.#lines.get(event);
    if (!line) {
      const whom = event.euid && store.devices.has(event.euid)
        ? h("a", { href: `#device/${event.euid}` }, store.name(event.euid)) : h("span", { class: "sub" }, event.euid ?? "");
      line = h("li", { "data-tone": eventTone(event), "data-name": event.name },
        h("time", { datetime: event.time, title: momentText(event.time) }, clockText(event.time)), h("span", { class: "whom" }, whom), h("span", { class: "what", title: eventDetails(event) }, eventText(event)));
      this.#lines.set(event, line);
    }
    return line;
  }

  async #getLevel() {
    try {
      this.level.value = (await call("GET", "log-level")).level;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.level.disabled = true;
    }
  }

  async #setLevel() {
    await attempt("Log level", () => call("PUT", "log-level", { json: { level: this.level.value } }));
    this.#getLevel();
  }
}
