// Training: the runs, their curves in shared charts, and the texts that the model wrote during training.

import { chart } from "./chart.js";
import { el } from "./dom.js";
import { empty, notice, viewHead } from "./notice.js";
import { curve, keys, samples, watch } from "./runs.js";
import { ago, short, t } from "./words.js";

/** Which metrics are shown in which chart. */
const MAIN = [
    ["chart_loss", ["train_loss", "val_loss"]],
    ["chart_reward", ["score", "chosen_reward", "rejected_reward", "margin"]],
    ["chart_kl", ["kl"]],
    ["chart_beta", ["beta"]],
    ["chart_accuracy", ["accuracy", "val_accuracy"]],
];
const MORE = [
    ["chart_entropy", ["entropy"]],
    ["chart_length", ["response_length"]],
    ["chart_repetition", ["repetition"]],
    ["chart_policy", ["policy_loss", "value_loss"]],
    ["chart_clip", ["clip_fraction", "approx_kl"]],
    ["chart_gradient", ["gradient_norm"]],
    ["chart_rate", ["learning_rate"]],
    ["chart_speed", ["tokens_per_second"]],
];
const COLOURS = 6;

/**
 * The current choices, which survive leaving the view. `chosen` are names in the order of choosing, one colour each.
 */
const state = { chosen: null, list: null, logarithmic: false, smooth: 0, more: false, sampleOf: null, sampleAt: null };

/** Shows the view. */
export function show(main) {
    const body = el("div.training");
    const problem = el("div");
    main.append(viewHead("training"), problem, body);
    const charts = new Map();
    const list = el("div.runlist", { role: "group", "aria-label": t("runs") });
    const board = el("div.charts");
    const shown = el("div.board");
    const sample = el("section.panel.samples");
    const hover = (step) => charts.forEach((one) => one.read(step));
    const watching = watch(() => [...(state.chosen?.keys() ?? [])], told, (error) => {
        problem.replaceChildren(notice(error, () => watching.ask()));
    });

    function told(runs) {
        state.list = runs;
        problem.replaceChildren();
        if (runs.length === 0) {
            body.replaceChildren(empty(t("no_runs"), t("no_runs_text"), ["wgpt pretrain --out runs/shakespeare", "wgpt sft --model model.gguf --data data/chats.jsonl --out runs/tuned --lora-rank 8"]));
            return;
        }
        if (!state.chosen) {
            const newest = [...runs].sort((one, other) => other.changed - one.changed);
            const live = newest.filter((one) => one.running);
            state.chosen = new Map((live.length > 0 ? live : newest).slice(0, 3).map(({ name }, index) => [name, index]));
        }
        const names = new Set(runs.map(({ name }) => name));
        [...state.chosen.keys()].filter((name) => !names.has(name)).forEach((name) => state.chosen.delete(name));
        if (!list.isConnected) body.replaceChildren(el("aside.runs", {}, el("h2", {}, t("runs")), list), shown);
        drawList(runs);
        drawCharts();
    }

    function drawList(runs) {
        // The list is redrawn every two seconds; the focus must stay where it was.
        const focused = document.activeElement?.dataset?.run;
        list.replaceChildren(...runs.map(row));
        if (focused !== undefined) list.querySelector(`[data-run="${CSS.escape(focused)}"]`)?.focus();
    }

    function row(one) {
        const colour = state.chosen.get(one.name);
        const choose = () => {
            if (state.chosen.has(one.name)) state.chosen.delete(one.name);
            else {
                const used = new Set(state.chosen.values());
                const free = Array.from({ length: COLOURS }, (_, index) => index).find((index) => !used.has(index));
                state.chosen.set(one.name, free ?? state.chosen.size % COLOURS);
            }
            told(state.list);
            watching.ask();
        };
        const at = one.step ?? 0;
        const step = one.steps ? t("step_of", { step: at, steps: one.steps }) : t("step", { step: at });
        const doing = one.running ? el("span.live", {}, t("running")) : el("span", {}, t("finished", { when: ago(one.changed) }));
        const main = ["val_loss", "score", "train_loss", "accuracy"].find((key) => Number.isFinite(one.last?.[key]));
        return el(
            "button.run",
            { type: "button", "aria-pressed": String(colour !== undefined), "data-run": one.name, onclick: choose },
            el(`span.swatch${colour === undefined ? "" : `.series${colour}`}`),
            el("span.runname", {}, one.name),
            el("span.runstate", {}, one.stage && el("span.stage", {}, one.stage), doing),
            el("span.runstep", {}, step),
            main && el("span.runlast", {}, `${main} ${short(one.last[main])}`),
            one.running && one.steps && progress(at / one.steps),
        );
    }

    function drawCharts() {
        if (state.chosen.size === 0) {
            shown.replaceChildren(el("p.quieter.pickone", {}, t("pick_run")));
            return;
        }
        if (!board.isConnected) shown.replaceChildren(controls(), board, sample);
        const has = new Set([...state.chosen.keys()].flatMap((name) => [...keys(name)]));
        const wanted = [...MAIN, ...(state.more ? MORE : [])].filter(([, group]) => group.some((key) => has.has(key)));
        const order = wanted.map(([title]) => title);
        for (const [title, one] of charts) if (!order.includes(title)) {
            one.node.remove();
            charts.delete(title);
        }
        wanted.forEach(([title, group], index) => {
            if (!charts.has(title)) charts.set(title, chart(t(title), hover));
            const one = charts.get(title);
            if (board.children[index] !== one.node) board.insertBefore(one.node, board.children[index] ?? null);
            one.set(series(group, has), { logarithmic: state.logarithmic, smooth: state.smooth });
        });
        drawSample();
    }

    /**
     * For one run, a colour for each metric. For several, a colour for each run and dashes for its second and third
     * metric.
     */
    function series(group, has) {
        const present = group.filter((key) => has.has(key));
        const alone = state.chosen.size === 1;
        return [...state.chosen].flatMap(([name, colour]) => present.map((key, index) => ({
            name: alone ? key : present.length === 1 ? name : `${name} ${key}`,
            colour: alone ? (colour + index) % COLOURS : colour,
            dash: alone ? 0 : Math.min(2, index),
            points: curve(name, key),
        }))).filter(({ points }) => points.length > 0);
    }

    function controls() {
        const box = el("input", { type: "checkbox", checked: state.logarithmic });
        box.addEventListener("change", () => {
            state.logarithmic = box.checked;
            drawCharts();
        });
        const smooth = el("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: state.smooth });
        smooth.addEventListener("input", () => {
            state.smooth = Number(smooth.value);
            drawCharts();
        });
        const more = el("button.quiet", { type: "button", "aria-expanded": String(state.more) }, t(state.more ? "fewer_charts" : "more_charts"));
        more.addEventListener("click", () => {
            state.more = !state.more;
            more.textContent = t(state.more ? "fewer_charts" : "more_charts");
            more.setAttribute("aria-expanded", String(state.more));
            drawCharts();
        });
        return el(
            "div.controls",
            {},
            el("label.check", {}, box, t("logarithmic")),
            el("label.check", {}, t("smooth"), smooth),
            more,
        );
    }

    /** The sample at the chosen step, or the newest if no step was chosen. */
    function drawSample() {
        const names = [...state.chosen.keys()].filter((name) => samples(name).length > 0);
        if (!names.includes(state.sampleOf)) Object.assign(state, { sampleOf: names[0] ?? null, sampleAt: null });
        const all = state.sampleOf === null ? [] : samples(state.sampleOf);
        const index = state.sampleAt === null ? all.length - 1 : Math.min(state.sampleAt, all.length - 1);
        const now = JSON.stringify([names, state.sampleOf, index, all.length, all[index]]);
        if (sample.dataset.now === now) return;
        sample.dataset.now = now;
        const one = all[index];
        if (!one) {
            sample.replaceChildren(el("h2", {}, t("samples")), el("p.quieter", {}, t("no_samples")));
            return;
        }
        const pick = el("select", { "aria-label": t("runs") }, names.map((name) => el("option", { value: name }, name)));
        pick.value = state.sampleOf;
        pick.addEventListener("change", () => {
            Object.assign(state, { sampleOf: pick.value, sampleAt: null });
            drawSample();
        });
        const focused = document.activeElement?.classList?.contains("samplestep");
        const slider = el("input.samplestep", { type: "range", min: 0, max: all.length - 1, step: 1, value: index, "aria-label": t("step", { step: one.step }) });
        slider.addEventListener("input", () => {
            state.sampleAt = Number(slider.value) === all.length - 1 ? null : Number(slider.value);
            drawSample();
        });
        const facts = [t("step", { step: one.step }), Number.isFinite(one.score) && `${t("score")} ${short(one.score)}`];
        sample.replaceChildren(
            el("h2", {}, t("samples")),
            el("p.lead", {}, t("samples_text")),
            el("div.samplepick", {}, names.length > 1 ? pick : el("strong", {}, state.sampleOf), slider, el("output", {}, facts.filter(Boolean).join(" · "))),
            el("pre.sample", { tabindex: "0" }, one.text),
        );
        if (focused) slider.focus();
    }

    const watchSize = new ResizeObserver(() => charts.forEach((one) => one.draw()));
    watchSize.observe(board);
    if (state.list) told(state.list);
    return () => {
        watching.stop();
        watchSize.disconnect();
    };
}

const progress = (share) => {
    const bar = el("span.done");
    bar.style.transform = `scaleX(${Math.min(1, share)})`;
    return el("span.progress", { "aria-hidden": "true" }, bar);
};
