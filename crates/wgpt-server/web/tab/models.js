// The models that can be talked with and reinforced: the one that ships with the page, and those made or opened here.

import { el } from "../dom.js";
import { fetched } from "./fetched.js";

/** By key: `{key, name, stamp(), bytes(report), prompts}`. Where the stamp changes, the model is another one by now. */
const models = new Map();
const hearers = new Set();

/**
 * Offers a model, in place of one with the same key. `bytes(report)` gives a GGUF file, in an array that the caller may
 * keep; `prompts()` what to begin a text with, null for a model that answers.
 */
export function offer(key, name, bytes, { stamp = () => key, prompts = () => null } = {}) {
    models.set(key, { key, name, bytes, stamp, prompts });
    hearers.forEach((hear) => hear());
}

/** Takes an offer back. */
export function withdraw(key) {
    if (models.delete(key)) hearers.forEach((hear) => hear());
}

/** Offers a file of the visitor's, and gives its key. */
export function offerFile(file) {
    offer("file", file.name, async () => new Uint8Array(await file.arrayBuffer()), { stamp: () => `${file.name} ${file.lastModified}` });
    return "file";
}

let shipped = null;
offer("talker", "Talker, ships with this page", async (report) => {
    shipped ??= await fetched(new URL("./talker.gguf", import.meta.url), report);
    return shipped.slice();
});

/** A field that chooses a model, none of `except`; `chosen(model)` hears of it. Gives `{node, model(), pick(key)}`. */
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
