// The actions of the page. Each shows whether it was done, or why not.

import { call, Refused, request } from "./api.js";
import { allowed, askForToken, access } from "./access.js";
import { h } from "./dom.js";
import { note } from "./notes.js";
import { store } from "./store.js";
import { count, offersUpdate, reasonText, statusText, versionText } from "./words.js";

// attempt does something that may be refused. It then shows why and returns null.
export async function attempt(what, work) {
  if (!(await allowed())) return null;
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401 && (await askForToken(error.message))) return attempt(what, work);
    if (error.status === 403) access.refresh();
    const text = sentence(error.body, error.message);
    note(text.includes(what) ? text : `${what}: ${text}`, "bad");
    return null;
  }
}

// sentence says why something was not done.
function sentence(body, message) {
  const reason = body?.reason ? reasonText(body.reason) : "";
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  if (!reason) return /[.!?]$/.test(text) ? text : `${text}.`;
  return body.reason in { upToDate: 1, downgradeRefused: 1 } ? `${reason} To install it all the same, see the options of the device.` : reason;
}

// perform asks for an operation and waits for its final answer, however long that takes. It returns null for a refusal.
async function perform(what, operation, body, begun = "") {
  const answer = await attempt(what, () => request(operation, body));
  if (answer?.status !== "inProgress") return answer;
  if (begun) note(answer.error ? `${begun} Note: ${answer.error}.` : begun, "calm");
  const final = await store.final(answer.id);
  if (final.status === "success") return final;
  note(`${what}: ${sentence(final, final.error ?? statusText(final.status))}`, "bad");
  return null;
}

export async function upgrade(device, options = {}) {
  const answer = await perform(device.name, "upgrade", { deviceId: device.euid, ...options }, `${device.name}: the upgrade is queued.`);
  if (answer) note(`${store.name(device.euid)} runs ${versionText(answer.runningVersion ?? answer.imageVersion)} now.`, "good");
  return answer;
}

export async function upgradeAll() {
  const waiting = [...store.devices.values()].filter(offersUpdate).length;
  if (!(await confirm(`Upgrade ${count(waiting, "device")}?`,
    "Every device for which something newer is known is queued. Of each image one device goes first, and the others when it has succeeded.", "Upgrade all"))) return;
  const answer = await perform("Upgrade all", "upgrade", { deviceId: "all" }, "All upgrades are queued.");
  if (answer) note(answer.results?.length ? `All ${count(answer.results.length, "upgrade")} succeeded.` : "There was nothing to upgrade.", "good");
}

export async function cancelAll() {
  if (!(await confirm("Cancel all upgrades?", "What is queued is dropped, and running downloads are aborted. The devices keep the version that they run. Those that install already go on.", "Cancel all upgrades"))) return;
  if (await perform("Cancel all", "cancel", { deviceId: "all" })) note("All upgrades were cancelled.", "good");
}

export async function checkAll() {
  const answer = await perform("Check all", "check", {}, "All devices are being asked for their version.");
  if (!answer) return;
  const silent = answer.results.filter((r) => r.status !== "success").length;
  const newer = answer.results.filter((r) => r.updateAvailable).length;
  note(`${count(answer.results.length, "device")} checked: ${newer ? `something newer for ${newer}` : "nothing newer"}${silent ? `, no answer from ${silent}` : ""}.`, silent ? "calm" : "good");
}

export async function check(device) {
  const answer = await perform(device.name, "check", { deviceId: device.euid }, `${device.name} is being asked for its version.`);
  if (answer) note(`${device.name}: ${answer.updateAvailable ? `there is something newer, ${versionText(answer.imageVersion)}` : "nothing newer is known"}.`, "good");
}

export async function interview(device) {
  if (await perform(device.name, "interview", { deviceId: device.euid }, `${device.name} is being asked who it is.`)) note(`${device.name} has answered.`, "good");
}

export const pause = (device) => perform(device.name, "pause", { deviceId: device.euid });
export const resume = (device) => perform(device.name, "resume", { deviceId: device.euid });
export const cancel = (device) => perform(device.name, "cancel", { deviceId: device.euid });

export const rename = (device, name) => perform(device.name, "rename", { deviceId: device.euid, name });

export async function exclude(device, excluded) {
  if (!(await perform(device.name, "configure", { deviceId: device.euid, excluded }))) return;
  note(excluded ? `${device.name} is left out of upgrades, until you include it or upgrade it with its options.` : `${device.name} is upgraded like the others.`, "good");
}

export async function forget(device) {
  if (!(await confirm(`Forget ${device.name}?`, "Its name and its history are dropped. A device that is still on the network comes back as a new one.", "Forget it"))) return false;
  return Boolean(await perform(device.name, "forget", { deviceId: device.euid }));
}

export async function removeRegistered(image) {
  if (!(await confirm(`Remove image ${versionText(image.imageVersion)}?`, "Upgrades that use it are cancelled.", "Remove it"))) return;
  // An image that a driver registered is removed for all its devices with the first one; otherwise each has its own.
  for (const euid of image.driverTypeId ? image.devices.slice(0, 1) : image.devices) {
    if (!(await perform("Remove image", "remove_image", { deviceId: euid, imageTypeId: image.imageTypeId }))) return;
  }
  note("The image was removed.", "good");
}

export async function removeAdded(image) {
  if (!(await confirm(`Remove ${image.name.replace(/^added\//, "")}?`, "The file is deleted. Upgrades under way go on.", "Remove it"))) return;
  const name = encodeURIComponent(image.name.replace(/^added\//, ""));
  if (await attempt("Remove image", () => call("DELETE", `images/added/${name}`))) note("The image was removed.", "good");
}

// noting shows a note for as long as something takes.
async function noting(text, work) {
  const close = note(text, "calm", null, Infinity);
  try {
    return await work();
  } finally {
    close();
  }
}

// addFile adds an image file, and shows which devices it is for.
export async function addFile(file) {
  const answer = await attempt(file.name, () => noting(`${file.name} is being checked.`,
    () => call("POST", `images?name=${encodeURIComponent(file.name)}`, { body: file, type: "application/octet-stream" })));
  if (answer) tellAdded(answer.image);
  return answer?.image ?? null;
}

// addURL adds the image at a URL.
export async function addURL(url, sha256) {
  const answer = await attempt("Add image", () => noting("The image is being fetched.",
    () => call("POST", "images", { json: sha256 ? { url, sha256 } : { url } })));
  if (answer) tellAdded(answer.image);
  return answer?.image ?? null;
}

function tellAdded(image) {
  const images = [...store.devices.values()].flatMap((d) => [d, ...(d.otherImages ?? []).map((other) => ({ ...other, name: d.name }))]);
  const fits = images.filter((d) => d.mfgId === image.mfgId && d.imageTypeId === image.imageTypeId);
  const newer = fits.filter((d) => d.currentFileVersion === null || d.currentFileVersion < image.imageVersion);
  const whom = newer.length === 0 ? (fits.length ? "no device that it is for runs anything older" : "no known device is of its type")
    : newer.length === 1 ? `it is newer than what ${newer[0].name} runs` : `it is newer than what ${newer.length} devices run`;
  note(`Image ${versionText(image.imageVersion)} was added: ${whom}.`, "good", { words: "Show images", run: () => { location.hash = "#images"; } });
}

// confirm asks a person to confirm an action.
function confirm(title, text, yes) {
  return new Promise((resolve) => {
    const dialog = document.getElementById("question");
    let meant = false;
    const sure = h("button", { type: "button", class: "primary", onclick: () => { meant = true; dialog.close(); } }, yes);
    dialog.replaceChildren(
      h("h2", { id: "question-title" }, title), h("p", null, text),
      h("div", { class: "buttons" }, h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "No"), sure));
    dialog.addEventListener("close", () => resolve(meant), { once: true });
    dialog.showModal();
    sure.focus();
  });
}
