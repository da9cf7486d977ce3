// The dongle, the broker and the devices at a glance.

import { h, setAttribute, setText } from "./dom.js";
import { store } from "./store.js";
import { isActive, offersUpdate, sentence, versionText } from "./words.js";

class Tile {
  constructor(title) {
    this.value = h("dd", { class: "value" });
    this.detail = h("dd", { class: "sub" });
    this.root = h("dl", { class: "tile" }, h("dt", null, title), this.value, this.detail);
  }

  set(value, detail, tone = "") {
    setText(this.value, value);
    setText(this.detail, detail);
    setAttribute(this.root, "data-tone", tone || null);
  }
}

export class Glance {
  constructor(root) {
    this.devices = new Tile("Devices");
    this.updates = new Tile("Upgrades");
    this.dongle = new Tile("Dongle");
    this.broker = new Tile("Broker");
    root.append(this.devices.root, this.updates.root, this.dongle.root, this.broker.root);
  }

  update(changes) {
    if (changes.devices.size || changes.connection) this.#count();
    if (changes.info && store.info) this.#dongle(store.info);
    if (changes.health && store.health) this.#broker(store.health.checks.mqtt);
  }

  #count() {
    let newer = 0, active = 0, failed = 0;
    for (const d of store.devices.values()) {
      newer += offersUpdate(d);
      active += isActive(d.upgrade);
      failed += d.upgrade?.state === "failed";
    }
    this.devices.set(String(store.devices.size), newer ? `${newer} with an update` : "nothing newer known", newer ? "news" : "");
    this.updates.set(active ? `${active} under way` : "None", failed ? `${failed} failed` : active ? "" : "nothing waits", active ? "busy" : failed ? "bad" : "");
  }

  #dongle({ dongle, slot }) {
    if (!dongle.connected) {
      this.dongle.set("Away", dongle.error ?? "It is being looked for.", "bad");
      return;
    }
    if (dongle.error) {
      this.dongle.set(`Firmware ${dongle.firmware}`, sentence(dongle.error), "bad");
      return;
    }
    const offers = slot ? `offers ${versionText(slot.imageVersion)}` : `channel ${dongle.channel}`;
    this.dongle.set(`Firmware ${dongle.firmware}`, `${dongle.port} · ${offers}`, "good");
  }

  #broker(check) {
    if (!check || check.ok) this.broker.set("Connected", "messages go out", "good");
    else this.broker.set("Away", check.error, "bad");
  }
}
