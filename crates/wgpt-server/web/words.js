// The page's texts in the reader's language.

import { english } from "./words-en.js";
import { chinese } from "./words-zh.js";
import { settings } from "./store.js";

const LANGUAGES = { en: english, zh: chinese };

/** The current language: the chosen one, otherwise the browser's, otherwise English. */
export function language() {
    if (settings.language in LANGUAGES) return settings.language;
    return navigator.language?.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** A text by its key; `{name}` in it is replaced by `values.name`. For a count of 1 the text with `_one` is used, if any. */
export function t(key, values = {}) {
    if (values.count === 1 && `${key}_one` in english) key = `${key}_one`;
    const text = LANGUAGES[language()][key] ?? english[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** A number in the format of the language. */
export function number(value, digits = 0) {
    return new Intl.NumberFormat(language(), { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);
}

/** A number with about three significant digits, whether small or large. */
export function short(value) {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
    return size >= 1e4 ? number(value) : String(Number(value.toPrecision(4)));
}

/** Large counts: 134.5 M. */
export function compact(value) {
    return new Intl.NumberFormat(language(), { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

/** A share as a percentage. */
export function percent(share, digits) {
    const fine = digits ?? (share < 0.0995 ? 1 : 0);
    return `${number(share * 100, fine)}%`;
}

/** How long ago, from milliseconds since 1970. */
export function ago(time) {
    const seconds = (time - Date.now()) / 1000;
    const format = new Intl.RelativeTimeFormat(language(), { numeric: "auto" });
    for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
        if (Math.abs(seconds) >= size) return format.format(Math.round(seconds / size), unit);
    }
    return format.format(Math.min(0, Math.round(seconds)), "second");
}
