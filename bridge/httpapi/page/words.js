// Numbers, times, states and reasons in words for people.

export const versionText = (v) => (v === null || v === undefined ? "unknown" : "0x" + v.toString(16).padStart(8, "0"));

export const hex16 = (v) => (v === null || v === undefined ? "unknown" : "0x" + v.toString(16).padStart(4, "0"));

export function bytesText(n) {
  if (n === null || n === undefined) return "unknown size";
  if (n < 1024) return `${n} B`;
  if (n < 1024 * 1024) return `${(n / 1024).toFixed(n < 10240 ? 1 : 0)} KiB`;
  return `${(n / 1024 / 1024).toFixed(1)} MiB`;
}

export const rateText = (n) => (n < 1024 ? `${n} B/s` : `${(n / 1024).toFixed(1)} KiB/s`);

// durationText returns a number of seconds in its two largest units.
export function durationText(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return whole < 600 && whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${Math.round(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

// runningText returns the version that a device runs, with what the device calls it for people.
export const runningText = (device) => (device.softwareBuild ? `${device.softwareBuild} (${versionText(device.currentFileVersion)})` : versionText(device.currentFileVersion));

// otherServerText returns what a device with another OTA server means; it is empty for the others.
export const otherServerText = (device) => (device.otherServer ? `${device.otherServer}: it may look for images there alone. Switch that server off, reset the device and let it join again.` : "");

// agoText returns how long ago a time was.
export function agoText(time, now = Date.now()) {
  if (!time) return "never";
  const seconds = (now - Date.parse(time)) / 1000;
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${10 * Math.floor(seconds / 10)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

export const momentText = (time) => new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const clockText = (time) => new Date(time).toLocaleTimeString();

// expectedText returns an expected time as people say it: about when, and in how long.
export function expectedText(time, now = Date.now()) {
  const at = new Date(time), minutes = Math.round((at - now) / 60_000);
  if (minutes < 1) return "at any moment";
  const today = at.toDateString() === new Date(now).toDateString();
  const day = today ? "" : `${at.toLocaleDateString(undefined, { weekday: "short", day: "numeric", month: "short" })}, `;
  return `about ${day}${at.toLocaleTimeString(undefined, { hour: "numeric", minute: "2-digit" })}, in ${durationText(60 * minutes)}`;
}

export const count = (n, one, many = one + "s") => `${n} ${n === 1 ? one : many}`;

const stateWords = {
  fetching: "Fetching", scheduled: "Scheduled", queued: "Waiting", notified: "Offered", downloading: "Downloading", paused: "Paused",
  downloaded: "Downloaded", applying: "Installing", succeeded: "Upgraded", failed: "Failed", cancelled: "Cancelled",
};

const stateTones = {
  fetching: "busy", scheduled: "wait", queued: "wait", notified: "busy", downloading: "busy", paused: "hold",
  downloaded: "hold", applying: "busy", succeeded: "good", failed: "bad", cancelled: "calm",
};

export const endedWords = (state) => ({ word: stateWords[state] ?? state, tone: stateTones[state] ?? "calm" });

export const stateText = (state) => stateWords[state] ?? state;

// isActive reports whether an upgrade has not ended.
export const isActive = (upgrade) => Boolean(upgrade) && !["succeeded", "failed", "cancelled"].includes(upgrade.state);

// hasNewer reports whether there is an update for a device, or for one of its other images.
const hasNewer = (device) => device.updateAvailable || (device.otherImages ?? []).some((other) => other.updateAvailable);

// hasBar reports whether an upgrade has a progress to show.
export const hasBar = (upgrade) => isActive(upgrade) && upgrade.state !== "scheduled" && upgrade.state !== "queued";

const reasonWords = {
  upToDate: "It runs this version already.",
  downgradeRefused: "The image is older than what runs on the device.",
  alreadyQueued: "It has an upgrade under way already.",
  tooLate: "The device installs already. How that ends is shown here.",
  imageInfoNotFound: "No image fits this device.",
  imageAccessFailed: "The image cannot be fetched.",
  imageValidationFailed: "What was fetched is no image, is damaged, or is not the one that was meant.",
  hardwareMismatch: "The image is for other hardware versions than the device's.",
  noResponse: "The device never asked for the image. Is it powered, awake and in reach?",
  stalled: "The device stopped asking for blocks. Check its power and its radio link, then try again.",
  deviceAborted: "The device gave the download up. Try again, nearer to the dongle if it happens again.",
  invalidImage: "The device received the whole image and called it invalid. It still runs its old version.",
  requireMoreImages: "The device needs a further image before it can install this one.",
  versionUnchanged: "The device restarted into its old version.",
  notRejoined: "The device was not seen again after the download. Switch it off and on.",
  cancelled: "It was cancelled.",
  imageRemoved: "The image was removed while the upgrade was under way.",
  dongleLost: "The dongle was lost.",
  dongleRefuses: "The dongle took no blocks. Pull it out and put it back.",
  canaryFailed: "How the first device of this image ended speaks against the image, so this one was not started.",
  batteryLow: "Its battery is too low.",
  excluded: "It is excluded from upgrades.",
};

export const reasonText = (reason) => reasonWords[reason] ?? reason ?? "";

// failureText returns why an upgrade did not succeed, of the upgrade or its event. What the service says of a refused image is about that very image.
export function failureText(upgrade) {
  const own = ["imageAccessFailed", "imageValidationFailed", "imageInfoNotFound", "hardwareMismatch"].includes(upgrade.reason);
  return own && upgrade.error ? sentence(upgrade.error) : reasonText(upgrade.reason);
}

export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

const waitWords = {
  dongle: "the dongle is away, or nothing may begin with it",
  slot: "another image has the slot",
  place: "as many devices download as may",
  device: "waits until it wakes, answers or asks by itself",
  canary: "another device gets this image first",
  holder: "another device keeps this image for later",
  time: "its time has not come",
  person: "somebody has paused it",
  quicker: "put off for quicker ones",
};

// waitText returns what a device's upgrade waits for; it is empty where that is nothing.
export function waitText(device) {
  const word = device.upgrade.queue?.waitsFor;
  if (word === "device" && device.sleepy) return "sleeps; waits until it wakes";
  if (word === "time" && device.upgrade.attempt > 1) return "recovers from a failed attempt";
  return waitWords[word] ?? word ?? "";
}

// turnText returns how an upgrade is expected to go on: what it waits for, when it begins, when it is complete.
export function turnText(device, now = Date.now()) {
  const place = device.upgrade.queue;
  if (!place) return "";
  const parts = [waitText(device)];
  if (place.expectedStart) parts.push(`begins ${expectedText(place.expectedStart, now)}`);
  if (place.expectedEnd) parts.push(`complete ${expectedText(place.expectedEnd, now)}`);
  return parts.filter(Boolean).join(" · ");
}

// isWaiting reports whether an upgrade stands in the queue, or waits for its time.
export const isWaiting = (upgrade) => Boolean(upgrade.queue?.position) || upgrade.state === "queued" || upgrade.state === "scheduled";

const statusWords = {
  serviceAvailable: "Upgrades can be done now.",
  serviceNotAvailable: "The dongle is away, or its firmware has no OTA server.",
  inProgress: "It is under way.",
  success: "It is done.",
  failure: "It did not work.",
  imageAccessFailed: "The image cannot be fetched.",
  imageValidationFailed: "The file is no image, is damaged, or is not the one that was meant.",
  deviceNotFound: "There is no such device.",
  invalidData: "The request is wrong.",
  incompatibleDriverVersion: "A newer driver has registered its image already.",
  imageInfoNotFound: "No image fits this device.",
};

// statusText returns a response's status in words; it is empty without a status.
export const statusText = (status) => statusWords[status] ?? status ?? "";

const sourceWords = { registered: "registered", index: "from an index", folder: "from the image folder" };

export const sourceText = (source) => sourceWords[source] ?? source;

// upgradedOf is what a device's upgrade is for: one of its other images, or the device itself.
const upgradedOf = (device) => (device.otherImages ?? []).find((other) => other.imageTypeId === device.upgrade.imageTypeId) ?? device;

// offersUpdate tells whether something newer is to be offered for a device, or one of its other images: not for one
// that is excluded.
export const offersUpdate = (device) => hasNewer(device) && !device.settings.excluded;

// settingsText returns what was set for a device alone; it is empty where nothing was.
export function settingsText(settings) {
  const parts = [];
  if (settings.excluded) parts.push("excluded from upgrades");
  if (settings.blockSize !== undefined) parts.push(`blocks of ${settings.blockSize} bytes at most`);
  if (settings.blockIntervalMs !== undefined) parts.push(`${settings.blockIntervalMs} ms between blocks`);
  if (settings.stallTimeoutSeconds !== undefined) parts.push(`stalled after ${durationText(settings.stallTimeoutSeconds)}`);
  if (settings.notifyAttempts !== undefined) parts.push(`${settings.notifyAttempts} offers`);
  return parts.join(", ");
}

// condition returns the state of a device's upgrade, or whether it needs one, in a word or two.
export function condition(device) {
  const upgrade = device.upgrade;
  if (isActive(upgrade)) return { word: stateText(upgrade.state), tone: stateTones[upgrade.state] };
  if (upgrade?.state === "failed") return { word: "Failed", tone: "bad" };
  if (offersUpdate(device)) return { word: "Update available", tone: "news" };
  if (upgrade?.state === "succeeded" && upgradedOf(device).currentFileVersion === (upgrade.runningVersion ?? upgrade.imageVersion)) return { word: "Upgraded", tone: "good" };
  if (upgrade?.state === "cancelled") return { word: "Cancelled", tone: "calm" };
  if (device.currentFileVersion === null) return { word: "Version unknown", tone: "calm" };
  if (device.settings.excluded) return { word: "Excluded", tone: "calm" };
  return device.image ? { word: "Up to date", tone: "good" } : { word: "No image known", tone: "calm" };
}

// progressText returns the progress of an upgrade in one line.
export function progressText(upgrade) {
  if (!upgrade) return "";
  switch (upgrade.state) {
    case "downloading":
    case "paused": {
      const parts = [`${upgrade.progress.toFixed(1)} %`];
      if (upgrade.bytesPerSecond && upgrade.state === "downloading") parts.push(rateText(upgrade.bytesPerSecond));
      if (upgrade.remainingSeconds !== null) parts.push(`${durationText(upgrade.remainingSeconds)} left`);
      if (upgrade.attempt > 1) parts.push(`attempt ${upgrade.attempt}`);
      return parts.join(" · ");
    }
    case "fetching":
      return upgrade.size ? `${upgrade.progress.toFixed(1)} % of the image's file` : "the image's file";
    case "notified":
      return "until the device asks for it";
    case "queued":
      return upgrade.attempt > 1 ? `attempt ${upgrade.attempt}` : "";
    case "downloaded":
      return "until it is to be installed";
    case "applying":
      return "the device restarts";
    case "failed":
    case "cancelled":
      return failureText(upgrade);
    default:
      return "";
  }
}

const eventWords = {
  dongleConnected: () => "Dongle connected",
  dongleDisconnected: (e) => `Dongle lost${e.error ? `: ${e.error}` : ""}`,
  deviceAnnounced: () => "Announced itself on the network",
  deviceLeft: () => "Left the network",
  imageAdded: (e) => `Image ${versionText(e.imageVersion)} registered`,
  imageRemoved: (e) => `Image ${versionText(e.imageVersion)} removed`,
  imageLoaded: (e) => `Dongle offers image ${versionText(e.imageVersion)}`,
  imageNotified: (e) => `Notified of image ${versionText(e.imageVersion)}`,
  downloadStarted: (e) => `Download of ${versionText(e.imageVersion)} started`,
  downloadProgress: (e) => `${e.progress} % of ${versionText(e.imageVersion)}`,
  downloadPaused: (e) => `Download paused at ${e.progress ?? 0} %`,
  downloadResumed: (e) => `Download goes on at ${e.progress ?? 0} %`,
  downloadFinished: (e) => `Download of ${versionText(e.imageVersion)} finished`,
  upgradeApplying: (e) => `Installs ${versionText(e.imageVersion)}`,
  upgradeSucceeded: (e) => `Runs ${versionText(e.imageVersion)} now`,
  upgradeFailed: (e) => `Upgrade failed. ${failureText(e)}`,
  upgradeCancelled: (e) => `Upgrade cancelled. ${e.reason === "cancelled" ? "" : reasonText(e.reason)}`.trim(),
  deliveryFailed: (e) => `Not reached by radio${e.error ? `: ${e.error}` : ""}`,
  unsolicitedRequest: () => "Asked for an image that was not meant for it",
};

const eventTones = {
  dongleDisconnected: "bad", upgradeFailed: "bad", deliveryFailed: "hold", unsolicitedRequest: "hold",
  upgradeSucceeded: "good", dongleConnected: "good", downloadStarted: "busy", downloadFinished: "busy", upgradeApplying: "busy",
};

// eventKeys has a function for each key of an event that returns the value in words.
const eventKeys = {
  name: (v) => v,
  euid: (v) => `device ${v}`,
  time: (v) => momentText(v),
  networkAddress: (v) => `network address ${hex16(v)}`,
  mfgId: (v) => `manufacturer code ${hex16(v)}`,
  imageTypeId: (v) => `image type ${hex16(v)}`,
  imageVersion: (v) => `file version ${versionText(v)}`,
  oldImageVersion: (v) => `file version before ${versionText(v)}`,
  offset: (v) => `offset ${v} bytes`,
  size: (v) => `size ${v} bytes`,
  progress: (v) => `progress ${v} %`,
  reason: (v) => reasonText(v),
  zclStatus: (v) => `ZCL status 0x${v.toString(16).padStart(2, "0")}`,
  error: (v) => v,
};

// eventDetails returns everything that an event says, one key a line.
export const eventDetails = (event) =>
  Object.entries(eventKeys).filter(([key]) => key in event).map(([key, words]) => words(event[key])).join("\n");

export const eventText = (event) => eventWords[event.name]?.(event) ?? event.name;

export const eventTone = (event) => eventTones[event.name] ?? "calm";

// lqiBars returns the link quality (0 to 255) as 0 to 4 bars.
export const lqiBars = (lqi) => (lqi === null ? 0 : lqi < 40 ? 1 : lqi < 90 ? 2 : lqi < 150 ? 3 : 4);
