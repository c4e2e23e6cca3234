// The field for writing messages, and the switches beside it.

import { about } from "./api.js";
import { announce, composes, el, hidden } from "./dom.js";
import { icon } from "./icons.js";
import { openSettings } from "./settings.js";
import { change, kept, keep, onChange, settings } from "./store.js";
import { t } from "./words.js";

let hear = () => {};
onChange(() => hear());

/**
 * `{node, update, focus, suggest}`. Callbacks: `send(text)`, `stop()`, `busy()`, `fresh()`, `history()`; `blocked()`:
 * whether a choice has to be made first, with `pick(index)`.
 */
export function composer({ send, stop, busy, fresh, history, blocked, pick }) {
    const placeholder = t(about.chats === false ? "write_text" : "write");
    const area = el("textarea", {
        id: "message", rows: 1, placeholder, "aria-label": t("message"), value: kept("draft", ""),
    });
    const button = el("button.primary.send", { type: "submit" });
    const compare = el(
        "button.switch",
        { type: "button", title: `${t("compare_on")} (c)`, onclick: () => change({ compare: !settings.compare }) },
        icon("compare"),
        el("span", {}, t("compare")),
    );
    const summary = el("button.switch.summary", { type: "button", title: `${t("settings")} (s)`, onclick: openSettings });
    const anew = el(
        "button.switch",
        { type: "button", title: `${t("new_chat")} (n)`, onclick: fresh },
        icon("plus"),
        el("span", {}, t("new_chat")),
    );
    const before = el(
        "button.switch",
        { type: "button", title: `${t("history")} (h)`, onclick: history },
        icon("history"),
        hidden(t("history")),
    );
    const node = el(
        "form.composer",
        { onsubmit: (event) => {
            event.preventDefault();
            submit();
        } },
        el("div.field", {}, area, button),
        el("div.switches", {}, anew, before, compare, summary),
    );
    const grow = () => {
        area.style.height = "auto";
        area.style.height = `${Math.min(area.scrollHeight, 220)}px`;
    };
    const update = () => {
        const stops = busy();
        button.classList.toggle("stops", stops);
        button.setAttribute("aria-label", t(stops ? "stop" : "send"));
        button.title = stops ? `${t("stop")} (Esc)` : `${t("send")} (Enter)`;
        button.replaceChildren(icon(stops ? "stop" : "send"));
        button.disabled = !stops && area.value.trim() === "";
        compare.setAttribute("aria-pressed", String(settings.compare));
        const figures = [el("span.long", {}, t("temperature"), " "), settings.temperature.toFixed(2)];
        summary.replaceChildren(icon("settings"), el("span", {}, figures), hidden(t("settings")));
    };
    const submit = () => {
        if (busy()) {
            stop();
            return;
        }
        if (area.value.trim() === "") return;
        if (blocked()) {
            announce(t("compare_here"));
            document.querySelector(".choice .pick:not(:disabled)")?.focus();
            return;
        }
        const text = area.value;
        area.value = "";
        keep("draft", "");
        grow();
        send(text);
        update();
    };
    area.addEventListener("input", () => {
        keep("draft", area.value);
        grow();
        update();
    });
    area.addEventListener("keydown", (event) => {
        if (composes(event)) return;
        // Right after sending, the focus is still in this field.
        if (blocked() && area.value === "" && ["1", "2"].includes(event.key)) {
            event.preventDefault();
            pick(Number(event.key) - 1);
        }
        if (event.key !== "Enter" || event.shiftKey) return;
        event.preventDefault();
        if (!busy()) submit();
    });
    hear = update;
    update();
    requestAnimationFrame(grow);
    const suggest = (text) => {
        area.value = text;
        submit();
    };
    return { node, update, suggest, focus: () => area.focus() };
}
