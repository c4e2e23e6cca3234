// Incremental Markdown as DOM nodes: while a text grows, only its changed blocks are rebuilt, so that nothing flickers
// and selections survive.

import { copy, el } from "./dom.js";
import { icon } from "./icons.js";
import { inline } from "./inline.js";
import { t } from "./words.js";

const FENCE = /^ {0,3}(```+|~~~+)\s*([^`\s]*)/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(?=\S)/;
const QUOTE = /^ {0,3}> ?/;
const DASHES = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

/** Lists and quotes nested deeper than this are shown as plain text. */
const DEPTH = 8;

/** A last block of more characters is not rebuilt with every piece of a growing text. */
const LARGE = 4000;

/**
 * The blocks of a text: `{kind, source, lines, start, ...}`; a block's source changes exactly when its nodes do. `start`
 * is where a block begins, counted from `offset`.
 */
export function blocks(text, offset = 0) {
    const lines = text.split("\n");
    const found = [];
    let at = 0;
    let start = offset;
    const pass = (own) => {
        start += own.length + 1;
        return own;
    };
    const add = (kind, end, more = {}) => {
        const own = lines.slice(at, end);
        found.push({ kind, lines: own, start, source: pass(own.join("\n")), ...more });
        at = end;
    };
    const until = (from, stop) => {
        let end = from;
        while (end < lines.length && !stop(lines[end], end)) end += 1;
        return end;
    };
    while (at < lines.length) {
        const line = lines[at];
        const fence = FENCE.exec(line);
        if (line.trim() === "") {
            pass(line);
            at += 1;
        } else if (fence) {
            const close = until(at + 1, (line) => line.trim().startsWith(fence[1]) && /^\s*[`~]+\s*$/.test(line));
            add("code", Math.min(close + 1, lines.length), { language: fence[2], closed: close < lines.length });
        } else if (HEADING.test(line)) add("heading", at + 1);
        else if (RULE.test(line)) add("rule", at + 1);
        else if (QUOTE.test(line)) add("quote", until(at + 1, (line) => !QUOTE.test(line)));
        else if (ITEM.test(line)) add("list", until(at + 1, endOfList(lines)));
        else if (line.includes("|") && DASHES.test(lines[at + 1] ?? "") && lines[at + 1].includes("-")) {
            add("table", until(at + 2, (line) => !line.includes("|")));
        } else add("paragraph", until(at + 1, interrupts));
    }
    return found;
}

/** A list continues over blank lines if the next line is an item or indented. */
const endOfList = (lines) => (line, index) => {
    if (line.trim() === "") return !/^\s+\S/.test(lines[index + 1] ?? "") && !ITEM.test(lines[index + 1] ?? "");
    const afterBlank = (lines[index - 1] ?? "").trim() === "";
    return !ITEM.test(line) && (FENCE.test(line) || HEADING.test(line) || afterBlank) && !/^\s/.test(line);
};

const interrupts = (line) =>
    line.trim() === "" || [FENCE, HEADING, RULE, QUOTE].some((kind) => kind.test(line)) || ITEM.test(line);

function nodes(text, depth = 0) {
    return blocks(text).map((block) => node(block, depth));
}

function node(block, depth) {
    const { kind, lines, source } = block;
    if (depth >= DEPTH) return el("p", {}, source);
    if (kind === "code") return codeBlock(block);
    if (kind === "rule") return el("hr");
    if (kind === "quote") return el("blockquote", {}, nodes(lines.map((l) => l.replace(QUOTE, "")).join("\n"), depth + 1));
    if (kind === "list") return list(lines, depth);
    if (kind === "table") return table(lines);
    if (kind === "heading") {
        const [, marks, text] = HEADING.exec(source);
        // The page itself uses the first two heading levels.
        return el(`h${Math.min(6, marks.length + 2)}`, {}, inline(text));
    }
    return el("p", {}, inline(lines.map((line) => line.trim()).join("\n")));
}

function codeBlock({ lines, language, closed }) {
    const shown = el("code", {}, lines.slice(1, closed ? -1 : undefined).join("\n"));
    const button = el("button.copy", { type: "button", "aria-label": t("copy_code") }, icon("copy"));
    button.addEventListener("click", async () => {
        if (await copy(shown.textContent)) button.replaceChildren(icon("check"));
        setTimeout(() => button.replaceChildren(icon("copy")), 1500);
    });
    const head = el("div.codehead", {}, el("span", {}, language || t("code")), button);
    return el("div.codeblock", {}, head, el("pre", { tabindex: "0" }, shown));
}

function list(lines, depth) {
    const first = ITEM.exec(lines[0]);
    const indent = first[1].length;
    const items = [];
    for (const line of lines) {
        const item = ITEM.exec(line);
        if (item && item[1].length <= indent + 1) items.push({ width: item[0].length, lines: [line.slice(item[0].length)] });
        else items.at(-1).lines.push(line.slice(Math.min(items.at(-1).width, /^\s*/.exec(line)[0].length)));
    }
    const ordered = /\d/.test(first[2]);
    const attributes = ordered && first[2] !== "1." ? { start: parseInt(first[2], 10) } : {};
    return el(ordered ? "ol" : "ul", attributes, items.map((item) => {
        const inner = nodes(item.lines.join("\n"), depth + 1);
        // An item of a tight list is plain text without a paragraph.
        return el("li", {}, inner[0]?.tagName === "P" ? [...inner[0].childNodes, ...inner.slice(1)] : inner);
    }));
}

function table(lines) {
    const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());
    const aligned = cells(lines[1]).map((dashes) => (/^:.*:$/.test(dashes) ? "center" : /:$/.test(dashes) ? "end" : "start"));
    const row = (line, tag) => el("tr", {}, cells(line).map((cell, index) => {
        return el(tag, { class: aligned[index] ?? "start" }, inline(cell.replaceAll("\\|", "|")));
    }));
    const body = el("tbody", {}, lines.slice(2).map((line) => row(line, "td")));
    return el("div.tablebox", { tabindex: "0" }, el("table", {}, el("thead", {}, row(lines[0], "th")), body));
}

/** A text node at the end of a block's nodes, for text that is not built into the block yet. */
function tailOf(made, { kind, source }) {
    const places = made.querySelectorAll(kind === "code" ? "code" : "p, li, td");
    // Building a line drops the spaces at its end.
    const tail = document.createTextNode(kind === "code" ? "" : /\s*$/.exec(source)[0]);
    (places[places.length - 1] ?? made).append(tail);
    return tail;
}

/**
 * Shows a growing text in `root`. Returns a function to call with the whole text so far, and whether it is complete.
 *
 * The work is proportional to the text's final length. More text can change the last two blocks only (the last may turn
 * out to go on with the list before it), so only they are read again. A last block that is already large gets further
 * text as it is, and is rebuilt when it has grown by a quarter, or is finished.
 */
export function growing(root) {
    let before = "";
    const shown = [];
    return (text, complete = true) => {
        if (!text.startsWith(before)) shown.length = 0;
        before = text;
        const old = shown.splice(Math.max(0, shown.length - 2));
        const start = old[0]?.start ?? 0;
        const next = blocks(text.slice(start), start);
        next.forEach((block, index) => {
            const was = old[index];
            const grows = !complete && index === next.length - 1;
            const goesOn = was?.kind === block.kind && block.source.startsWith(was.source);
            const more = goesOn ? block.source.slice(was.source.length) : "";
            const place = root.childNodes[shown.length];
            if (goesOn && more === "" && (grows || !was.tail)) shown.push(was);
            else if (goesOn && grows && was.built > LARGE && block.source.length < was.built * 1.25) {
                const tail = was.tail ?? tailOf(place, was);
                tail.appendData(more);
                shown.push({ ...block, tail, built: was.built });
            } else {
                const made = node(block, 0);
                if (place) place.replaceWith(made);
                else root.append(made);
                shown.push({ ...block, built: block.source.length });
            }
        });
        while (root.childNodes.length > shown.length) root.lastChild.remove();
    };
}

/** Renders a finished text. */
export function markdown(text) {
    const root = el("div.prose");
    growing(root)(text);
    return root;
}
