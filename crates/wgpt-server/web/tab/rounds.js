// The rounds of reinforcement: curves of score, KL and entropy, and the model's answers before and now.

import { chart } from "../chart.js";
import { el, perFrame } from "../dom.js";
import { short } from "../words.js";

const CURVES = [["Score", "score"], ["KL from the model before", "kl"], ["Entropy", "entropy"]];
const FACTS = [["Score", "score"], ["What the judge said", "raw_score"], ["KL", "kl"], ["Its price (beta)", "beta"], ["Entropy", "entropy"], ["Tokens per answer", "response_length"]];

/** The board: `{node, begin(prompts), add(round), count()}`; a round is the engine's report of it. */
export function roundsBoard() {
    let rounds = [];
    let asked = [];
    /** By prompt: its first answer, and its newest. */
    let answers = new Map();
    const read = (step) => charts.forEach((one) => one.read(step));
    const charts = CURVES.map(([title]) => chart(title, read));
    const facts = el("ul.facts");
    const body = el("tbody");
    const heads = ["Prompt", "Before", "Score", "Now", "Score"].map((name) => el("th", { scope: "col" }, name));
    const table = el("table", {}, el("caption.unseen", {}, "Answers before and now, with the judge's scores"), el("thead", {}, el("tr", {}, heads)), el("tbody", {}));
    table.tBodies[0].replaceWith(body);
    const node = el(
        "div.rounds",
        { hidden: true },
        facts,
        el("div.charts", {}, charts.map((one) => one.node)),
        el("section.panel", { "aria-label": "Answers" }, el("h2", {}, "Answers"), el("div.tablebox", { tabindex: "0", role: "region", "aria-label": "Answers before and now" }, table)),
    );

    const draw = perFrame(() => {
        CURVES.forEach(([title, key], index) => charts[index].set([{ name: title.split(" ")[0].toLowerCase(), colour: index, dash: 0, points: rounds.map((one) => [one.step, one[key]]) }], {}));
        const last = rounds.at(-1);
        const known = FACTS.filter(([, key]) => Number.isFinite(last?.[key]));
        const listed = [["Round", last ? String(rounds.length) : "–"], ...known.map(([name, key]) => [name, short(last[key])])];
        facts.replaceChildren(...listed.map(([name, value]) => el("li", {}, el("span.quieter", {}, name), el("strong", {}, value))));
        body.replaceChildren(...[...answers].map(([prompt, { before, now }]) => el(
            "tr",
            {},
            el("th", { scope: "row" }, prompt),
            el("td", {}, before.answer),
            el("td.score", {}, short(before.score)),
            el("td", {}, now ? now.answer : "–"),
            el("td.score", {}, now ? short(now.score) : "–"),
        )));
    });
    new ResizeObserver(draw).observe(node);
    return {
        node,
        begin: (prompts = []) => {
            rounds = [];
            // The longest first, since one prompt may be part of another.
            asked = [...prompts].sort((one, other) => other.length - one.length);
            answers = new Map();
            node.hidden = true;
            draw();
        },
        add: (round) => {
            rounds.push(round);
            // The first round's answers come from the unchanged model.
            for (const { prompt: read, answer, score } of round.samples ?? []) {
                // The engine reports a prompt as the model read it, in the form of a conversation.
                const prompt = asked.find((one) => read.includes(one)) ?? read;
                const held = answers.get(prompt);
                if (!held) answers.set(prompt, { before: { answer, score }, now: null, first: round.step });
                else if (held.first !== round.step) held.now = { answer, score };
            }
            node.hidden = false;
            draw();
        },
        count: () => rounds.length,
    };
}
