// A training run: its steps, its samples and checkpoints, and how it continues after a pause, a reload or a lost
// device. It does not depend on the page; listeners are told of every change.

import { make, onMachine, open, machine } from "./machine.js";
import { keepRun, takeRun } from "./shelf.js";

/** Number of tokens in a sample. */
const SAMPLE = 160;

/**
 * Minimum seconds between two checkpoints; more if saving is slow, so that it takes at most a twentieth of the time.
 */
const KEEP_EVERY = 8;

/**
 * The run. `phase`: `none`, `preparing`, `running`, `pausing`, `paused`, `done`, `lost`, `failed`. `steps` are the
 * engine's reports of each step, `validations` are `[step, loss]`, `samples` `{step, prompt, text}`, `kept` is the step
 * of the stored checkpoint.
 */
export const run = { phase: "none", about: null, settings: null, every: 50, tune: false, text: "", why: "", prompt: "", ...fresh() };

function fresh() {
    return { step: 0, steps: [], validations: [], samples: [], next: null, kept: null, savedIn: 0, trouble: "", sampleTrouble: "" };
}

let trainer = null;
const hearers = new Set();

/** Listens for `phase`, `step`, `held`, `sample`, `piece`, `next`, `kept`, and `tune` with the tuner's message. */
export const onRun = (hear) => hearers.add(hear);

const tell = (what, ...more) => hearers.forEach((hear) => hear(what, ...more));

function become(phase, why = "") {
    Object.assign(run, { phase, why });
    tell("phase");
}

/** Whether steps are running or about to run. */
export const busy = () => ["preparing", "running", "pausing"].includes(run.phase);

/** Starts a run on a text. */
export async function start(text, { settings, every, tune }) {
    trainer?.free();
    trainer = null;
    Object.assign(run, fresh(), { about: null, settings, every, tune, text });
    become("preparing");
    await guarded(async () => {
        trainer = await make("train", text, settings);
        await prepare();
        await loop();
    });
}

/** Resumes from the stored checkpoint, on a reopened engine if the previous one lost its device. */
export async function resume() {
    become("preparing");
    await guarded(async () => {
        if (machine.state !== "open") await open();
        const { about, bytes, text } = await takeRun();
        if (!about) throw new Error("Nothing is kept in this browser any more. Start anew.");
        trainer?.free();
        const { settings, every, tune, steps, validations, samples, step, prompt } = about;
        Object.assign(run, fresh(), { settings, every, tune, steps, validations, samples, step, prompt, text, kept: step });
        trainer = await make("resume", bytes, text);
        await prepare();
        await loop();
    });
}

async function prepare() {
    run.about = await trainer.call("about");
    run.step = run.about.step ?? run.step;
    if (run.tune) await trainer.call("tune", [], { hear: (name, index, count) => tell("tune", name, index, count) });
}

/** Pauses after the current step. */
export function pause() {
    if (run.phase === "running") become("pausing");
}

/** Continues after a pause. */
export async function goOn() {
    if (run.phase === "paused") await guarded(loop);
}

/** Writes with the current model, without training. */
export const write = () => guarded(look, false);

/** The model as a GGUF file. */
export const model = () => trainer.call("model");

/** Whether there is a model to write with. */
export const hasModel = () => trainer !== null && !["lost", "failed"].includes(run.phase);

async function loop() {
    become("running");
    let kept = performance.now();
    const { steps } = run.about;
    if (run.step === 0) await look();
    while (run.step < steps && run.phase === "running") {
        const told = await trainer.call("step");
        run.step = told.step;
        run.steps.push(told);
        tell("step");
        if (run.step % run.every === 0 || run.step === steps) await look();
        if (performance.now() - kept > 1000 * Math.max(KEEP_EVERY, 20 * run.savedIn)) {
            await keep();
            kept = performance.now();
        }
    }
    await keep();
    become(run.step >= steps ? "done" : "paused");
}

/** Computes the loss on held-out text, a sample, and what could come next. */
async function look() {
    if (run.about.validation_tokens > 0 && run.validations.at(-1)?.[0] !== run.step) {
        run.validations.push([run.step, await trainer.call("validate")]);
        tell("held");
    }
    const sample = { step: run.step, prompt: run.prompt, text: "" };
    run.samples = [...run.samples.filter(({ step }) => step !== run.step), sample];
    tell("sample");
    run.sampleTrouble = "";
    try {
        // Each sample has its own seed, which is the same in every run.
        const hear = (piece) => {
            sample.text += piece;
            tell("piece");
        };
        sample.text = await trainer.call("write", [sample.prompt, SAMPLE, 0.8, run.step], { hear });
        run.next = await trainer.call("next", [sample.prompt, 16]);
    } catch (error) {
        // A prompt with characters that the model has no tokens for must not stop training; a lost device must.
        if (error.lost) throw error;
        run.sampleTrouble = error.message;
        run.samples = run.samples.filter((one) => one !== sample);
    }
    tell("sample");
    tell("next");
}

async function keep() {
    const began = performance.now();
    try {
        const bytes = await trainer.call("save");
        const { settings, every, tune, steps, validations, samples, step, prompt } = run;
        const parameters = run.about.parameters;
        await keepRun({ settings, every, tune, steps, validations, samples, step, prompt, of: run.about.steps, parameters, time: Date.now() }, bytes, run.text);
        Object.assign(run, { kept: step, savedIn: (performance.now() - began) / 1000, trouble: "" });
    } catch (error) {
        if (error.lost) throw error;
        run.trouble = `Nothing could be kept in this browser (${error.message}). Download the model before you leave.`;
    }
    tell("kept");
}

/** Runs `work`; an error ends the run with a message. */
async function guarded(work, ends = true) {
    try {
        await work();
    } catch (error) {
        if (error.lost) become("lost", error.message);
        else if (ends) become("failed", error.message);
        else throw error;
    }
}

// A device that is lost while the run is idle ends the run too.
onMachine((state) => {
    if (state === "lost" && ["paused", "done"].includes(run.phase)) become("lost", machine.why);
    if (state !== "open") trainer = null;
});
