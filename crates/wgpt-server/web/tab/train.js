// Train: a text, a size, and a model that learns the text while the visitor watches.

import { dialog } from "../dialog.js";
import { announce, el, perFrame } from "../dom.js";
import { notice } from "../notice.js";
import { ago, compact, number, short } from "../words.js";
import { downloadButton } from "./files.js";
import { busy, goOn, hasModel, model, onRun, pause, resume, run, start, write } from "./learning.js";
import { lossBoard } from "./losses.js";
import { machine, onMachine } from "./machine.js";
import { offer, withdraw } from "./models.js";
import { progress } from "./progress.js";
import { recipePanel } from "./recipe.js";
import { samplePanel } from "./samples.js";
import { forgetRun, keptRun } from "./shelf.js";
import { census, opening, text, textPanel } from "./text.js";

/** Number of recent steps over which the pace is measured. */
const RECENT = 20;

/** The view. */
export function trainView() {
    const problem = el("div.problem");
    const failed = (error) => problem.replaceChildren(notice(error));
    const offers = el("div.offers");
    const recipe = recipePanel();
    const texts = textPanel(() => {
        if (text.content === null) return draw();
        recipe.tell(census(text.content).different);
        samples.suggest(opening(text.content, text.own));
        return draw();
    }, failed);
    const samples = samplePanel(() => write().catch(failed));
    const board = lossBoard(() => run, failed);
    const going = progress();
    const facts = el("ul.facts");
    const begin = el("button.primary", { type: "button", onclick: startAsked });
    const hold = el("button.primary", { type: "button" });
    const file = downloadButton("Download the model (.gguf)", () => `wgpt-step-${run.step}.gguf`, async () => [await model()], failed);
    const setup = el("details.setup", { open: true }, el("summary", {}, "Text and size"), el("div.chooses", {}, texts.node, recipe.node));
    const controls = el("div.row.starts", {}, begin, hold, file);
    const results = el("div.results", { hidden: true }, el("section.panel", { "aria-label": "Progress" }, facts, board.node), samples.node);
    const node = el(
        "section.view",
        { id: "train", "aria-labelledby": "traintitle" },
        el("header.viewhead", {}, el("div", {}, el("h1", { id: "traintitle" }, "Train a GPT"), el("p", {}, "It starts from nothing and learns to write like the text that you give it, in this tab, on your GPU."))),
        offers,
        setup,
        problem,
        controls,
        going.node,
        results,
    );

    function begins() {
        problem.replaceChildren();
        offers.replaceChildren();
        let settings;
        try {
            settings = recipe.settings();
        } catch (error) {
            failed(error);
            node.querySelector("details.more").open = true;
            return;
        }
        samples.suggest(opening(text.content, text.own));
        start(text.content, settings);
    }

    /** A new run replaces the stored one, so the visitor is asked first. */
    async function startAsked() {
        const kept = await keptRun();
        if (!kept || kept.step === 0) {
            begins();
            return;
        }
        const sure = el("button.primary", { type: "button" }, "Start anew");
        const box = dialog("Start anew?", [
            el("p", {}, `The run that this browser keeps (step ${kept.step} of ${kept.of}) is replaced by the new one.`),
            el("div.row", {}, sure),
        ]);
        sure.addEventListener("click", () => {
            box.close();
            begins();
        });
        sure.focus();
    }

    /** Offers to resume a run stored by an earlier visit. */
    async function offerKept() {
        const kept = await keptRun();
        if (!kept || run.phase !== "none") return;
        const go = el("button.primary", { type: "button", onclick: () => {
            offers.replaceChildren();
            resume();
        } }, `Go on from step ${kept.step}`);
        const forget = el("button.quiet", { type: "button", onclick: async () => {
            await forgetRun();
            offers.replaceChildren();
        } }, "Forget it");
        const what = `A run is kept in this browser: step ${kept.step} of ${kept.of}, ${compact(kept.parameters)} parameters, ${ago(kept.time)}.`;
        offers.replaceChildren(el("div.panel.offer", {}, el("p", {}, what), el("div.row", {}, go, forget)));
    }

    /** What to do after a lost device: the step reached, the step stored, and a button that resumes from there. */
    function lost() {
        const kept = run.kept !== null;
        const rest = kept ? `The checkpoint of step ${run.kept} is kept in this browser.` : "Nothing had been kept yet: start again.";
        const words = `The GPU was lost at step ${run.step}. ${rest} (${run.why})`;
        const go = kept && el("button.primary", { type: "button", onclick: () => {
            problem.replaceChildren();
            resume();
        } }, `Go on from step ${run.kept}`);
        const shown = notice(words);
        if (go) shown.append(go);
        problem.replaceChildren(shown);
        go?.focus();
    }

    let unpaced = true;

    const draw = perFrame(() => {
        const open = machine.state === "open";
        const { phase } = run;
        begin.textContent = phase === "none" ? "Start" : "Start anew";
        begin.hidden = busy();
        begin.disabled = !open || !text.content;
        begin.className = ["none", "failed"].includes(phase) ? "primary" : "quiet";
        hold.hidden = !["preparing", "running", "pausing", "paused"].includes(phase);
        hold.textContent = phase === "paused" ? "Go on" : phase === "pausing" ? "Pausing" : "Pause";
        hold.disabled = ["preparing", "pausing"].includes(phase) || !open;
        hold.onclick = phase === "paused" ? () => goOn() : pause;
        file.hidden = !hasModel() || run.step === 0;
        results.hidden = run.about === null;
        drawFacts();
    });

    function drawFacts() {
        if (!run.about) return;
        const { parameters, vocabulary, training_tokens: tokens } = run.about;
        const recent = run.steps.slice(-RECENT);
        const seconds = recent.reduce((sum, one) => sum + one.seconds, 0);
        const { tokens_per_step: each } = run.about;
        const pace = seconds > 0 ? (recent.length * each) / seconds : null;
        const all = [
            ["Step", `${run.step} of ${run.about.steps}`],
            ["Parameters", compact(parameters)],
            ["Tokens to learn from", number(tokens)],
            ["Tokens per second", pace === null ? "–" : number(pace)],
            ["A blind guess's loss", `${short(Math.log(vocabulary))}, of ${number(vocabulary)} tokens`],
            ["Kept in this browser", run.trouble || (run.kept === null ? "not yet" : `step ${run.kept}`)],
        ];
        facts.replaceChildren(...all.map(([name, value]) => el("li", {}, el("span.quieter", {}, name), el("strong", {}, value))));
    }

    onRun((what, ...more) => {
        draw();
        if (["step", "held"].includes(what)) board.draw();
        if (what === "step" && run.phase === "running") {
            const doing = `Step ${run.step} of ${run.about.steps}`;
            // The first step compiles kernels and says nothing about the pace.
            if (unpaced) going.begin(doing, run.about.steps, run.step);
            else going.set(run.step, { what: doing });
            unpaced = false;
        }
        if (what === "tune") going.set(more[1], { what: `Timing kernels: ${more[0]}`, total: more[2] });
        if (what === "kept" && hasModel()) offerTrained();
        if (what === "phase") changed();
    });

    function changed() {
        const { phase } = run;
        if (phase === "preparing") {
            // Closes the setup panel to make room for the run.
            setup.open = false;
            going.begin("Making the model ready");
        }
        if (phase === "running") {
            unpaced = true;
            going.begin("The first step: kernels are compiled");
        }
        if (["paused", "done", "lost", "failed"].includes(phase)) going.end();
        if (phase === "failed") {
            failed(run.why);
            setup.open = run.step === 0;
        }
        if (phase === "lost") lost();
        if (["preparing", "lost", "failed"].includes(phase)) withdraw("trained");
        const said = { running: "Training.", paused: `Paused at step ${run.step}.`, done: `Done after ${run.step} steps.` }[phase];
        if (said) announce(said);
        board.draw();
    }

    function offerTrained() {
        offer("trained", "The model that was just trained", () => model(), {
            stamp: () => `step ${run.step}`,
            prompts: () => beginnings(run.text),
        });
    }

    onMachine(draw);
    draw();
    return { node, ready: () => Promise.all([texts.useBuiltIn(), offerKept()]) };
}

/** The beginnings of a few lines of a text. */
function beginnings(content) {
    const lines = content.slice(0, 200000).split(/\r?\n/).map((line) => line.trim()).filter((line) => line.length > 12);
    const stride = Math.max(1, Math.floor(lines.length / 8));
    const cut = (line) => [...line].slice(0, 16).join("").replace(/\s+\S*$/, "");
    return lines.filter((_, index) => index % stride === 0).slice(0, 8).map(cut).filter((line) => line !== "");
}
