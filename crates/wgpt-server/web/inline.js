// Markdown within a line: code, strong, emphasis, strike-through, links. Creates DOM nodes; HTML in the text stays
// text.

import { el } from "./dom.js";

const MARKS = [
    ["**", "strong"],
    ["__", "strong"],
    ["~~", "del"],
    ["*", "em"],
    ["_", "em"],
];
const SPECIAL = /[\\`*_~![]|https?:\/\//g;
const URL_END = /[\s<>"'`）」』，。；！？、]/;
const WORD = /[\p{L}\p{N}]/u;

/** Markup nested deeper than this is shown as plain text. */
const DEPTH = 6;

/** The nodes of a text. */
export function inline(text, depth = 0) {
    const nodes = [];
    let plain = "";
    const flush = () => {
        if (plain) nodes.push(plain);
        plain = "";
    };
    // Marks that have no end further on. They are searched for once, not at each occurrence.
    const endless = new Set();
    let at = 0;
    while (at < text.length) {
        SPECIAL.lastIndex = at;
        const found = depth < DEPTH ? SPECIAL.exec(text) : null;
        if (!found) {
            plain += text.slice(at);
            break;
        }
        plain += text.slice(at, found.index);
        at = found.index;
        const made = one(text, at, depth, endless);
        if (made) {
            if (made.node) {
                flush();
                nodes.push(made.node);
            }
            plain += made.text ?? "";
            at = made.end;
        } else {
            plain += text[at];
            at += 1;
        }
    }
    flush();
    return nodes;
}

/** The markup that begins at `at`: `{node or text, end}`, or null if it is an ordinary character. */
function one(text, at, depth, endless) {
    const letter = text[at];
    if (letter === "\\" && /[\\`*_~[\]()#+\-.!|>]/.test(text[at + 1] ?? "")) return { text: text[at + 1], end: at + 2 };
    if (letter === "`") return code(text, at, endless);
    if (letter === "!" && text[at + 1] === "[") return link(text, at + 1, depth);
    if (letter === "[") return link(text, at, depth);
    if (letter === "h") return bare(text, at);
    for (const [mark, tag] of MARKS) {
        if (!text.startsWith(mark, at) || endless.has(mark)) continue;
        const begin = at + mark.length;
        // An underscore within a word is part of the word.
        if (mark[0] === "_" && WORD.test(text[at - 1] ?? "")) continue;
        if (/^\s|^$/.test(text.slice(begin, begin + 1))) continue;
        const end = closing(text, begin, mark);
        if (end < 0) {
            endless.add(mark);
            continue;
        }
        return { node: el(tag, {}, inline(text.slice(begin, end), depth + 1)), end: end + mark.length };
    }
    return null;
}

/** The position of the mark that closes another: not after a space, and a single star is not half of a double one. */
function closing(text, begin, mark) {
    for (let end = text.indexOf(mark, begin); end >= 0; end = text.indexOf(mark, end + 1)) {
        const doubled = mark.length === 1 && (text[end + 1] === mark || text[end - 1] === mark);
        const inWord = mark[0] === "_" && WORD.test(text[end + mark.length] ?? "");
        if (end > begin && !/\s/.test(text[end - 1]) && !doubled && !inWord) return end;
    }
    return -1;
}

function code(text, at, endless) {
    const fence = /^`+/.exec(text.slice(at, at + 16))[0];
    if (endless.has(fence)) return null;
    const end = text.indexOf(fence, at + fence.length);
    if (end < 0) {
        endless.add(fence);
        return { text: fence, end: at + fence.length };
    }
    return { node: el("code", {}, text.slice(at + fence.length, end).trim()), end: end + fence.length };
}

function link(text, at, depth) {
    const parts = /^\[([^\]\n]{0,400})\]\(\s*(\S{0,2000}?)(?:\s+"[^"\n]*")?\s*\)/.exec(text.slice(at, at + 2600));
    if (!parts) return null;
    const [whole, label, address] = parts;
    const safe = web(address);
    // Links other than http and https (javascript:, data:, file:) are shown as plain text.
    if (!safe) return { text: whole, end: at + whole.length };
    return { node: anchor(safe, inline(label || address, depth + 1)), end: at + whole.length };
}

function bare(text, at) {
    let address = text.slice(at, at + 2000).split(URL_END, 1)[0];
    address = address.replace(/[.,;:!?*_~)\]]+$/, "");
    const safe = web(address);
    return safe ? { node: anchor(safe, [address]), end: at + address.length } : null;
}

function web(address) {
    try {
        const url = new URL(address);
        return ["http:", "https:"].includes(url.protocol) ? url.href : null;
    } catch {
        return null;
    }
}

const anchor = (href, children) => el("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, children);
