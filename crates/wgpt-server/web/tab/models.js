// The models available for talking and reinforcement: the one that ships with the page, and those made or opened here.

import { el } from "../dom.js";
import { fetched } from "./fetched.js";

/** By key: `{key, name, stamp(), bytes(report), prompts}`. A changed stamp means that the model has changed. */
const models = new Map();
const hearers = new Set();

/**
 * Offers a model, replacing any with the same key. `bytes(report)` returns a GGUF file in an array that the caller may
 * keep; `prompts()` returns beginnings of texts, or null for a chat model.
 */
export function offer(key, name, bytes, { stamp = () => key, prompts = () => null } = {}) {
    models.set(key, { key, name, bytes, stamp, prompts });
    hearers.forEach((hear) => hear());
}

/** Withdraws an offer. */
export function withdraw(key) {
    if (models.delete(key)) hearers.forEach((hear) => hear());
}

/** Offers a file chosen by the visitor, and returns its key. */
export function offerFile(file) {
    offer("file", file.name, async () => new Uint8Array(await file.arrayBuffer()), { stamp: () => `${file.name} ${file.lastModified}` });
    return "file";
}

let shipped = null;
offer("talker", "Talker, ships with this page", async (report) => {
    shipped ??= await fetched(new URL("./talker.gguf", import.meta.url), report);
    return shipped.slice();
});

/**
 * A field to choose a model, without those in `except`; `chosen(model)` is called on changes. Returns `{node, model(),
 * pick(key)}`.
 */
export function modelField(id, label, chosen, except = []) {
    const select = el("select", { id });
    const draw = () => {
        const before = select.value || "talker";
        const shown = [...models.values()].filter(({ key }) => !except.includes(key));
        select.replaceChildren(...shown.map(({ key, name }) => el("option", { value: key }, name)));
        select.value = shown.some(({ key }) => key === before) ? before : "talker";
        if (select.value !== before) chosen(models.get(select.value));
    };
    hearers.add(draw);
    draw();
    select.addEventListener("change", () => chosen(models.get(select.value)));
    return {
        node: el("label.labelled", { for: id }, el("span", {}, label), select),
        model: () => models.get(select.value),
        pick: (key) => {
            select.value = key;
            chosen(models.get(key));
        },
    };
}
