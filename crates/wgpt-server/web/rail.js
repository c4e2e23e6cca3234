// The rail beside the views (above and below them on a phone): navigation, model, language, theme, keys.

import { about } from "./api.js";
import { el, hidden } from "./dom.js";
import { icon, sign } from "./icons.js";
import { actions } from "./keys.js";
import { compact, number, t } from "./words.js";

/** Draws the rail; `name` is the view shown. */
export function drawRail(rail, name) {
    const brand = el("a.brand", { href: "#/chat", "aria-label": "wgpt" }, sign());
    const link = (view) => el(
        "a",
        { href: `#/${view}`, "aria-current": view === name ? "page" : null },
        icon(view),
        el("span", {}, t(view)),
    );
    const nav = el("nav", { "aria-label": t("nav") }, ["chat", "inside", "training", "feedback"].map(link));
    const tool = (action, label, key) => el(
        "button.tool",
        { type: "button", title: `${label} (${key})`, onclick: () => actions.everywhere[action]() },
        icon(action === "help" ? "keys" : action),
        hidden(label),
    );
    const tools = el(
        "div.tools",
        {},
        tool("settings", t("settings"), "s"),
        tool("theme", t("theme"), "t"),
        tool("language", t("switch_language"), "l"),
        tool("help", t("shortcuts"), "?"),
    );
    rail.replaceChildren(brand, nav, el("div.model", {}, facts()), tools);
}

function facts() {
    if (about.model === undefined) return [];
    const lines = [
        t("parameters", { count: compact(about.parameters) }),
        t("layers_heads", { layers: about.layers, heads: about.heads }),
        t("context_of", { count: number(about.context) }),
        about.adapter && t("runs_on", { adapter: deviceName() }),
    ];
    return [el("strong", { title: about.model }, about.model), ...lines.filter(Boolean).map((line) => el("span", {}, line))];
}

/** A short name of the adapter: drivers put a lot of detail into the name. */
export function deviceName() {
    return (about.adapter?.name ?? "").replace(/\s*\(.*\)\s*$/, "") || about.adapter?.backend || "";
}
