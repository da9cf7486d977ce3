// The upgrades that have not ended: those under way by when they were asked for, and those that wait in the service's order.

import { arrange, button, h, setHidden, setText } from "./dom.js";
import { store } from "./store.js";
import { isActive, momentText, versionText } from "./words.js";
import { Buttons, Progress } from "./parts.js";
import { Chart } from "./chart.js";
import { cancelAll } from "./actions.js";
import { call } from "./api.js";

class Entry {
  #name = h("span");
  #versions = h("span", { class: "sub" });
  #when = h("span", { class: "sub" });
  #progress = new Progress();
  #buttons = new Buttons();
  #chart = new Chart(true);

  constructor(device) {
    this.root = h("li", { class: "entry", "data-euid": device.euid },
      h("div", { class: "entry-name" }, h("button", { type: "button", class: "name", onclick: () => { location.hash = `#device/${device.euid}`; } }, this.#name), this.#versions, this.#when),
      this.#chart.root, this.#progress.root, this.#buttons.root);
    this.show(device);
  }

  show(device) {
    const upgrade = device.upgrade;
    setText(this.#name, device.name);
    setText(this.#versions, `${versionText(upgrade.oldImageVersion)} → ${versionText(upgrade.imageVersion)}`);
    setText(this.#when, `asked for ${momentText(upgrade.queuedAt)}`);
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
  #order = []; // EUIDs of devices whose upgrades wait; the first begins next
  #orderOf = ""; // the upgrades and states for which the order was asked
  #asking = false;

  constructor(root) {
    this.root = root;
    this.active = new Line("Under way", "Nothing is being upgraded.");
    this.queued = new Line("Waiting", "Nothing is waiting.");
    this.cancelAll = button("Cancel all", "cancel", cancelAll, { class: "quiet", id: "cancel-all" });
    root.append(h("div", { class: "head" }, h("h1", { id: "queue-title" }, "Queue"), h("div", { class: "buttons" }, this.cancelAll)), this.active.root, this.queued.root);
  }

  update(changes) {
    this.#dirty ||= changes.devices.size > 0;
    if (this.#dirty && !this.root.hidden) this.shown();
  }

  shown() {
    this.#dirty = false;
    const open = [...store.devices.values()].filter((d) => isActive(d.upgrade)).sort((a, b) => a.upgrade.queuedAt.localeCompare(b.upgrade.queuedAt));
    const waits = (d) => d.upgrade.state === "queued" || d.upgrade.state === "scheduled";
    const waiting = open.filter(waits);
    this.#askOrder(waiting.length < 2 ? "" : open.map((d) => d.euid + d.upgrade.state).join());
    const place = (d) => this.#order.indexOf(d.euid) >>> 0; // a device that is not in the order comes last
    this.active.show(open.filter((d) => !waits(d)));
    this.queued.show(waiting.sort((a, b) => place(a) - place(b)));
    setHidden(this.cancelAll, open.length === 0);
  }

  // askOrder asks the service for the order wherever it may have changed: it depends on more than the time of the request.
  async #askOrder(of) {
    if (of === this.#orderOf || this.#asking) return;
    this.#asking = true;
    try {
      this.#order = of === "" ? [] : (await call("GET", "queue")).queued.map((entry) => entry.euid);
      this.#orderOf = of;
    } catch {
      // The old order stays; the next change asks again.
      return;
    } finally {
      this.#asking = false;
    }
    this.#dirty = true;
    this.update({ devices: new Set() });
  }
}
