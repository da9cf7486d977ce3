// The upgrades that have not ended: those under way by when they were asked for, and those that wait by their places in the queue.

import { arrange, button, h, setHidden, setText } from "./dom.js";
import { store } from "./store.js";
import { expectedText, isActive, isWaiting, momentText, turnText, versionText } from "./words.js";
import { Buttons, Progress } from "./parts.js";
import { Chart } from "./chart.js";
import { cancelAll } from "./actions.js";

class Entry {
  #name = h("span");
  #versions = h("span", { class: "sub" });
  #when = h("span", { class: "sub" });
  #place = h("span", { class: "place" });
  #turn = h("p", { class: "turn" });
  #progress = new Progress();
  #buttons = new Buttons();
  #chart = new Chart(true);

  constructor(device) {
    this.root = h("li", { class: "entry", "data-euid": device.euid },
      h("div", { class: "entry-name" }, h("button", { type: "button", class: "name", onclick: () => { location.hash = `#device/${device.euid}`; } }, this.#place, this.#name), this.#versions, this.#when),
      this.#chart.root, this.#progress.root, this.#buttons.root, this.#turn);
    this.show(device);
  }

  show(device) {
    const upgrade = device.upgrade;
    setText(this.#name, device.name);
    setText(this.#versions, `${versionText(upgrade.oldImageVersion)} → ${versionText(upgrade.imageVersion)}`);
    setText(this.#when, `asked for ${momentText(upgrade.queuedAt)}`);
    setText(this.#place, upgrade.queue?.position ? `${upgrade.queue.position}. ` : "");
    setText(this.#turn, turnText(device, store.now()));
    setHidden(this.#turn, this.#turn.textContent === "");
    this.#progress.show(device);
    this.#buttons.show(device);
    this.#chart.show(device);
  }
}

class Line {
  #entries = new Map();

  constructor(title, nothing) {
    this.list = h("ol", { class: "entries" });
    this.nothing = h("p", { class: "empty" }, nothing);
    this.root = h("section", { class: "line", "aria-label": title }, h("h2", null, title), this.list, this.nothing);
  }

  show(devices) {
    const entries = new Map();
    for (const device of devices) {
      const entry = this.#entries.get(device.euid);
      entry?.show(device);
      entries.set(device.euid, entry ?? new Entry(device));
    }
    this.#entries = entries;
    arrange(this.list, [...entries.values()].map((entry) => entry.root));
    setHidden(this.nothing, devices.length > 0);
  }
}

export class QueueView {
  #dirty = true;

  constructor(root) {
    this.root = root;
    this.active = new Line("Under way", "Nothing is being upgraded.");
    this.queued = new Line("Waiting", "Nothing is waiting.");
    this.end = h("p", { class: "sub", id: "queue-end", hidden: true });
    this.cancelAll = button("Cancel all", "cancel", cancelAll, { class: "quiet", id: "cancel-all" });
    root.append(h("div", { class: "head" }, h("div", null, h("h1", { id: "queue-title" }, "Queue"), this.end), h("div", { class: "buttons" }, this.cancelAll)), this.active.root, this.queued.root);
    setInterval(() => !root.hidden && this.shown(), 30_000); // expected times come nearer
  }

  update(changes) {
    this.#dirty ||= changes.devices.size > 0 || changes.info;
    if (this.#dirty && !this.root.hidden) this.shown();
  }

  shown() {
    this.#dirty = false;
    const open = [...store.devices.values()].filter((d) => isActive(d.upgrade)).sort((a, b) => a.upgrade.queuedAt.localeCompare(b.upgrade.queuedAt));
    const place = (d) => d.upgrade.queue?.position ?? Infinity; // one that was not told its place comes last
    this.active.show(open.filter((d) => !isWaiting(d.upgrade)));
    this.queued.show(open.filter((d) => isWaiting(d.upgrade)).sort((a, b) => place(a) - place(b) || 0));
    const end = store.info?.upgrades.expectedEnd;
    setText(this.end, end ? `All downloads complete ${expectedText(end, store.now())}` : "");
    setHidden(this.end, !end);
    setHidden(this.cancelAll, open.length === 0);
  }
}
