// Messages about errors and empty views, with what to do about them.

import { copy, el } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./words.js";

/** An error message, with a button to try again if that may help. */
export function notice(trouble, again) {
    const button = again && el("button.quiet", { type: "button", onclick: again }, icon("again"), t("retry"));
    const words = typeof trouble === "string" ? trouble : trouble.words?.() ?? String(trouble.message ?? trouble);
    return el("div.notice", { role: "alert" }, icon("warning"), el("p", {}, words), button);
}

/** A remark with a button that removes it; `removed()` is called then. */
export function remark(words, removed) {
    const button = el("button.tool", { type: "button", title: t("close"), "aria-label": t("close"), onclick: removed }, icon("close"));
    return el("div.notice", { role: "status" }, icon("warning"), el("p", {}, words), button);
}

/** A command for a terminal, with a button that copies it. */
export function command(text) {
    const button = el("button.copy", { type: "button", "aria-label": t("copy") }, icon("copy"));
    button.addEventListener("click", async () => {
        if (await copy(text)) button.replaceChildren(icon("check"));
        setTimeout(() => button.replaceChildren(icon("copy")), 1500);
    });
    return el("div.command", {}, el("code", {}, text), button);
}

/** An empty view: a title, what would be shown here, and the commands that create it. */
export function empty(title, text, commands = []) {
    return el("div.empty", {}, el("h2", {}, title), el("p", {}, text), commands.map(command));
}

/** The head of a view. */
export function viewHead(name, ...more) {
    const words = el("div", {}, el("h1", {}, t(name)), el("p", {}, t(`${name}_text`)));
    return el("header.viewhead", {}, words, more);
}
