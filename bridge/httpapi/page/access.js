// Keeps the token, asks for it, and says where changes are not allowed.

import { access as ask, Refused, token } from "./api.js";
import { h, setHidden } from "./dom.js";
import { note } from "./notes.js";

class Access {
  change = null; // null: not known yet
  token = false;
  error = "";
  answered = false; // whether this page may read at all
  #listeners = [];

  subscribe(listener) {
    this.#listeners.push(listener);
  }

  async refresh() {
    try {
      const answer = await ask();
      this.change = answer.change;
      this.token = answer.token;
      this.error = answer.error ?? "";
      this.answered = true;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.change = false;
      this.error = error.message;
      this.answered = error.status !== 403;
    }
    for (const listener of this.#listeners) listener();
  }
}

export const access = new Access();

// allowed reports whether a change may be tried. It asks for the token where that is missing.
export async function allowed() {
  if (access.change === null) await access.refresh();
  if (access.change) return true;
  if (access.token) return askForToken();
  note(access.error, "bad");
  return false;
}

// askForToken asks a person for the token until it is the right one or they give up.
export function askForToken(wrong = "") {
  return new Promise((resolve) => {
    const dialog = document.getElementById("question");
    const input = h("input", { type: "password", id: "token", autocomplete: "current-password", required: true, "aria-describedby": "token-help" });
    const error = h("p", { class: "field-error", role: "alert" }, wrong);
    const form = h("form", { method: "dialog" },
      h("h2", { id: "question-title" }, "Token"),
      h("p", { id: "token-help" }, "Changes need the token that ZIGATE_OTA_HTTP_TOKEN was set to. It is kept until this tab is closed."),
      h("label", { for: "token" }, "Token"), input, error,
      h("div", { class: "buttons" },
        h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Not now"),
        h("button", { type: "submit", class: "primary" }, "Use it")));
    let right = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const before = token.get();
      token.set(input.value);
      await access.refresh();
      right = access.change;
      if (right) {
        dialog.close();
        return;
      }
      token.set(before);
      error.textContent = access.error;
      input.select();
    });
    dialog.replaceChildren(form);
    dialog.addEventListener("close", () => resolve(right), { once: true });
    dialog.showModal();
    input.focus();
  });
}

// watchAccess shows and hides the notice that nothing can be changed from here.
export function watchAccess(notice) {
  access.subscribe(() => {
    setHidden(notice, access.change !== false);
    if (access.change !== false) return;
    notice.replaceChildren(
      h("strong", null, access.answered ? "Read only. " : "No access. "),
      h("span", null, access.token ? "Changing something needs the token." : access.error),
      access.token ? h("button", { type: "button", class: "quiet", onclick: () => askForToken() }, "Enter the token") : "");
  });
}
