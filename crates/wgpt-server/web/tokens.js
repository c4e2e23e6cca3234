// Tokens as chips: text, id, and, where several tokens form one character, that character above them.

import { el } from "./dom.js";
import { t } from "./words.js";

const encoder = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true });

/** Maximum number of tokens searched for the bytes of one character. */
const LONGEST = 8;

/** A token's bytes; if the server does not send any, the bytes of its text. */
export const bytesOf = (token) => (Array.isArray(token.bytes) ? token.bytes : [...encoder.encode(token.text)]);

const decode = (bytes) => {
    try {
        return strict.decode(new Uint8Array(bytes));
    } catch {
        return null;
    }
};

/**
 * Groups tokens into whole characters: `{begin, end, text}`; `text` is null if the bytes are not valid UTF-8. A group
 * of more than one token is text that was split within a character.
 */
export function groups(tokens) {
    const found = [];
    let begin = 0;
    while (begin < tokens.length) {
        const bytes = [];
        let group = { begin, end: begin + 1, text: null };
        for (let end = begin + 1; end <= Math.min(tokens.length, begin + LONGEST); end += 1) {
            bytes.push(...bytesOf(tokens[end - 1]));
            const text = decode(bytes);
            if (text !== null) {
                group = { begin, end, text };
                break;
            }
        }
        found.push(group);
        begin = group.end;
    }
    return found;
}

const hex = (bytes) => bytes.map((byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join(" ");

/** A token's text with spaces and line ends made visible, or its bytes if it is not valid text. */
export function visible(token) {
    const text = decode(bytesOf(token));
    if (text === null) return hex(bytesOf(token));
    return text.replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "⇥") || "∅";
}

/** A token's text in quotation marks, for use in sentences. */
export const quoted = (token) => {
    const text = decode(bytesOf(token));
    return text === null ? hex(bytesOf(token)) : `“${text.replaceAll("\n", "↵")}”`;
};

/**
 * The tokens of a text as chips, in a list that is a single tab stop (arrow keys move within it). `choose` is called
 * with the index of a chosen token; `ids` shows token ids; `paint(node, index)` colours a chip, which otherwise has one
 * of six colours. Returns `{node, select(index), chips}`.
 */
export function chips(tokens, { choose, ids = true, paint = null, label }) {
    const all = [];
    let selected = -1;
    const chip = (index) => {
        const token = tokens[index];
        const partial = decode(bytesOf(token)) === null;
        const name = { index: index + 1, text: partial ? t("bytes_part", { bytes: hex(bytesOf(token)) }) : token.text };
        const node = el(
            "button.chip",
            {
                type: "button",
                tabindex: index === 0 ? 0 : -1,
                "aria-label": t("token_label", { ...name, id: token.id ?? "–" }),
                title: partial ? name.text : null,
                onclick: () => choose(index),
            },
            el(partial ? "span.text.bytes" : "span.text", {}, visible(token)),
            ids && token.id !== undefined && el("span.id", {}, String(token.id)),
        );
        if (paint) paint(node, index);
        else node.classList.add(`hue${index % 6}`);
        all[index] = node;
        return node;
    };
    const node = el("div.chips", { role: "group", "aria-label": label }, groups(tokens).map(({ begin, end, text }) => {
        const inner = Array.from({ length: end - begin }, (_, offset) => chip(begin + offset));
        const line = text?.includes("\n") ? el("span.newline") : null;
        if (inner.length === 1) return [inner[0], line];
        const title = t("parts_of", { count: inner.length });
        return [el("span.whole", { title }, el("span.character", {}, text), el("span", {}, inner)), line];
    }));
    node.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        const at = all.indexOf(document.activeElement);
        const to = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : at + (step ?? NaN);
        if (at < 0 || !all[to]) return;
        event.preventDefault();
        all[to].focus();
        choose(to);
    });
    const select = (index) => {
        all[selected]?.classList.remove("selected");
        all[selected]?.removeAttribute("aria-pressed");
        all.forEach((chip, other) => (chip.tabIndex = other === Math.max(0, index) ? 0 : -1));
        selected = index;
        all[index]?.classList.add("selected");
        all[index]?.setAttribute("aria-pressed", "true");
    };
    return { node, select, chips: all };
}
