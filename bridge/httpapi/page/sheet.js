// Everything about one device, beside the list.

import { button, h, setAttribute, setHidden, setText } from "./dom.js";
import { store } from "./store.js";
import { agoText, bytesText, durationText, endedWords, failureText, hex16, isActive, momentText, otherServerText, reasonText, runningText, settingsText, sourceText, turnText, versionText } from "./words.js";
import { Buttons, Progress } from "./parts.js";
import { Chart } from "./chart.js";
import * as actions from "./actions.js";

const dialog = document.getElementById("sheet");
let sheet = null;

export function openDevice(euid, closed) {
  if (sheet?.euid === euid) return;
  sheet = new Sheet(euid);
  dialog.replaceChildren(sheet.root);
  dialog.onclose = () => {
    sheet = null;
    if (location.hash.startsWith("#device/")) closed();
  };
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  };
  if (!dialog.open) dialog.showModal();
  sheet.show();
}

export function closeDevice() {
  if (dialog.open) dialog.close();
}

store.subscribe((changes) => {
  if (sheet && (changes.devices.has(sheet.euid) || changes.events)) sheet.show();
});

// Facts shows a list of names and values.
class Facts {
  #values = new Map();

  constructor(names) {
    this.root = h("dl", { class: "facts" }, names.map((name) => {
      const value = h("dd");
      const pair = h("div", null, h("dt", null, name), value);
      this.#values.set(name, { pair, value });
      return pair;
    }));
  }

  set(name, text) {
    const { pair, value } = this.#values.get(name);
    setHidden(pair, text === null || text === "");
    setText(value, text ?? "");
  }
}

class Sheet {
  #progress = new Progress();
  #buttons = new Buttons(false);
  #chart = new Chart();
  #running = h("code");
  #offered = h("code");
  #offer = h("div", { class: "offer" });
  #notes = h("p", { class: "release-notes" });
  #past = h("ol", { class: "past" });
  #pastShown = "";
  #others = h("ul", { class: "others" });
  #othersShown = "";
  #explained = h("p", { class: "explained", role: "status" });
  #facts = new Facts(["Network address", "Manufacturer", "Model", "Manufacturer code, image type", "Hardware version", "Date code", "Other OTA server", "Endpoint", "Power", "Link quality", "Last seen", "Settings"]);
  #upgradeFacts = new Facts(["Image type", "From", "To", "Asked for", "Started", "Received", "Attempt", "Place in the queue", "Expected"]);

  constructor(euid) {
    this.euid = euid;
    this.title = h("h2", { id: "sheet-title", tabindex: -1, autofocus: true });
    this.form = this.#renameForm();
    this.rename = button("Rename", "edit", () => this.#showRename(true), { small: true });
    this.options = this.#options();
    this.others = h("section", { "aria-label": "Other images", hidden: true }, h("h3", null, "Other images"), this.#others);
    this.past = h("section", { "aria-label": "Earlier upgrades", hidden: true }, h("h3", null, "Earlier upgrades"), this.#past);
    this.upgradePart = h("section", { "aria-label": "Upgrade" }, h("h3", null, "Upgrade"), this.#progress.root, this.#explained, this.#buttons.root, this.#chart.root, this.#upgradeFacts.root);
    this.root = h("div", { class: "sheet-inner" },
      h("header", null, h("div", { class: "sheet-name" }, this.title, this.rename), button("Close", "cancel", () => dialog.close(), { small: true })),
      this.form,
      h("p", { class: "sub" }, h("code", null, euid)),
      h("div", { class: "versions" },
        h("div", null, h("span", { class: "sub" }, "Runs"), this.#running),
        this.#offer),
      this.#notes,
      this.upgradePart,
      this.others,
      this.options,
      this.past,
      h("section", { "aria-label": "Device" }, h("h3", null, "Device"), this.#facts.root,
        h("div", { class: "buttons" },
          button("Check version", "check", () => actions.check(this.device), { class: "quiet" }),
          button("Interview", "ask", () => actions.interview(this.device), { class: "quiet" }),
          (this.exclude = button("Exclude", "pause", () => actions.exclude(this.device, this.device.settings.excluded ? null : true), { class: "quiet" })),
          button("Forget", "remove", async () => { if (await actions.forget(this.device)) dialog.close(); }, { class: "quiet" }))));
    this.#offer.append(h("span", { class: "sub" }, "Newer"), this.#offered);
  }

  show() {
    const device = (this.device = store.devices.get(this.euid) ?? this.device);
    if (!device) {
      setText(this.title, store.loaded ? "No such device" : "Loading");
      return;
    }
    const { upgrade, image } = device;
    setText(this.title, device.name);
    setText(this.#running, runningText(device));
    setHidden(this.#offer, !image);
    if (image) {
      setText(this.#offer.firstElementChild, device.updateAvailable ? "Newer" : "Known");
      setText(this.#offered, versionText(image.imageVersion));
      setAttribute(this.#offer, "title", [image.title, image.fileName, sourceText(image.source), bytesText(image.size)].filter(Boolean).join(", "));
      setAttribute(this.#offered, "class", device.updateAvailable ? "newer" : null);
    }
    setText(this.#notes, image?.releaseNotes ?? "");
    this.#progress.show(device);
    this.#buttons.show(device);
    this.#chart.show(device);
    setText(this.#explained, !isActive(upgrade) && upgrade?.reason ? failureText(upgrade) : "");
    this.#showUpgrade(device);
    this.#showOthers(device.otherImages ?? [], isActive(upgrade));
    this.#showPast(device.history ?? []);
    const facts = this.#facts;
    facts.set("Network address", device.networkAddress === null ? "not known" : hex16(device.networkAddress));
    facts.set("Manufacturer", device.manufacturerName);
    facts.set("Model", device.modelId);
    facts.set("Manufacturer code, image type", device.mfgId === null ? "not known" : `${hex16(device.mfgId)}, ${hex16(device.imageTypeId)}`);
    facts.set("Hardware version", device.hardwareVersion === null ? "" : String(device.hardwareVersion));
    facts.set("Date code", device.dateCode ?? "");
    facts.set("Other OTA server", otherServerText(device));
    facts.set("Endpoint", device.endpoint === null ? "" : String(device.endpoint));
    facts.set("Power", device.sleepy ? "battery: it sleeps, and is reached when it wakes" : "mains");
    facts.set("Link quality", device.lqi === null ? "" : `${device.lqi} of 255`);
    facts.set("Settings", settingsText(device.settings));
    setText(this.exclude.lastChild, device.settings.excluded ? "Include" : "Exclude");
    facts.set("Last seen", device.lastSeen ? `${agoText(device.lastSeen, store.now())}, ${momentText(device.lastSeen)}` : "never");
  }

  #showUpgrade(device) {
    const upgrade = device.upgrade;
    const facts = this.#upgradeFacts;
    setHidden(facts.root, !upgrade);
    if (!upgrade) return;
    facts.set("Image type", upgrade.imageTypeId === undefined ? "" : hex16(upgrade.imageTypeId));
    facts.set("From", versionText(upgrade.oldImageVersion));
    facts.set("To", versionText(upgrade.imageVersion));
    facts.set("Asked for", momentText(upgrade.queuedAt));
    facts.set("Started", upgrade.startedAt ? momentText(upgrade.startedAt) : "");
    facts.set("Received", `${bytesText(upgrade.offset)} of ${bytesText(upgrade.size)}`);
    facts.set("Attempt", String(upgrade.attempt));
    facts.set("Place in the queue", upgrade.queue?.position ? String(upgrade.queue.position) : "");
    facts.set("Expected", upgrade.queue ? turnText(device, store.now()) : "");
  }

  // showOthers lists the further OTA clients or image types of the device; one upgrade goes on at a time.
  #showOthers(others, busy) {
    const shown = JSON.stringify([others, busy]);
    if (shown === this.#othersShown) return;
    this.#othersShown = shown;
    setHidden(this.others, others.length === 0);
    this.#others.replaceChildren(...others.map((other) => {
      const newer = other.image && other.updateAvailable;
      const where = other.endpoint === null ? "" : ` at endpoint ${other.endpoint}`;
      return h("li", null, h("span", { class: "badge" }, hex16(other.imageTypeId)),
        h("span", null, "Runs ", h("code", null, versionText(other.currentFileVersion)), where,
          newer ? [". Newer: ", h("code", { class: "newer" }, versionText(other.image.imageVersion))] : null),
        newer && !busy ? button("Upgrade", "upgrade", () => actions.upgrade(this.device, { imageTypeId: other.imageTypeId }), { small: true }) : null);
    }));
  }

  #showPast(history) {
    const shown = JSON.stringify(history);
    if (shown === this.#pastShown) return;
    this.#pastShown = shown;
    setHidden(this.past, history.length === 0);
    this.#past.replaceChildren(...history.map((past) => {
      const { word, tone } = endedWords(past.state);
      const lasted = past.startedAt ? `, ${durationText((Date.parse(past.endedAt) - Date.parse(past.startedAt)) / 1000)}` : "";
      return h("li", null, h("span", { class: "badge", "data-tone": tone }, word),
        h("span", null, h("code", null, versionText(past.imageVersion)), past.imageTypeId === undefined ? "" : ` of type ${hex16(past.imageTypeId)}`, ` ${momentText(past.endedAt)}${lasted}`,
          past.reason ? h("span", { class: "sub" }, ` ${reasonText(past.reason)}`) : null));
    }));
  }

  #renameForm() {
    const input = h("input", { type: "text", id: "rename", required: true, maxlength: 64, autocomplete: "off" });
    const form = h("form", { class: "rename", hidden: true }, h("label", { for: "rename", class: "unseen" }, "Name"), input,
      h("button", { type: "submit", class: "primary" }, "Rename"), h("button", { type: "button", class: "quiet", onclick: () => this.#showRename(false) }, "Keep"));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (await actions.rename(this.device, input.value.trim())) this.#showRename(false);
    });
    return form;
  }

  #showRename(on) {
    setHidden(this.form, !on);
    setHidden(this.title.parentElement, on);
    const input = this.form.querySelector("input");
    if (on) {
      input.value = this.device?.name ?? "";
      input.select();
      input.focus();
    } else {
      this.rename.focus();
    }
  }

  // options shows the choices for an upgrade other than "the newest image, now".
  #options() {
    const field = (words, control, help = "") => h("label", null, h("span", null, words), control, help ? h("span", { class: "sub" }, help) : null);
    const url = h("input", { type: "text", inputmode: "url", id: "option-url", placeholder: "the newest that fits", autocomplete: "off" });
    const version = h("input", { type: "text", id: "option-version", pattern: "0x[0-9a-fA-F]{1,8}|[0-9]{1,10}", placeholder: "the newest that fits", autocomplete: "off" });
    const when = h("select", { id: "option-when" }, h("option", { value: "now" }, "now"), h("option", { value: "window" }, "in the next upgrade window"), h("option", { value: "at" }, "at a time"));
    const at = h("input", { type: "datetime-local", id: "option-at", hidden: true, "aria-label": "Time" });
    when.addEventListener("change", () => setHidden(at, when.value !== "at"));
    const apply = h("select", { id: "option-apply" }, h("option", { value: "now" }, "at once"), h("option", { value: "hold" }, "later, when it is asked for"));
    const force = h("input", { type: "checkbox", id: "option-force" });
    const downgrade = h("input", { type: "checkbox", id: "option-downgrade" });
    const form = h("form", null,
      field("Image from a URL", url), field("Version", version), h("div", { class: "pair" }, field("Begin", when), at), field("Install", apply),
      h("label", { class: "check" }, force, h("span", null, "Install it although it runs already, or a check fails")),
      h("label", { class: "check" }, downgrade, h("span", null, "Install it although it is older")),
      h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Upgrade with these options")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const options = {};
      if (url.value.trim()) options.url = url.value.trim();
      if (version.value.trim()) options.imageVersion = version.value.trim();
      if (when.value === "window") options.when = "window";
      if (when.value === "at" && at.value) options.when = new Date(at.value).toISOString();
      if (apply.value !== "now") options.apply = apply.value;
      if (force.checked) options.force = true;
      if (downgrade.checked) options.allowDowngrade = true;
      actions.upgrade(this.device, options);
    });
    return h("details", { class: "options" }, h("summary", null, "Upgrade with options"), form);
  }
}
