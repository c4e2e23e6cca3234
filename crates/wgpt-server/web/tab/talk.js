// Talk: a conversation with a model that runs in this tab.

import { answerNode, grows } from "../answer.js";
import { announce, composes, el, hidden } from "../dom.js";
import { icon } from "../icons.js";
import { notice } from "../notice.js";
import { freshSeed } from "../store.js";
import { compact, number } from "../words.js";
import { bars } from "./bars.js";
import { chooser, takesFiles } from "./files.js";
import { machine, onMachine } from "./machine.js";
import { modelField, offerFile } from "./models.js";
import { progress } from "./progress.js";
import { talkers } from "./talker.js";

const TRIES = ["Who are you?", "What is the capital of France?", "What do bees make?", "I feel sad today."];

/** The view. */
export function talkView() {
    const load = talkers();
    let messages = [];
    let stopper = null;
    const problem = el("div.problem");
    const failed = (error) => problem.replaceChildren(notice(error));
    const going = progress();
    const column = el("div.column", { role: "log", "aria-label": "Conversation", "aria-live": "off" });
    const facts = el("p.quieter.modelfacts", { role: "status" });
    const models = modelField("talkmodel", "Model", () => begin());
    const next = bars();
    const area = el("textarea", { id: "message", rows: 1, placeholder: "Write a message", "aria-label": "Message", maxlength: 20000 });
    const send = el("button.primary.send", { type: "submit" });
    const temperature = el("input", { type: "number", id: "temperature", min: 0, max: 2, step: 0.05, value: 0.7 });
    const most = el("input", { type: "number", id: "most", min: 1, max: 2000, step: 1, value: 120 });
    const seed = el("input", { type: "number", id: "talkseed", min: 0, max: 2 ** 31 - 1, step: 1, placeholder: "a new one each time" });
    const field = (label, input) => el("label.labelled", { for: input.id }, el("span", {}, label), input);
    const form = el("form.composer", { onsubmit: (event) => {
        event.preventDefault();
        if (stopper) stopper.abort();
        else say(area.value);
    } }, el("div.field", {}, area, send));
    const node = el(
        "section.view.talk",
        { id: "talk", "aria-labelledby": "talktitle", hidden: true },
        el("header.viewhead", {}, el("div", {}, el("h1", { id: "talktitle" }, "Talk with it"), el("p", {}, "The model answers from this tab. A model that was only trained on a text continues what you write."))),
        el("div.row.models", {}, models.node, chooser("Open a .gguf file", ".gguf", take), el("button.quiet", { type: "button", onclick: () => begin() }, icon("plus"), "New conversation")),
        facts,
        problem,
        going.node,
        el("div.panel.talkbox", {}, column, form),
        next.node,
        el("details.more", {}, el("summary", {}, "Sampling"), el("div.fields", {}, field("Temperature", temperature), field("Maximum tokens per answer", most), field("Seed", seed))),
    );

    function take(file) {
        if (!/\.gguf$/i.test(file.name)) return failed(new Error(`${file.name} is not a .gguf file.`));
        return models.pick(offerFile(file));
    }

    function begin() {
        stopper?.abort();
        messages = [];
        problem.replaceChildren();
        facts.textContent = "";
        next.clear();
        redraw();
    }

    async function say(text) {
        if (stopper || text.trim() === "" || machine.state !== "open") return;
        area.value = "";
        grow();
        messages.push({ role: "user", content: text });
        await answer();
    }

    /** Replaces the last answer by a new one. */
    async function again() {
        if (stopper || messages.at(-1)?.role !== "assistant") return;
        messages.pop();
        await answer();
    }

    async function answer() {
        const options = { temperature: Number(temperature.value), top_p: 0.95, max_tokens: Number(most.value), seed: seed.value === "" ? freshSeed() : Number(seed.value) };
        const one = { role: "assistant", content: "", tokens: [], state: "reading", count: 0, sampling: options };
        const said = messages.map(({ role, content }) => ({ role, content }));
        messages.push(one);
        const stop = new AbortController();
        stopper = stop;
        problem.replaceChildren();
        redraw();
        try {
            going.begin("Getting the model ready");
            const talker = await load(models.model(), (what, done = 0, total = null) => going.set(done, { what, total }));
            going.end();
            introduce(talker.about);
            const began = performance.now();
            const hear = (piece) => {
                one.content += piece;
                one.count += 1;
                one.first ??= performance.now() - began;
                one.elapsed = performance.now() - began;
                one.state = "writing";
                one.paint?.();
            };
            // A model without a chat template continues the last text.
            const asked = talker.about.chat ? said : said.slice(-1);
            const told = await talker.call("answer", [asked, options], { hear, signal: stop.signal });
            Object.assign(one, { content: told.text, count: told.tokens, elapsed: performance.now() - began, finish: told.finish });
            one.state = stop.signal.aborted ? "stopped" : "done";
            const candidates = await talker.call("next", [asked, 16]);
            next.show(candidates, { vocabulary: talker.about.vocabulary, title: "How its answer could have begun" });
        } catch (error) {
            going.end();
            Object.assign(one, { state: "failed", trouble: error });
        }
        if (stopper === stop) stopper = null;
        one.paint?.();
        announce(one.trouble?.message ?? one.content);
        update();
    }

    function introduce({ name, parameters, context, chat }) {
        const kind = chat ? "It was taught to answer." : "It continues what you write.";
        facts.textContent = `${name || models.model().name}: ${compact(parameters)} parameters, context of ${number(context)} tokens. ${kind}`;
    }

    function redraw() {
        const row = (message) => (message.role === "user"
            ? el("article.said", { "aria-label": "You" }, hidden("You"), el("p", {}, message.content))
            : el("article.told", { "aria-label": "Model" }, answerNode(message, { again, retry: again, painted: follow })));
        const tries = TRIES.map((text) => el("button.suggestion", { type: "button", onclick: () => say(text) }, text));
        column.replaceChildren(...(messages.length > 0 ? messages.map(row) : [el("div.suggestions", {}, models.model().prompts() ? [] : tries)]));
        follow();
        update();
    }

    const follow = () => (column.scrollTop = column.scrollHeight);

    function grow() {
        area.style.height = "auto";
        area.style.height = `${Math.min(area.scrollHeight, 220)}px`;
    }

    function update() {
        const writing = messages.at(-1)?.role === "assistant" && grows(messages.at(-1));
        send.classList.toggle("stops", writing);
        send.setAttribute("aria-label", writing ? "Stop" : "Send");
        send.replaceChildren(icon(writing ? "stop" : "send"));
        send.disabled = machine.state !== "open" || (!writing && area.value.trim() === "");
    }

    area.addEventListener("input", () => {
        grow();
        update();
    });
    node.addEventListener("keydown", (event) => {
        if (composes(event)) return;
        if (event.key === "Escape" && stopper) stopper.abort();
        if (event.target !== area || event.key !== "Enter" || event.shiftKey) return;
        event.preventDefault();
        if (!stopper) say(area.value);
    });
    takesFiles(node, take);
    onMachine(update);
    redraw();
    return { node, pick: models.pick };
}
