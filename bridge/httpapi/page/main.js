// Starts the page, switches between its views, and shows what every view has: the overview, the connection and notices.

import { setAttribute, setHidden, setText } from "./dom.js";
import { store } from "./store.js";
import { announce } from "./notes.js";
import { access, watchAccess } from "./access.js";
import { eventText, isActive } from "./words.js";
import { Glance } from "./glance.js";
import { DevicesView } from "./devices.js";
import { QueueView } from "./queue.js";
import { ImagesView } from "./images.js";
import { LogView } from "./log.js";
import { openDevice, closeDevice } from "./sheet.js";
import { takeDrops } from "./drop.js";

const element = (id) => document.getElementById(id);
const views = {
  devices: new DevicesView(element("devices")),
  queue: new QueueView(element("queue")),
  images: new ImagesView(element("images")),
  log: new LogView(element("log")),
};
const glance = new Glance(element("glance"));

// show shows the view or the device that the address names: #<view> or #device/<euid>.
function show() {
  const [first, euid] = location.hash.slice(1).split("/");
  if (first === "device" && euid) {
    if (!document.querySelector(".view:not([hidden])")) select("devices");
    openDevice(euid, () => history.replaceState(null, "", "#devices"));
    return;
  }
  closeDevice();
  select(first in views ? first : "devices");
}

function select(name) {
  const changed = views[name].root.hidden;
  for (const [key, view] of Object.entries(views)) {
    setHidden(view.root, key !== name);
    const tab = document.querySelector(`[data-view="${key}"]`);
    setAttribute(tab, "aria-current", key === name ? "page" : null);
  }
  setHidden(element("glance"), name !== "devices");
  views[name].shown?.();
  if (changed) scrollTo(0, 0);
  document.title = name === "devices" ? "zigate-ota" : `${name[0].toUpperCase()}${name.slice(1)} – zigate-ota`;
}

function connection() {
  const state = store.connected && store.loaded ? "up" : store.loaded ? "lost" : "connecting";
  setAttribute(element("connection"), "data-state", state);
  setText(element("connection-text"), { up: "Live", lost: "Connection lost, trying again", connecting: "Connecting" }[state]);
  document.body.classList.toggle("stale", state === "lost");
}

let told = null; // the time of the newest event that was announced

function announceNews() {
  const newest = store.events.at(-1);
  if (told !== null) {
    for (const event of store.events) {
      if (event.time > told && /^(upgrade(Succeeded|Failed)|dongle)/.test(event.name)) {
        announce(`${event.euid ? store.name(event.euid) + ": " : ""}${eventText(event)}`);
      }
    }
  }
  if (newest && (told === null || newest.time > told)) told = newest.time;
}

store.subscribe((changes) => {
  if (changes.connection) {
    connection();
    if (store.connected || !store.loaded) access.refresh();
  }
  if (changes.info && store.info) setText(element("version"), `zigate-ota ${store.info.version}`);
  if (changes.events && store.loaded) announceNews();
  if (changes.devices.size) {
    let open = 0;
    for (const device of store.devices.values()) open += isActive(device.upgrade);
    setText(element("queue-count"), String(open));
    setHidden(element("queue-count"), open === 0);
  }
  glance.update(changes);
  for (const view of Object.values(views)) view.update(changes);
});

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !/INPUT|TEXTAREA|SELECT/.test(event.target.tagName) && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    location.hash = "#devices";
    element("filter").focus();
  }
});

addEventListener("hashchange", show);
watchAccess(element("notice"));
takeDrops(element("drop"));
show();
store.start();
