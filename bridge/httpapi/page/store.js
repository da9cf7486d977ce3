// Keeps what the service has published: the current records, the last events, and whether the stream is connected.
// Views subscribe and are called once a frame with what has changed.

import { address, call } from "./api.js";

const maxEvents = 500;
const maxSamples = 600;
const silence = 40_000; // ms without an event after which the connection is closed and opened again
const pause = 2_000; // ms before the next attempt

class Store {
  info = null;
  health = null;
  devices = new Map();
  events = [];
  // samples has the progress of each device's last download over time.
  samples = new Map();
  connected = false;
  loaded = false;
  #responses = new Map();
  #waiting = new Map();
  #listeners = [];
  #changes = null;
  #source = null;
  #lastID = "";
  #arriving = null; // devices that were received since a reset
  #heard = 0;
  #hiddenSince = 0;
  #skew = 0; // ms that the service's clock is ahead of ours

  // subscribe adds a function that is called with what has changed: {devices: Set of EUIDs, info, images, events, health, connection}.
  subscribe(listener) {
    this.#listeners.push(listener);
  }

  start() {
    this.#open();
    setInterval(() => this.#watch(), 5_000);
    document.addEventListener("visibilitychange", () => this.#watch());
  }

  // now returns the service's time, in ms.
  now() {
    return Date.now() + this.#skew;
  }

  name(euid) {
    return this.devices.get(euid)?.name ?? euid;
  }

  // final returns the final response to a request, once it has come.
  final(id) {
    return new Promise((resolve) => {
      if (this.#responses.has(id)) resolve(this.#responses.get(id));
      else this.#waiting.set(id, resolve);
    });
  }

  #open() {
    this.#close();
    const url = address("events");
    if (this.#lastID) url.searchParams.set("after", this.#lastID);
    this.#heard = Date.now();
    const source = (this.#source = new EventSource(url));
    source.addEventListener("open", () => this.#connection(true));
    source.addEventListener("error", () => {
      this.#connection(false);
      if (!this.loaded) this.#changed().connection = true;
      if (source.readyState === EventSource.CLOSED && source === this.#source) setTimeout(() => source === this.#source && this.#open(), pause);
    });
    for (const [name, take] of Object.entries(this.#takers)) {
      source.addEventListener(name, (message) => {
        this.#heard = Date.now();
        if (message.lastEventId) this.#lastID = message.lastEventId;
        take(JSON.parse(message.data));
      });
    }
  }

  #close() {
    this.#source?.close();
    this.#source = null;
  }

  // watch reopens a silent connection, and closes that of a hidden page: a browser allows only a few for all its pages.
  #watch() {
    if (document.hidden) {
      this.#hiddenSince ||= Date.now();
      if (Date.now() - this.#hiddenSince > silence) this.#close();
      return;
    }
    this.#hiddenSince = 0;
    if (!this.#source || Date.now() - this.#heard > silence) {
      this.#connection(false);
      this.#open();
    }
  }

  #connection(up) {
    if (this.connected === up) return;
    this.connected = up;
    this.#changed().connection = true;
  }

  #takers = {
    reset: () => {
      this.#lastID = "";
      this.#arriving = new Set();
      this.events = [];
      this.#changed().events = true;
    },
    ready: ({ time }) => {
      this.#skew = Date.parse(time) - Date.now();
      for (const euid of this.devices.keys()) {
        if (!this.#arriving?.has(euid)) this.#takers.deviceGone({ euid });
      }
      this.#arriving = null;
      this.loaded = true;
      this.#changed().connection = true;
      for (const id of this.#waiting.keys()) this.#askFinal(id);
    },
    info: (info) => {
      this.info = info;
      this.#changed().info = true;
    },
    images: () => {
      this.#changed().images = true;
    },
    files: () => {
      this.#changed().images = true;
    },
    device: (device) => {
      this.#arriving?.add(device.euid);
      if (this.devices.get(device.euid)?.image?.sha256 !== device.image?.sha256) this.#changed().images = true;
      this.devices.set(device.euid, device);
      this.#sample(device);
      this.#changed().devices.add(device.euid);
    },
    deviceGone: ({ euid }) => {
      this.devices.delete(euid);
      this.samples.delete(euid);
      this.#changed().devices.add(euid);
    },
    event: (event) => {
      this.events.push(event);
      if (this.events.length > maxEvents) this.events.splice(0, this.events.length - maxEvents);
      if (event.name === "downloadStarted") this.samples.delete(event.euid);
      if (event.progress !== undefined) this.#addSample(event.euid, Date.parse(event.time), event.offset, event.imageVersion);
      this.#changed().events = true;
    },
    health: (health) => {
      this.health = health;
      this.#changed().health = true;
    },
    response: (response) => {
      if (response.status === "inProgress") return;
      this.#responses.set(response.id, response);
      if (this.#responses.size > 100) this.#responses.delete(this.#responses.keys().next().value);
      this.#waiting.get(response.id)?.(response);
      this.#waiting.delete(response.id);
    },
    heartbeat: () => {},
  };

  // askFinal asks for a response that may have come while the stream was not connected.
  async #askFinal(id) {
    try {
      this.#takers.response(await call("GET", `responses/${id}`));
    } catch (refused) {
      if (refused.body?.id === id) this.#takers.response(refused.body);
    }
  }

  #sample(device) {
    const upgrade = device.upgrade;
    if (upgrade && ["downloading", "paused"].includes(upgrade.state)) {
      this.#addSample(device.euid, this.now(), upgrade.offset, upgrade.imageVersion);
    }
  }

  // addSample stores a point of a download. Past events come before current ones, so times only go backwards when
  // another download has begun.
  #addSample(euid, time, offset, imageVersion) {
    let line = this.samples.get(euid);
    if (!line || line.imageVersion !== imageVersion) this.samples.set(euid, (line = { imageVersion, points: [] }));
    const last = line.points.at(-1);
    if (last && (time <= last.time || (offset === last.offset && time - last.time < 1000))) return;
    if (last && offset < last.offset) line.points = [];
    line.points.push({ time, offset });
    if (line.points.length > maxSamples) line.points = line.points.filter((_, i) => i % 2 === 0);
  }

  // changed returns the changes with which the subscribers are called at the next frame.
  #changed() {
    if (!this.#changes) {
      this.#changes = { devices: new Set() };
      const tell = () => {
        const changes = this.#changes;
        this.#changes = null;
        for (const listener of this.#listeners) listener(changes);
      };
      if (document.hidden) setTimeout(tell, 1000);
      else requestAnimationFrame(tell);
    }
    return this.#changes;
  }
}

export const store = new Store();
