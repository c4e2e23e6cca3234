// A short explanation of how it works, and a section for testers.

import { el } from "../dom.js";
import { notice } from "../notice.js";
import { lose, machine, onMachine } from "./machine.js";

const TEXT = [
    ["Everything happens in this tab", "Training, writing and reinforcement run on your GPU, by WebGPU. There is no server: the page is a folder of files, and your text is sent nowhere."],
    ["Training", "A text is cut into tokens, here one for each character unless you choose BPE. In each step the model guesses the next token at every place of some random windows of the text. The loss says how surprised it was: a blind guess among N tokens costs the logarithm of N, and a loss of 0 would be knowing the text by heart. AdamW moves every number of the model a little so that the same text would surprise it less. A tenth of the text is held out: where the loss on it rises while the other falls, the model memorises."],
    ["Talking", "The talker that ships with the page was pretrained on plays, taught with conversations, and reinforced by what people preferred. It has 2.6 million parameters and answers everyday questions in English and Chinese, often wrongly. A model that only learned a text knows nothing of conversations; it goes on with what you write."],
    ["Reinforcement", "In a round of PPO the model answers the prompts, a judge gives each answer a score, and a second head of the model learns to foresee it. Tokens that led to more than was foreseen become likelier. KL says in nats how far the model has moved from what it was; it costs a part of the score, so that it does not forget how to write."],
    ["What is kept", "While it trains, a checkpoint goes into this browser's storage every few seconds, whole or not at all, with your text. After a reload, a crash or a lost GPU the page offers to go on from there, with the same losses as if nothing had happened. Models can be downloaded as GGUF files, which wgpt and llama.cpp load."],
    ["The same program", "The engine is wgpt, written in Rust, as WebAssembly. Its kernels are the same WGSL files that wgpt runs natively on Vulkan, Metal and Direct3D, and the same seed gives the same run there and here, but for rounding."],
];

/** The view. */
export function howView() {
    const problem = el("div");
    const losing = el("button.quiet", { type: "button", onclick: () => lose().catch((error) => problem.replaceChildren(notice(error))) }, "Lose the GPU now");
    const facts = el("pre.capabilities", { tabindex: "0", "aria-label": "What the adapter offers" });
    const update = () => {
        losing.disabled = machine.state !== "open";
        facts.textContent = machine.about ? JSON.stringify(machine.about, null, 2) : "The engine is not open.";
    };
    onMachine(update);
    update();
    return {
        node: el(
            "section.view",
            { id: "how", "aria-labelledby": "howtitle", hidden: true },
            el("header.viewhead", {}, el("div", {}, el("h1", { id: "howtitle" }, "How it works"))),
            el("div.texts", {}, TEXT.map(([title, text]) => el("section.panel", {}, el("h2", {}, title), el("p", {}, text)))),
            el(
                "details.more.expert",
                {},
                el("summary", {}, "For testing"),
                el("p.quieter", {}, "A driver may fail at any time, and browsers take the GPU away from tabs. This does the same on purpose, in the middle of whatever is under way; the page should say so and go on from what it kept."),
                el("div.row", {}, losing),
                problem,
                facts,
            ),
        ),
    };
}
