// Attention as images: a small one per layer and head, and a large one of the chosen head.

import { el } from "./dom.js";
import { percent, t } from "./words.js";
import { quoted } from "./tokens.js";

/** Maximum number of rows in a small image; longer texts show the strongest of neighbouring cells. */
const SMALL = 36;

/** Attention as received: bytes (255 means 1) in [layers, heads, T, T]; row t is what token t attends to. */
export class Attention {
    constructor({ attention, layers, heads, tokens }) {
        this.bytes = decode(attention);
        Object.assign(this, { layers, heads, tokens, length: Math.round(Math.sqrt(this.bytes.length / layers / heads)) });
    }

    /** How much token `from` attends to token `to`, 0 to 1. */
    at(layer, head, from, to) {
        return this.bytes[((layer * this.heads + head) * this.length + from) * this.length + to] / 255;
    }
}

/** Decodes base64; long texts have millions of bytes. */
function decode(text) {
    const letters = atob(text);
    const bytes = new Uint8Array(letters.length);
    for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
    return bytes;
}

/** How strongly a byte of attention is drawn: the square root makes weak attention visible. */
const STRENGTH = Uint8Array.from({ length: 256 }, (_, byte) => Math.round(Math.sqrt(byte / 255) * 255));

/** Draws a head, `size` cells square, in a colour of `[red, green, blue]`. */
function draw(canvas, attention, layer, head, size, [red, green, blue]) {
    const { length, bytes } = attention;
    canvas.width = size;
    canvas.height = size;
    const context = canvas.getContext("2d");
    const image = context.createImageData(size, size);
    const { data } = image;
    const cells = Array.from({ length }, (_, index) => Math.floor((index * size) / length));
    let row = (layer * attention.heads + head) * length * length;
    for (let y = 0; y < length; y += 1, row += length) {
        for (let x = 0; x <= y; x += 1) {
            const at = (cells[y] * size + cells[x]) * 4 + 3;
            const strength = STRENGTH[bytes[row + x]];
            if (strength > data[at]) data[at] = strength;
        }
    }
    for (let at = 0; at < data.length; at += 4) {
        data[at] = red;
        data[at + 1] = green;
        data[at + 2] = blue;
    }
    context.putImageData(image, 0, 0);
}

/** The colour that the style sheet gives a node, as bytes, in whatever notation it is written. */
function colour(node) {
    const probe = document.createElement("canvas").getContext("2d");
    probe.fillStyle = getComputedStyle(node).color;
    probe.fillRect(0, 0, 1, 1);
    return probe.getImageData(0, 0, 1, 1).data;
}

/** The images of all heads, layers from left to right. `choose(layer, head)` is called when one is chosen. */
export function heads(attention, choose) {
    const cells = [];
    let chosen = null;
    const size = Math.min(attention.length, SMALL);
    const columns = Array.from({ length: attention.layers }, (_, layer) => el(
        "div.layer",
        {},
        el("span.number", { "aria-hidden": "true" }, String(layer)),
        Array.from({ length: attention.heads }, (_, head) => {
            const label = t("layer_head", { layer, head });
            const options = { type: "button", tabindex: -1, "aria-label": label, title: label, onclick: () => choose(layer, head) };
            const cell = el("button.cell", options, el("canvas"));
            cells.push(cell);
            return cell;
        }),
    ));
    const node = el("div.heads", { role: "group", "aria-label": t("attention_title") }, columns);
    const place = (layer, head) => cells[layer * attention.heads + head];
    const select = (layer, head) => {
        chosen?.classList.remove("selected");
        if (chosen) chosen.tabIndex = -1;
        chosen = place(layer, head);
        chosen.classList.add("selected");
        chosen.tabIndex = 0;
    };
    node.addEventListener("keydown", (event) => {
        const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
        const at = cells.indexOf(document.activeElement);
        if (!step || at < 0) return;
        const layer = Math.floor(at / attention.heads) + step[0];
        const head = (at % attention.heads) + step[1];
        if (layer < 0 || layer >= attention.layers || head < 0 || head >= attention.heads) return;
        event.preventDefault();
        place(layer, head).focus();
        choose(layer, head);
    });
    const redraw = () => {
        const ink = colour(node);
        cells.forEach((cell, index) => {
            draw(cell.firstChild, attention, Math.floor(index / attention.heads), index % attention.heads, size, ink);
        });
    };
    return { node, select, redraw };
}

/** The chosen head, enlarged; hovering shows which token attends to which, and a click chooses the token. */
export function enlarged(attention, choose) {
    const canvas = el("canvas", { role: "img" });
    const read = el("p.readout", { "aria-live": "off" });
    let shown = [0, 0];
    const cell = (event) => {
        const box = canvas.getBoundingClientRect();
        const along = (value, size) => Math.floor((value / size) * attention.length);
        const from = along(event.clientY - box.top, box.height);
        const to = along(event.clientX - box.left, box.width);
        return from >= 0 && to >= 0 && from < attention.length && to <= from ? [from, to] : null;
    };
    const tell = (from, to) => {
        const names = { from: quoted(attention.tokens[from]), to: quoted(attention.tokens[to]) };
        read.textContent = t("looks_at", { ...names, share: percent(attention.at(...shown, from, to)) });
    };
    canvas.addEventListener("pointermove", (event) => {
        const at = cell(event);
        if (at) tell(...at);
        else read.textContent = "";
    });
    canvas.addEventListener("pointerleave", () => (read.textContent = ""));
    canvas.addEventListener("click", (event) => {
        const at = cell(event);
        if (at) choose(at[0]);
    });
    const redraw = (layer, head) => {
        shown = [layer, head];
        draw(canvas, attention, layer, head, attention.length, colour(canvas));
        canvas.setAttribute("aria-label", t("layer_head", { layer, head }));
        read.textContent = "";
    };
    return { node: el("div.enlarged", {}, canvas, read), redraw };
}
