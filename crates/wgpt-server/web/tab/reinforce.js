// Reinforce: a judge scores a model's answers, and the model learns to score higher, round by round.

import { announce, el } from "../dom.js";
import { notice } from "../notice.js";
import { short } from "../words.js";
import { downloadButton } from "./files.js";
import { make, machine, onMachine } from "./machine.js";
import { modelField, offer, withdraw } from "./models.js";
import { progress } from "./progress.js";
import { roundsBoard } from "./rounds.js";

const QUESTIONS = ["How are you?", "I feel sad today.", "I got the job!", "Tell me a story about the sea.", "Write one sentence about a dog.", "Who are you?", "What is the moon?", "I am bored."];

const JUDGES = [
    ["lexicon", "Kind words: a lexicon of feelings", null],
    ["length", "Length: close to a number of characters", { label: "Characters", value: "80" }],
    ["pattern", "A pattern: how often it occurs", { label: "Text to find", value: "!" }],
];

/** The view; `talk(key)` opens the conversation with a model. */
export function reinforceView(talk) {
    const problem = el("div.problem");
    const failed = (error) => problem.replaceChildren(notice(error));
    const going = progress();
    const board = roundsBoard();
    let ppo = null;
    /** The settings that `ppo` was created with; other settings start over. */
    let made = "";
    let phase = "idle";
    const models = modelField("judgedmodel", "Model", () => suggest(), ["reinforced"]);
    const judge = el("select", { id: "judge" }, JUDGES.map(([value, name]) => el("option", { value }, name)));
    const detail = el("input", { id: "judgedetail", autocomplete: "off" });
    const detailLabel = el("span");
    const detailField = el("label.labelled", { for: "judgedetail", hidden: true }, detailLabel, detail);
    const prompts = el("textarea", { id: "prompts", rows: 8 });
    const numberField = (id, label, value, min, max, step = 1) => {
        const input = el("input", { type: "number", id, value, min, max, step });
        return { input, node: el("label.labelled", { for: id }, el("span", {}, label), input), label, min, max };
    };
    const numbers = {
        batch: numberField("rlbatch", "Answers per round", 8, 1, 256),
        max_tokens: numberField("rltokens", "Maximum tokens per answer", 24, 1, 512),
        steps: numberField("rlsteps", "Rounds", 20, 1, 100000),
        lr: numberField("rllr", "Learning rate", 0.0002, 0, 1, "any"),
        seed: numberField("rlseed", "Seed", 1337, 0, 2 ** 31),
    };
    const once = el("button.primary", { type: "button", onclick: () => play(1) }, "Play one round");
    const many = el("button.quiet", { type: "button", onclick: () => play(Infinity) }, "Play them all");
    const anew = el("button.quiet", { type: "button", hidden: true, onclick: () => {
        forget();
        board.begin();
        update();
    } }, "Start anew");
    const stop = el("button.primary", { type: "button", hidden: true, onclick: () => {
        phase = "stopping";
        update();
    } }, "Stop");
    const chat = el("button.quiet", { type: "button", hidden: true, onclick: () => talk("reinforced") }, "Talk with it");
    const file = downloadButton("Download the model (.gguf)", () => `wgpt-reinforced-${board.count()}.gguf`, async () => [await ppo.call("model")], failed);
    const node = el(
        "section.view",
        { id: "reinforce", "aria-labelledby": "reinforcetitle", hidden: true },
        el("header.viewhead", {}, el("div", {}, el("h1", { id: "reinforcetitle" }, "Reinforce it"), el("p", {}, "In each round the model answers, a judge scores the answers, and PPO makes those with higher scores likelier, at a price for moving away from the model as it was."))),
        el(
            "div.chooses",
            {},
            el("section.panel", { "aria-label": "Model and judge" }, models.node, el("label.labelled", { for: "judge" }, el("span", {}, "Judge"), judge), detailField, el("details.more", {}, el("summary", {}, "All settings"), el("div.fields", {}, Object.values(numbers).map((one) => one.node)))),
            el("section.panel", { "aria-label": "Prompts" }, el("label.labelled", { for: "prompts" }, el("span", {}, "Prompts, one per line"), prompts)),
        ),
        problem,
        el("div.row.starts", {}, once, many, stop, anew, chat, file),
        going.node,
        board.node,
    );

    function suggest() {
        if (prompts.dataset.own) return;
        prompts.value = (models.model().prompts() ?? QUESTIONS).join("\n");
    }

    function settings() {
        const found = { judge: judge.value, prompts: prompts.value.split("\n").filter((line) => line.trim() !== "") };
        if (found.prompts.length === 0) throw new Error("Prompts: enter at least one.");
        const more = JUDGES.find(([value]) => value === judge.value)[2];
        if (more) {
            if (detail.value === "") throw new Error(`${more.label}: enter what the judge should look for.`);
            found.judge = `${judge.value}:${detail.value}`;
        }
        for (const [name, { input, label, min, max }] of Object.entries(numbers)) {
            const value = Number(input.value);
            if (input.value === "" || !(value >= min && value <= max)) throw new Error(`${label}: enter a number from ${min} to ${max}.`);
            found[name] = value;
        }
        return found;
    }

    /** Plays rounds until `most` or all of them are played, or until it is stopped. */
    async function play(most) {
        problem.replaceChildren();
        phase = "playing";
        update();
        try {
            const wanted = settings();
            const model = models.model();
            // A model that keeps training meanwhile does not end its rounds; "Start anew" uses its current state.
            const signature = JSON.stringify([wanted, model.key === "file" ? model.stamp() : model.key, machine.times]);
            if (!ppo || signature !== made) await prepare(model, wanted, signature);
            if (board.count() >= wanted.steps) throw new Error(`All ${wanted.steps} rounds are done. To start over, change the number of rounds or the seed.`);
            const end = Math.min(wanted.steps, board.count() + most);
            going.begin(`Round ${board.count() + 1} of ${wanted.steps}`, end, board.count());
            while (board.count() < end && phase === "playing") {
                const round = await ppo.call("round");
                board.add(round);
                const told = `score ${short(round.score)}`;
                going.set(board.count(), { what: `Round ${Math.min(end, board.count() + 1)} of ${wanted.steps}`, more: told });
                offer("reinforced", "The reinforced model", () => ppo.call("model"), { stamp: () => `${made} ${board.count()}`, prompts: model.prompts });
            }
            announce(`${board.count()} rounds are played.`);
        } catch (error) {
            failed(error);
            if (error.lost) forget();
        }
        going.end();
        phase = "idle";
        update();
    }

    async function prepare(model, wanted, signature) {
        going.begin("Fetching the model");
        const bytes = await model.bytes((done, total) => going.set(done, { total }));
        forget();
        board.begin(wanted.prompts);
        going.begin("Making policy, reference and value head");
        ppo = await make("reinforce", bytes, wanted);
        made = signature;
        update();
        going.begin("The model answers as it is, to learn what the judge's scores are like");
        await ppo.call("normalise");
    }

    function forget() {
        ppo?.free();
        ppo = null;
        made = "";
        withdraw("reinforced");
    }

    function update() {
        const playing = phase !== "idle";
        const open = machine.state === "open";
        for (const button of [once, many]) {
            button.hidden = playing;
            button.disabled = !open;
        }
        stop.hidden = !playing;
        stop.disabled = phase === "stopping";
        stop.textContent = phase === "stopping" ? "Stopping" : "Stop";
        chat.hidden = playing || !ppo || board.count() === 0;
        anew.hidden = chat.hidden;
        file.hidden = chat.hidden;
    }

    judge.addEventListener("change", () => {
        const more = JUDGES.find(([value]) => value === judge.value)[2];
        detailField.hidden = !more;
        detailLabel.textContent = more?.label ?? "";
        detail.value = more?.value ?? "";
    });
    prompts.addEventListener("input", () => (prompts.dataset.own = "true"));
    onMachine((state) => {
        if (state !== "open") {
            ppo = null;
            withdraw("reinforced");
        }
        update();
    });
    suggest();
    update();
    return { node };
}
