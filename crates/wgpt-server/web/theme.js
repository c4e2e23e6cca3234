// Light or dark: as the system prefers, or as chosen.

import { change, onChange, settings } from "./store.js";

const system = matchMedia("(prefers-color-scheme: dark)");

function apply() {
    const root = document.documentElement;
    if (settings.theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = settings.theme;
    document.dispatchEvent(new Event("theme"));
}

/** Switches from light to dark, or back. */
export function toggleTheme() {
    const dark = getComputedStyle(document.body).colorScheme === "dark" || (settings.theme === "auto" && system.matches);
    change({ theme: dark ? "light" : "dark" });
}

onChange((changes) => "theme" in changes && apply());
system.addEventListener("change", apply);
