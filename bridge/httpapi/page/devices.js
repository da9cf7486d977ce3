// The list of devices. Each has a row for as long as it is there; only what has changed is touched, and what is not on
// the screen costs nothing (content-visibility in the style sheet): a thousand devices stay fluent.

import { arrange, button, h, icon, setAttribute, setHidden, setText } from "./dom.js";
import { store } from "./store.js";
import { agoText, condition, count, isActive, momentText, offersUpdate, versionText } from "./words.js";
import { Buttons, Progress, Signal } from "./parts.js";
import { checkAll, upgradeAll } from "./actions.js";

class Row {
  #name = h("span");
  #model = h("span", { class: "sub" });
  #running = h("code");
  #build = h("span", { class: "sub" });
  #newer = h("code", { class: "newer" });
  #seen = h("time");
  #progress = new Progress();
  #signal = new Signal();
  #buttons = new Buttons();

  constructor(device) {
    this.open = h("button", { type: "button", class: "name", onclick: () => { location.hash = `#device/${this.device.euid}`; } }, this.#name);
    this.root = h("div", { class: "row", role: "row", "data-euid": device.euid },
      h("div", { class: "cell cell-name", role: "rowheader" }, this.open, this.#model),
      h("div", { class: "cell cell-version", role: "cell" }, this.#build, this.#running, this.#newer),
      h("div", { class: "cell cell-state", role: "cell" }, this.#progress.root),
      h("div", { class: "cell cell-lqi", role: "cell" }, this.#signal.root),
      h("div", { class: "cell cell-seen", role: "cell" }, this.#seen),
      h("div", { class: "cell cell-actions", role: "cell" }, this.#buttons.root));
    this.show(device);
  }

  show(device) {
    this.device = device;
    const model = [device.modelId, device.manufacturerName].filter(Boolean).join(" · ");
    setText(this.#name, device.name);
    setText(this.#model, model || (device.name === device.euid ? "not interviewed yet" : device.euid));
    setText(this.#build, device.softwareBuild ?? "");
    setHidden(this.#build, !device.softwareBuild);
    setText(this.#running, versionText(device.currentFileVersion));
    setText(this.#newer, device.updateAvailable && device.image ? versionText(device.image.imageVersion) : "");
    setAttribute(this.#newer, "title", this.#newer.textContent ? "newer, and fits" : null);
    this.#progress.show(device);
    this.#signal.show(device.lqi);
    this.#buttons.show(device);
    this.tick();
    this.words = [device.name, device.euid, model, device.manufacturerName, condition(device).word].join(" ").toLowerCase();
  }

  // tick updates what depends on the clock.
  tick() {
    setText(this.#seen, agoText(this.device.lastSeen, store.now()));
    setAttribute(this.#seen, "datetime", this.device.lastSeen);
    setAttribute(this.#seen, "title", this.device.lastSeen ? momentText(this.device.lastSeen) : null);
  }
}

const byText = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" }).compare;
const stateOrder = ["downloading", "applying", "paused", "notified", "fetching", "downloaded", "queued", "scheduled"];

// rank puts running upgrades first, then devices that need attention.
function rank(device) {
  if (isActive(device.upgrade)) return stateOrder.indexOf(device.upgrade.state);
  return { bad: 11, news: 12 }[condition(device).tone] ?? 13;
}

const orders = {
  name: (d) => d.name,
  version: (d) => d.currentFileVersion ?? -1,
  state: rank,
  lqi: (d) => d.lqi ?? -1,
  seen: (d) => -(Date.parse(d.lastSeen) || 0),
};

const filters = {
  all: { words: "All", test: () => true },
  newer: { words: "Newer known", test: offersUpdate },
  active: { words: "Under way", test: (d) => isActive(d.upgrade) },
  failed: { words: "Failed", test: (d) => d.upgrade?.state === "failed" },
};

export class DevicesView {
  #rows = new Map();
  #order = "name";
  #down = false;
  #filter = "all";
  #dirty = true;

  constructor(root) {
    this.root = root;
    this.search = h("input", { type: "search", id: "filter", placeholder: "Find a device", "aria-label": "Find a device", autocomplete: "off", oninput: () => this.#arrange() });
    this.chips = Object.entries(filters).map(([key, { words }]) =>
      h("button", { type: "button", class: "chip", "data-filter": key, "aria-pressed": String(key === "all"), onclick: () => this.#choose(key) }, words));
    this.list = h("div", { class: "rows", role: "rowgroup" });
    this.empty = h("p", { class: "empty", hidden: true });
    this.headers = [["name", "Device"], ["version", "Version"], ["state", "State"], ["lqi", "Link"], ["seen", "Last seen"]].map(([key, words]) =>
      h("div", { class: `cell cell-${key}`, role: "columnheader", "aria-sort": "none", "data-order": key },
        h("button", { type: "button", class: "sort", onclick: () => this.#sort(key) }, words, icon("down"))));
    this.upgradeAll = button("Upgrade all", "upgrade", upgradeAll, { id: "upgrade-all", class: "primary" });
    this.shownCount = h("p", { class: "unseen", role: "status" });
    root.append(
      h("div", { class: "head" },
        h("h1", { id: "devices-title" }, "Devices"),
        h("div", { class: "buttons" }, button("Check all", "check", checkAll, { id: "check-all", class: "quiet" }), this.upgradeAll)),
      h("div", { class: "tools" }, h("label", { class: "search" }, icon("search"), this.search), h("div", { class: "chips", role: "group", "aria-label": "Show" }, this.chips)),
      h("div", { class: "table", role: "table", "aria-label": "Devices" },
        h("div", { class: "row header", role: "row" }, this.headers, h("div", { class: "cell cell-actions", role: "columnheader" }, h("span", { class: "unseen" }, "Actions"))),
        this.list),
      this.empty, this.shownCount);
    this.list.addEventListener("keydown", (event) => this.#walk(event));
    setInterval(() => {
      if (!root.hidden && !document.hidden) for (const row of this.#rows.values()) row.tick();
    }, 15_000);
    this.#mark();
  }

  update(changes) {
    for (const euid of changes.devices) {
      const device = store.devices.get(euid), row = this.#rows.get(euid);
      if (!device) {
        this.#rows.delete(euid);
        this.#dirty = true;
      } else if (!row) {
        this.#rows.set(euid, new Row(device));
        this.#dirty = true;
      } else {
        const before = this.#place(row), words = row.words;
        row.show(device);
        this.#dirty ||= this.#place(row) !== before || row.words !== words;
      }
    }
    if (changes.devices.size) {
      const newer = [...store.devices.values()].filter((d) => offersUpdate(d) && !isActive(d.upgrade)).length;
      setHidden(this.upgradeAll, newer === 0);
    }
    if ((this.#dirty || changes.connection) && !this.root.hidden) this.#arrange();
  }

  shown() {
    this.#arrange();
  }

  // place returns what a row's place depends on.
  #place(row) {
    return `${orders[this.#order](row.device)} ${filters[this.#filter].test(row.device)}`;
  }

  #choose(filter) {
    this.#filter = filter;
    for (const chip of this.chips) setAttribute(chip, "aria-pressed", String(chip.dataset.filter === filter));
    this.#arrange();
  }

  #sort(order) {
    this.#down = this.#order === order && !this.#down;
    this.#order = order;
    this.#mark();
    this.#arrange();
  }

  #mark() {
    for (const header of this.headers) {
      const is = header.dataset.order === this.#order;
      setAttribute(header, "aria-sort", is ? (this.#down ? "descending" : "ascending") : "none");
    }
  }

  #arrange() {
    this.#dirty = false;
    const words = this.search.value.trim().toLowerCase().split(/\s+/);
    const { test } = filters[this.#filter], key = orders[this.#order], sign = this.#down ? -1 : 1;
    const wanted = [...this.#rows.values()].filter((row) => test(row.device) && words.every((w) => row.words.includes(w)));
    wanted.sort((a, b) => {
      const x = key(a.device), y = key(b.device);
      const order = typeof x === "string" ? byText(x, y) : x - y;
      return sign * order || byText(a.device.name, b.device.name) || byText(a.device.euid, b.device.euid);
    });
    arrange(this.list, wanted.map((row) => row.root));
    setHidden(this.empty, wanted.length > 0 || !store.loaded);
    setText(this.empty, this.#rows.size ? "No device is like that." : "No device is known yet. Devices show up as they are heard; one that is asleep has to wake first.");
    if (words[0] || this.#filter !== "all") setText(this.shownCount, `${count(wanted.length, "device")} shown`);
  }

  // walk moves the focus from name to name with the arrow keys.
  #walk(event) {
    const row = event.target.closest(".row");
    const to = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling, Home: this.list.firstElementChild, End: this.list.lastElementChild }[event.key];
    if (!to || !event.target.classList.contains("name")) return;
    event.preventDefault();
    to.querySelector(".name").focus();
  }
}
