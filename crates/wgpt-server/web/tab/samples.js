// What the model writes during training: the newest sample as it streams, earlier ones by a slider, the next word as
// bars.

import { el, perFrame } from "../dom.js";
import { bars } from "./bars.js";
import { onRun, run } from "./learning.js";

/** The panel; `write()` lets the model write now, if possible. Returns `{node, suggest(beginning)}`. */
export function samplePanel(write) {
    const prompt = el("input", { id: "prompt", autocomplete: "off", value: run.prompt, maxlength: 400 });
    const again = el("button.quiet", { type: "submit" }, "Write");
    const slider = el("input.samplestep", { type: "range", min: 0, max: 0, step: 1, "aria-label": "Which sample" });
    const when = el("output");
    const sample = el("pre.sample", { tabindex: "0", "aria-label": "Sample", "aria-live": "off" });
    const trouble = el("p.quieter.trouble");
    const next = bars();
    const form = el(
        "form.lookrow",
        { onsubmit: (event) => {
            event.preventDefault();
            write();
        } },
        prompt,
        again,
    );
    const node = el(
        "section.panel.samples",
        { "aria-labelledby": "sampletitle" },
        el("h2", { id: "sampletitle" }, "What it writes"),
        el("label.quieter", { for: "prompt" }, "Every few steps it continues this beginning:"),
        form,
        el("div.samplepick", {}, slider, when),
        sample,
        trouble,
        next.node,
    );
    /** The index of the sample shown; null for the newest. */
    let at = null;

    const draw = perFrame(() => {
        const { samples } = run;
        // A resumed run has its own prompt.
        if (document.activeElement !== prompt) prompt.value = run.prompt;
        const index = at === null ? samples.length - 1 : Math.min(at, samples.length - 1);
        const one = samples[index];
        slider.max = Math.max(0, samples.length - 1);
        slider.value = index;
        slider.disabled = samples.length < 2;
        when.textContent = one ? (one.step === 0 ? "before the first step" : `after step ${one.step}`) : "";
        sample.replaceChildren(...(one ? [el("b.begins", {}, one.prompt), one.text] : []));
        trouble.textContent = run.sampleTrouble;
        again.disabled = !["paused", "done"].includes(run.phase);
    });
    slider.addEventListener("input", () => {
        at = Number(slider.value) >= run.samples.length - 1 ? null : Number(slider.value);
        draw();
    });
    prompt.addEventListener("input", () => {
        run.prompt = prompt.value;
        prompt.dataset.own = "true";
    });
    onRun((what) => {
        if (["sample", "piece", "phase"].includes(what)) draw();
        if (what === "phase" && run.phase === "preparing") {
            at = null;
            next.clear();
        }
        if (what !== "next" || !run.next) return;
        const pick = (text) => {
            run.prompt += text;
            draw();
            if (["paused", "done"].includes(run.phase)) write();
        };
        next.show(run.next, { vocabulary: run.about.vocabulary, title: `After “${run.samples.at(-1).prompt.slice(-24)}” may come`, pick });
    });
    draw();
    return {
        node,
        /** Uses the beginning that a text suggests, unless the visitor wrote one. */
        suggest: (beginning) => {
            if (prompt.dataset.own) return;
            run.prompt = beginning;
            draw();
        },
    };
}
