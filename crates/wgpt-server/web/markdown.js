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

/** The blocks of a text: `{kind, source, lines, ...}`; a block's source changes exactly when its nodes do. */
export function blocks(text) {
    const lines = text.split("\n");
    const found = [];
    let at = 0;
    const add = (kind, end, more = {}) => {
        const own = lines.slice(at, end);
        found.push({ kind, lines: own, source: own.join("\n"), ...more });
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
        if (line.trim() === "") at += 1;
        else if (fence) {
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
    const text = lines.slice(1, closed ? -1 : undefined).join("\n");
    const button = el("button.copy", { type: "button", "aria-label": t("copy_code") }, icon("copy"));
    button.addEventListener("click", async () => {
        if (await copy(text)) button.replaceChildren(icon("check"));
        setTimeout(() => button.replaceChildren(icon("copy")), 1500);
    });
    const head = el("div.codehead", {}, el("span", {}, language || t("code")), button);
    return el("div.codeblock", {}, head, el("pre", { tabindex: "0" }, el("code", {}, text)));
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

/** Shows a growing text in `root`. Returns a function to call with the whole text so far. */
export function growing(root) {
    let shown = [];
    return (text) => {
        const next = blocks(text);
        let same = 0;
        while (same < shown.length && same < next.length && shown[same].source === next[same].source
            && shown[same].kind === next[same].kind) same += 1;
        while (root.childNodes.length > same) root.lastChild.remove();
        root.append(...next.slice(same).map((block) => node(block, 0)));
        shown = next;
    };
}

/** Renders a finished text. */
export function markdown(text) {
    const root = el("div.prose");
    growing(root)(text);
    return root;
}
