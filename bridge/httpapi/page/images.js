// The list of all images, with what was verified of each.

import { call, Refused } from "./api.js";
import { addFile, addURL, removeAdded, removeRegistered } from "./actions.js";
import { arrange, button, h, icon, setAttribute, setHidden, setText } from "./dom.js";
import { note } from "./notes.js";
import { store } from "./store.js";
import { agoText, bytesText, count, hex16, momentText, versionText } from "./words.js";

const checkWords = { passed: "passed", failed: "failed", notVerifiable: "cannot be verified" };
const checkIcons = { passed: "passed", failed: "failed", notVerifiable: "unknown" };

// report shows what was found out about an image file.
export function report(of) {
  if (!of) return h("p", { class: "sub" }, "The image is missing from the store. Add it again.");
  return h("ul", { class: "checks", "aria-label": "Verification" },
    of.checks.map((check) => h("li", { "data-status": check.status }, icon(checkIcons[check.status]), h("span", null, `${check.name}: ${checkWords[check.status]}`, check.detail ? h("span", { class: "sub" }, ` ${check.detail}`) : null))),
    of.warnings.map((warning) => h("li", { "data-status": "warning" }, icon("warning"), h("span", null, warning))),
    of.checks.length + of.warnings.length ? null : h("li", { "data-status": "notVerifiable" }, icon("unknown"), h("span", null, "No check that is known here fits it.")));
}

function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== "").map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

function whom(devices) {
  if (!devices.length) return "no known device";
  const names = devices.slice(0, 3).map((euid) => store.name(euid));
  return devices.length > 3 ? `${names.join(", ")} and ${devices.length - 3} more` : names.join(", ");
}

function hardware(of) {
  if (!of || of.minHardwareVersion === null) return "";
  return `${of.minHardwareVersion} to ${of.maxHardwareVersion}`;
}

// merged joins the registrations of an image that was registered for several devices one by one.
function merged(images) {
  const byImage = new Map();
  for (const image of images) {
    const key = `${image.sha256} ${image.driverTypeId}`;
    const same = byImage.get(key);
    byImage.set(key, same ? { ...same, devices: [...same.devices, ...image.devices] } : image);
  }
  return [...byImage.values()];
}

// card shows one image.
function card(title, image, source, devices, remove) {
  return h("article", { class: "card", "data-sha256": image.sha256 },
    h("header", null, h("h3", null, title), remove),
    h("p", { class: "card-version" }, h("code", null, versionText(image.imageVersion)), h("span", { class: "chip-word" }, source)),
    facts([
      ["For", whom(devices)],
      ["Manufacturer, type", `${hex16(image.mfgId)}, ${hex16(image.imageTypeId)}`],
      ["File", image.fileName ?? ""],
      ["Size", bytesText(image.size)],
      ["Hardware", hardware(image.report)],
      ["Container", image.report?.wrapper ?? ""],
      ["Driver", image.driverTypeId ? `${image.driverTypeId}, version ${image.driverVersion}` : ""],
      ["Added", image.addedAt ? momentText(image.addedAt) : ""],
      ["SHA-256", h("code", { class: "digest" }, image.sha256)],
    ]),
    report(image.report));
}

export class ImagesView {
  #cards = new Map(); // by what they show
  #dirty = true;
  #timer = 0;

  constructor(root) {
    this.root = root;
    this.cards = h("div", { class: "cards" });
    this.indexes = h("div", { class: "indexes" });
    this.empty = h("p", { class: "empty", hidden: true }, "There is no image yet. Drop a firmware file anywhere on this page, or give its URL.");
    this.input = h("input", { type: "file", id: "file", class: "unseen", multiple: true, tabindex: -1, "aria-hidden": "true", onchange: () => this.#files() });
    const url = h("input", { type: "url", id: "image-url", required: true, placeholder: "https://…", autocomplete: "off" });
    const sha = h("input", { type: "text", id: "image-sha256", pattern: "[0-9a-fA-F]{64}", placeholder: "optional", autocomplete: "off", spellcheck: "false" });
    const form = h("form", { class: "add-url", "aria-label": "Add an image by its URL" },
      h("label", null, "URL", url), h("label", null, "SHA-256", sha), h("button", { type: "submit" }, "Fetch"));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const submit = form.querySelector("button");
      submit.disabled = true;
      if (await addURL(url.value, sha.value)) form.reset();
      submit.disabled = false;
    });
    root.append(
      h("div", { class: "head" }, h("h1", { id: "images-title" }, "Images"), h("div", { class: "buttons" }, button("Add an image", "add", () => this.input.click(), { class: "primary", id: "add-image" }), this.input)),
      form, this.empty, this.cards, this.indexes);
  }

  update(changes) {
    if (!changes.images && !changes.connection) return;
    this.#dirty = true;
    if (this.root.hidden || this.#timer) return;
    this.#timer = setTimeout(() => { this.#timer = 0; this.#load(); }, 300);
  }

  shown() {
    if (this.#dirty) this.#load();
  }

  async #files() {
    for (const file of this.input.files) await addFile(file);
    this.input.value = "";
  }

  async #load() {
    this.#dirty = false;
    try {
      this.#show(await call("GET", "images"));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.#dirty = true;
      if (store.connected) note(`Images: ${error.message}`, "bad");
    }
  }

  #show({ images, folder, faults, indexes }) {
    const cards = new Map();
    const put = (shown, make) => {
      const key = JSON.stringify(shown);
      cards.set(key, this.#cards.get(key) ?? make());
    };
    for (const image of merged(images)) {
      const devices = image.devices;
      put([image, devices.map((d) => store.name(d))], () => card(image.title || "Untitled image", image, "registered", devices,
        devices.length ? button(`Remove image ${versionText(image.imageVersion)}`, "remove", () => removeRegistered(image), { small: true }) : null));
    }
    for (const image of folder) {
      const devices = [...store.devices.values()].filter((d) => d.image?.sha256 === image.sha256).map((d) => d.euid);
      put([image, devices.map((d) => store.name(d))], () => card(image.report.headerString || image.name, image, image.name, devices,
        image.added ? button(`Remove ${image.name}`, "remove", () => removeAdded(image), { small: true }) : null));
    }
    for (const fault of faults) {
      put(fault, () => h("article", { class: "card", "data-tone": "bad" }, h("header", null, h("h3", null, fault.name)), h("p", null, `It cannot be used: ${fault.error}.`)));
    }
    this.#cards = cards;
    arrange(this.cards, [...cards.values()]);
    setHidden(this.empty, cards.size > 0);
    this.#indexes(indexes);
  }

  #indexes(indexes) {
    setHidden(this.indexes, indexes.length === 0);
    const list = indexes.map((index) => {
      const line = h("li", null, h("strong", null, index.name), " ");
      const words = index.error ? `cannot be read: ${index.error}` : index.readAt ? `${count(index.images, "image")}, read ${agoText(index.readAt, store.now())}` : "not read yet";
      line.append(words, index.skipped ? `; ${count(index.skipped, "entry", "entries")} cannot be used: ${index.problem}` : "");
      setAttribute(line, "data-tone", index.error ? "bad" : null);
      return line;
    });
    const title = h("h2");
    setText(title, "Indexes");
    this.indexes.replaceChildren(title, h("ul", null, list));
  }
}
