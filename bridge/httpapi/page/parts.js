// Parts of the page that several views have: an upgrade's progress bar, a device's condition in words, its buttons.

import { button, h, s, setAttribute, setHidden, setText } from "./dom.js";
import { condition, hasBar, isActive, lqiBars, offersUpdate, progressText } from "./words.js";
import * as actions from "./actions.js";

// Progress shows a device's upgrade: its state in a word, a bar, and its progress in words.
export class Progress {
  #fill = h("span", { class: "fill" });

  constructor() {
    this.badge = h("span", { class: "badge" });
    this.detail = h("span", { class: "sub" });
    this.bar = h("span", { class: "bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, hidden: true }, this.#fill);
    this.root = h("div", { class: "progress" }, h("div", { class: "progress-words" }, this.badge, this.detail), this.bar);
  }

  show(device) {
    const { word, tone } = condition(device);
    const upgrade = device.upgrade;
    setText(this.badge, word);
    setAttribute(this.badge, "data-tone", tone);
    setText(this.detail, isActive(upgrade) || tone === "bad" ? progressText(upgrade) : "");
    setHidden(this.bar, !hasBar(upgrade));
    if (this.bar.hidden) return;
    setAttribute(this.bar, "aria-label", `Upgrade of ${device.name}`);
    setAttribute(this.bar, "data-tone", tone);
    if (upgrade.state === "notified" || upgrade.state === "applying") {
      setAttribute(this.bar, "aria-valuenow", null); // nobody knows how far it is
      setAttribute(this.bar, "aria-valuetext", word);
      this.bar.classList.add("moving");
      this.#fill.style.setProperty("transform", "none");
      return;
    }
    this.bar.classList.remove("moving");
    setAttribute(this.bar, "aria-valuenow", upgrade.progress);
    setAttribute(this.bar, "aria-valuetext", `${word}, ${progressText(upgrade)}`);
    this.#fill.style.setProperty("transform", `scaleX(${upgrade.progress / 100})`);
  }
}

// Signal shows the link quality.
export class Signal {
  #bars = [0, 1, 2, 3].map((i) => s("rect", { x: i * 5, y: 12 - (i + 1) * 3, width: 3.4, height: (i + 1) * 3, rx: 1 }));

  constructor() {
    this.text = h("span");
    this.root = h("span", { class: "signal" }, s("svg", { viewBox: "0 0 19 12", "aria-hidden": "true" }, ...this.#bars), this.text);
  }

  show(lqi) {
    const n = lqiBars(lqi);
    this.#bars.forEach((bar, i) => setAttribute(bar, "class", i < n ? "on" : null));
    setText(this.text, lqi === null ? "–" : String(lqi));
    setAttribute(this.root, "title", lqi === null ? "Link quality unknown" : `Link quality ${lqi} of 255`);
    setAttribute(this.root, "data-weak", n === 1 ? "" : null);
  }
}

// Buttons shows a button for each action that is possible in the present state of a device's upgrade.
export class Buttons {
  #shown = "";

  constructor(small = true) {
    this.small = small;
    this.root = h("div", { class: "actions" });
  }

  show(device) {
    const upgrade = device.upgrade, state = isActive(upgrade) ? upgrade.state : "none";
    const wanted = [];
    if (state === "none" && offersUpdate(device)) wanted.push("upgrade");
    if (["queued", "notified", "downloading"].includes(state)) wanted.push("pause");
    if (state === "paused") wanted.push("resume");
    if (state === "downloaded") wanted.push("install");
    if (state !== "none" && state !== "applying") wanted.push("cancel");
    const key = wanted.join(" ") + device.name;
    this.device = device;
    if (key === this.#shown) return;
    const focused = this.root.contains(document.activeElement);
    this.#shown = key;
    this.root.replaceChildren(...wanted.map((name) => this.#button(name)));
    if (focused) (this.root.firstElementChild ?? this.root.closest("[data-euid]")?.querySelector("button"))?.focus();
  }

  #button(name) {
    const words = { upgrade: "Upgrade", pause: "Pause", resume: "Resume", install: "Install now", cancel: "Cancel" }[name];
    const picture = { install: "upgrade" }[name] ?? name;
    const run = () => {
      const device = this.device;
      switch (name) {
        case "install": return actions.upgrade(device, { apply: "now" });
        default: return actions[name](device);
      }
    };
    const main = name === "upgrade" || name === "install";
    const onclick = async (event) => {
      const pressed = event.currentTarget;
      setAttribute(pressed, "aria-busy", "true");
      const release = setTimeout(() => setAttribute(pressed, "aria-busy", null), 3000); // an upgrade's final answer may take hours
      await run();
      clearTimeout(release);
      setAttribute(pressed, "aria-busy", null);
    };
    return button(main || !this.small ? words : `${words} the upgrade of ${this.device.name}`, picture, onclick,
      { small: !main && this.small, class: main ? "primary" : this.small ? "icon-button" : "quiet", "data-action": name,
        "aria-label": `${words}: ${this.device.name}` });
  }
}
