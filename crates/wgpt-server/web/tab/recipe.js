// The model's size and the training settings: three presets, and every setting for those who want it.

import { el } from "../dom.js";
import { compact } from "../words.js";

const COMMON = { lr: 1e-3, seed: 1337, tokenizer: "char", vocabulary: 512, family: "gpt2" };
const SIZES = {
    tiny: { words: "a minute or so, even without a real GPU", layers: 2, heads: 2, width: 64, context: 64, batch: 8, steps: 300, every: 50, tune: false },
    small: { words: "learns to write words; minutes on a laptop's GPU", layers: 4, heads: 4, width: 128, context: 128, batch: 12, steps: 1500, every: 150, tune: true },
    medium: { words: "nanoGPT's size for Shakespeare; needs a real GPU", layers: 6, heads: 6, width: 384, context: 256, batch: 32, steps: 3000, every: 250, tune: true },
};

const FIELDS = [
    ["layers", "Layers", 1, 48],
    ["heads", "Heads", 1, 48],
    ["width", "Width", 8, 2048],
    ["context", "Context, in tokens", 4, 2048],
    ["batch", "Windows per step", 1, 512],
    ["steps", "Steps", 1, 1000000],
    ["lr", "Learning rate", 0, 1],
    ["seed", "Seed", 0, 2 ** 31],
    ["every", "Steps between samples", 1, 1000000],
    ["vocabulary", "BPE tokens", 257, 50000],
];

/** The approximate number of parameters of a model. */
export function parameters({ layers, width, context, family }, vocabulary) {
    const block = 12 * width * width + 2 * width;
    return vocabulary * width + (family === "gpt2" ? context * width : 0) + layers * block + width;
}

/** The panel: `{node, settings(), tell(different)}`; `tell` passes the number of distinct characters in the text. */
export function recipePanel() {
    const inputs = {};
    let different = 90;
    let every = SIZES.tiny.every;
    const field = ([name, label, min, max]) => {
        inputs[name] = el("input", { type: "number", id: `set-${name}`, min, max, step: name === "lr" ? "any" : 1, required: true });
        return el("label.labelled", { for: `set-${name}` }, el("span", {}, label), inputs[name]);
    };
    const choice = (name, label, options) => {
        inputs[name] = el("select", { id: `set-${name}` }, options.map(([value, text]) => el("option", { value }, text)));
        return el("label.labelled", { for: `set-${name}` }, el("span", {}, label), inputs[name]);
    };
    const fields = el(
        "div.fields",
        {},
        FIELDS.map(field),
        choice("tokenizer", "Tokens", [["char", "characters"], ["bpe", "BPE, learned from the text"]]),
        choice("family", "Family", [["gpt2", "GPT-2"], ["llama", "Llama"]]),
    );
    inputs.tune = el("input", { type: "checkbox", id: "set-tune" });
    const radios = Object.entries(SIZES).map(([name, size]) => {
        const radio = el("input", { type: "radio", name: "size", value: name, checked: name === "tiny" });
        radio.addEventListener("change", () => fill(size));
        const count = el("span.count");
        return { node: el("label.size", {}, radio, el("strong", {}, name), count, el("span.quieter", {}, size.words)), count, size };
    });
    const node = el(
        "section.panel",
        { "aria-labelledby": "sizetitle" },
        el("h2", { id: "sizetitle" }, "2. A size"),
        el("div.sizes", { role: "radiogroup", "aria-labelledby": "sizetitle" }, radios.map((one) => one.node)),
        el(
            "details.more",
            {},
            el("summary", {}, "All settings"),
            fields,
            el("label.check", {}, inputs.tune, "Time the kernels' variants first (some seconds), and use the fastest"),
        ),
    );

    function fill(size) {
        for (const [name, value] of Object.entries({ ...COMMON, ...size })) {
            if (name === "tune") inputs.tune.checked = value;
            else if (inputs[name]) inputs[name].value = value;
        }
        every = size.every;
    }

    function draw() {
        const bpe = inputs.tokenizer.value === "bpe";
        inputs.vocabulary.disabled = !bpe;
        const vocabulary = bpe ? Number(inputs.vocabulary.value) : different;
        radios.forEach(({ count, size }) => {
            count.textContent = `${compact(parameters({ ...size, family: inputs.family.value }, vocabulary))} parameters`;
        });
    }

    fields.addEventListener("input", draw);
    fill(SIZES.tiny);
    draw();
    return {
        node,
        /** The current settings; throws with a message if a field has no valid number. */
        settings: () => {
            const found = { tokenizer: inputs.tokenizer.value, family: inputs.family.value };
            for (const [name, label, min, max] of FIELDS) {
                const value = Number(inputs[name].value);
                const fine = inputs[name].value.trim() !== "" && value >= min && value <= max && (name === "lr" ? value > 0 : Number.isInteger(value));
                if (!fine && !inputs[name].disabled) throw new Error(`${label}: enter ${name === "lr" ? `a number above 0, at most ${max}` : `a whole number from ${min} to ${max}`}.`);
                found[name] = value;
            }
            const { every: samples, ...settings } = found;
            return { settings, every: samples || every, tune: inputs.tune.checked };
        },
        tell: (count) => {
            different = Math.max(2, count);
            draw();
        },
    };
}
