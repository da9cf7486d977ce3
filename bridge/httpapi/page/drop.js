// Files that are dropped anywhere on the page are images to be added.

import { addFile } from "./actions.js";
import { setHidden } from "./dom.js";

export function takeDrops(cover) {
  let depth = 0; // enter and leave come for each element under the pointer
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth++;
    setHidden(cover, false);
  });
  addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  addEventListener("dragleave", (event) => {
    if (holdsFiles(event) && --depth <= 0) setHidden(cover, true);
  });
  addEventListener("drop", async (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    setHidden(cover, true);
    for (const file of [...event.dataTransfer.files]) await addFile(file);
  });
}
