// Keyboard shortcuts. Single letters work while no text is being typed; Esc and the message field's keys always work.

import { composes, el } from "./dom.js";
import { dialog } from "./dialog.js";
import { t } from "./words.js";

/** The actions of the keys: everywhere, and in the current view (which sets `view` by the names in `LETTERS`). */
export const actions = { everywhere: {}, view: {} };

const LETTERS = {
    "/": "write", n: "fresh", h: "history", r: "again", c: "compare", 1: "first", 2: "second",
    s: "settings", t: "theme", l: "language", "?": "help",
};
const GO = { c: "chat", i: "inside", t: "training", f: "feedback" };

let going = 0;

const typing = (node) => node instanceof HTMLElement
    && (node.isContentEditable || ["TEXTAREA", "SELECT"].includes(node.tagName)
        || (node.tagName === "INPUT" && !["checkbox", "range", "radio"].includes(node.type)));

document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || composes(event)) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
        if (actions.view.stop?.()) event.preventDefault();
        else if (typing(event.target)) event.target.blur();
        return;
    }
    if (typing(event.target)) return;
    const view = Date.now() - going < 1200 ? GO[event.key] : undefined;
    going = event.key === "g" ? Date.now() : 0;
    const name = LETTERS[event.key];
    const action = view ? () => actions.everywhere.go(view) : actions.view[name] ?? actions.everywhere[name];
    if (!action) return;
    event.preventDefault();
    action();
});

/** Shows the keyboard shortcuts. */
export function openShortcuts() {
    const rows = [
        [["Enter"], "key_send"], [["Shift", "Enter"], "key_line"], [["Esc"], "key_stop"], [["/"], "key_write"],
        [["n"], "key_new"], [["h"], "history"], [["r"], "key_again"], [["c"], "key_compare"], [["1", "2"], "key_pick"],
        [["g", "c i t f"], "key_go"], [["s"], "key_settings"], [["t"], "key_theme"], [["l"], "key_language"],
        [["?"], "key_help"],
    ];
    const list = el("dl.keys", {}, rows.map(([keys, does]) => el(
        "div",
        {},
        el("dt", {}, keys.map((key) => el("kbd", {}, key))),
        el("dd", {}, t(does)),
    )));
    dialog(t("shortcuts"), [list]);
}
