// One answer: its text as it grows, its tokens with their alternatives, its buttons.

import { distribution } from "./distribution.js";
import { copy, el, perFrame } from "./dom.js";
import { icon } from "./icons.js";
import { growing } from "./markdown.js";
import { notice } from "./notice.js";
import { chips } from "./tokens.js";
import { number, t } from "./words.js";

/** Whether an answer is still growing. */
export const grows = (answer) => answer.state === "reading" || answer.state === "writing";

/**
 * Shows an answer. `acts`: the actions of its buttons, by name (`good`, `bad`, `again`, `against`, `inside`, `retry`);
 * a button without an action is omitted. `answer.paint()` redraws a changed answer, at most once per frame.
 */
export function answerNode(answer, acts = {}) {
    const prose = el("div.prose");
    const grow = growing(prose);
    const view = el("div", { hidden: true });
    const status = el("p.status");
    const below = el("div.below");
    const tail = el("div.tail", {}, status, below);
    const node = el("div.answer", {}, prose, view, tail);
    let seen = null;
    const paint = () => {
        node.classList.toggle("growing", grows(answer));
        grow(answer.content, !grows(answer));
        status.replaceChildren(...statusOf(answer));
        const now = [answer.state, answer.rating, answer.showTokens, answer.note].join();
        if (now === seen) return;
        seen = now;
        prose.hidden = Boolean(answer.showTokens);
        view.hidden = !answer.showTokens;
        view.replaceChildren(...(answer.showTokens ? [tokenView(answer)] : []));
        below.replaceChildren(...(grows(answer) ? [] : [buttons(answer, acts, paint)]));
        node.querySelector(":scope > .notice")?.remove();
        if (answer.trouble) tail.before(notice(answer.trouble, acts.retry));
    };
    answer.paint = perFrame(() => {
        paint();
        acts.painted?.();
    });
    paint();
    return node;
}

function statusOf(answer) {
    if (answer.state === "reading") return [el("span.dots", { role: "status" }, t("thinking"), el("i"), el("i"), el("i"))];
    const parts = [];
    if (answer.count > 1 && answer.elapsed > answer.first) {
        const rate = ((answer.count - 1) / (answer.elapsed - answer.first)) * 1000;
        parts.push(t("speed", { tokens: number(answer.count), rate: number(rate, rate < 100 ? 1 : 0) }));
    }
    if (answer.state === "stopped") parts.push(t("stopped"));
    if (answer.finish === "length") parts.push(t("cut", { count: number(answer.count ?? answer.sampling.max_tokens) }));
    if (answer.note) parts.push(answer.note === "rated" ? t("rated") : `${t("rate_failed")} ${answer.why ?? ""}`);
    return parts.map((part) => el("span", {}, part));
}

function buttons(answer, acts, paint) {
    const button = (act, name, label, more = {}) => acts[act] && el(
        "button.tool",
        { type: "button", title: t(label), "aria-label": t(label), onclick: acts[act], ...more },
        icon(name),
    );
    const copied = el("button.tool", { type: "button", title: t("copy"), "aria-label": t("copy") }, icon("copy"));
    copied.addEventListener("click", async () => {
        if (await copy(answer.content)) copied.replaceChildren(icon("check"));
        setTimeout(() => copied.replaceChildren(icon("copy")), 1500);
    });
    const toggle = () => {
        answer.showTokens = !answer.showTokens;
        paint();
    };
    const tokens = answer.tokens.length > 0 && el("button.tool", {
        type: "button",
        title: t(answer.showTokens ? "text_of" : "tokens_of"),
        "aria-label": t("tokens_of"),
        "aria-pressed": String(Boolean(answer.showTokens)),
        onclick: toggle,
    }, icon("tokens"));
    const empty = answer.content === "";
    return el(
        "div.acts",
        {},
        !empty && button("good", "up", "good", { "aria-pressed": String(answer.rating === "up") }),
        !empty && button("bad", "down", "bad", { "aria-pressed": String(answer.rating === "down") }),
        !empty && copied,
        button("again", "again", "again"),
        !empty && button("against", "compare", "against"),
        tokens,
        !empty && button("inside", "inside", "look_inside"),
    );
}

/** The tokens, each coloured by its probability; the chosen one's candidates as bars. */
function tokenView(answer) {
    const bars = el("div.next");
    const strip = chips(answer.tokens, {
        label: t("tokens_of"),
        ids: false,
        choose,
        paint: (node, index) => {
            node.classList.add("likely");
            node.style.setProperty("--heat", `${Math.round((1 - Math.exp(answer.tokens[index].logprob)) * 58)}%`);
        },
    });
    function choose(index) {
        answer.chosen = index;
        strip.select(index);
        bars.replaceChildren(distribution(answer.tokens[index].top, { came: answer.tokens[index], count: 6 }));
    }
    choose(Math.min(answer.chosen ?? 0, answer.tokens.length - 1));
    return el("div.tokenview", {}, strip.node, bars);
}
