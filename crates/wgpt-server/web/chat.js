// Chat: the messages, the field for writing, and the actions between them.

import { about } from "./api.js";
import { answerNode, grows } from "./answer.js";
import { choiceNode, otherNode } from "./compare.js";
import { composer } from "./composer.js";
import { begin, blank, conversation, remember, spoken } from "./conversation.js";
import { announce, el, hidden } from "./dom.js";
import { openHistory } from "./history.js";
import { sign } from "./icons.js";
import { lookAt } from "./inside.js";
import { actions } from "./keys.js";
import { rate, rewards } from "./rate.js";
import { deviceName } from "./rail.js";
import { change, settings } from "./store.js";
import { respond } from "./stream.js";
import { t } from "./words.js";

/** Stops the answers that are being written. */
const running = new Set();

/** Set while the view is shown: redraws the messages, and keeps their end in view. */
let screen = { redraw: () => {}, follow: () => {} };

const messages = () => conversation.messages;
const last = () => messages().at(-1);
const busy = () => running.size > 0;

/** Lets the model answer the messages before message `end`. */
async function fill(answer, end = messages().length - 1) {
    const stop = new AbortController();
    running.add(stop);
    screen.redraw();
    try {
        const grown = () => {
            answer.state = "writing";
            answer.paint?.();
        };
        await respond(spoken(conversation, end), answer, { signal: stop.signal, grown });
        answer.state = "done";
    } catch (error) {
        answer.state = error?.name === "AbortError" ? "stopped" : "failed";
        answer.trouble = answer.state === "failed" ? error : undefined;
    }
    running.delete(stop);
    remember();
    answer.paint?.();
    screen.settled?.();
}

/** Whether a message has any text; for two answers, whether at least one has. */
const said = (message) => message === undefined || message.content || message.answers?.some(({ content }) => content !== "");

function send(text) {
    // An answer that never arrived is not part of the conversation.
    if (!said(last())) messages().pop();
    messages().push({ role: "user", content: text });
    const answers = [blank(0), blank(1)];
    messages().push(settings.compare ? { role: "choice", answers } : answers[0]);
    remember();
    (settings.compare ? answers : answers.slice(0, 1)).forEach((answer) => fill(answer));
    screen.follow(true);
}

function again() {
    if (busy() || last()?.role !== "assistant") return;
    const answer = blank((last().variant ?? 0) + 1);
    messages()[messages().length - 1] = answer;
    fill(answer);
}

function against() {
    if (busy() || last()?.role !== "assistant") return;
    const before = last();
    before.showTokens = false;
    const other = blank((before.variant ?? 0) + 1);
    messages()[messages().length - 1] = { role: "choice", answers: [before, other] };
    fill(other);
    screen.follow(true);
}

/** Continues with one of two answers, and stores that it is the better one. */
async function pick(index) {
    const choice = last();
    if (choice?.role !== "choice" || choice.answers.some(grows) || choice.answers[index].content === "") return;
    const [better, other] = [choice.answers[index], choice.answers[1 - index]];
    messages()[messages().length - 1] = better;
    const end = messages().length - 1;
    // If the other answer is empty, nothing was compared.
    if (other.content !== "") {
        better.other = other;
        better.picked = index;
    }
    remember();
    screen.redraw();
    document.getElementById("message")?.focus({ preventScroll: true });
    if (other.content === "") return;
    const prompt = spoken(conversation, end);
    await noted(better, () => rate(prompt, choice.answers, { best: index }));
    better.rewards = await rewards(prompt, [better, other]);
    remember();
    screen.redraw();
}

async function thumb(answer, end, up) {
    const rating = up ? "up" : "down";
    if (answer.rating === rating) return;
    answer.rating = rating;
    answer.paint();
    await noted(answer, () => rate(spoken(conversation, end), [answer], { scores: [up ? 5 : 1] }), () => (answer.rating = null));
}

/** Stores a rating and reports next to the answer whether that succeeded. */
async function noted(answer, store, undo = () => {}) {
    try {
        await store();
        answer.note = "rated";
    } catch (error) {
        undo();
        answer.note = "rate_failed";
        answer.why = error.words?.() ?? String(error);
    }
    announce(t(answer.note));
    answer.paint?.();
    remember();
}

// A page that is left may be closed, or reloaded, without another word.
const left = () => busy() && remember();
window.addEventListener("pagehide", left);
document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && left());

const stop = () => {
    const some = busy();
    running.forEach((one) => one.abort());
    return some;
};

/** Shows the view. */
export function show(main) {
    const column = el("div.column", { role: "log", "aria-label": t("chat"), "aria-live": "off" });
    const scroller = el("div.scroll", { tabindex: "-1" }, column);
    const field = composer({ send, stop, busy, fresh, history, pick, blocked: () => last()?.role === "choice" && said(last()) });
    let atEnd = true;
    const follow = (force) => {
        if (force) atEnd = true;
        if (atEnd) scroller.scrollTop = scroller.scrollHeight;
    };
    scroller.addEventListener("scroll", () => {
        atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 48;
    });
    const redraw = () => {
        const nodes = messages().map((message, index) => row(message, index, follow));
        column.replaceChildren(...(nodes.length > 0 ? nodes : [hero(field.suggest)]));
        field.update();
        follow();
    };
    const settled = () => {
        field.update();
        const answer = last();
        if (answer?.role === "assistant") announce(answer.trouble?.words?.() ?? answer.content);
        if (answer?.role === "choice" && !answer.answers.some(grows)) {
            announce(`${t("pick_title")} ${t("pick_hint")}`);
            redraw();
        }
    };
    function fresh() {
        stop();
        begin();
        redraw();
        field.focus();
    }
    function history() {
        openHistory(() => {
            stop();
            redraw();
            follow(true);
        });
    }
    screen = { redraw, follow, settled };
    main.append(el("h1.unseen", {}, t("chat")), scroller, field.node);
    redraw();
    follow(true);
    actions.view = {
        write: field.focus,
        stop,
        fresh,
        history,
        again,
        compare: () => {
            change({ compare: !settings.compare });
            field.update();
        },
        first: () => pick(0),
        second: () => pick(1),
    };
    if (matchMedia("(hover: hover)").matches) field.focus();
    return () => (screen = { redraw: () => {}, follow: () => {} });
}

function row(message, index, follow) {
    if (message.role === "user") {
        return el("article.said", { "aria-label": t("you") }, hidden(t("you")), el("p", {}, message.content));
    }
    if (message.role === "choice") return choiceNode(message, { pick, follow, retry: (answer) => retry(answer, index) });
    const isLast = index === messages().length - 1;
    const node = answerNode(message, {
        good: () => thumb(message, index, true),
        bad: () => thumb(message, index, false),
        again: isLast ? again : null,
        against: isLast ? against : null,
        inside: about.chats === false ? null : () => lookAt(spoken(conversation, index + 1)),
        retry: isLast ? again : null,
        painted: follow,
    });
    return el("article.told", { "aria-label": t("model_says") }, message.other && otherNode(message), node);
}

/** Requests one of two answers again after it failed. */
function retry(answer, end) {
    Object.assign(answer, blank(answer.variant), { trouble: undefined, finish: undefined, count: 0, first: undefined });
    fill(answer, end);
}

function hero(suggest) {
    const kind = about.chats === false ? "_text" : "";
    const tries = ["try_1", "try_2", "try_3", "try_4"].map((key) => el(
        "button.suggestion",
        { type: "button", onclick: () => suggest(t(key)) },
        t(key),
    ));
    return el(
        "div.hero",
        {},
        sign(),
        el("h2", {}, t(`start_title${kind}`, { model: about.model })),
        el("p", {}, t(`start_text${kind}`, { adapter: deviceName() })),
        el("div.suggestions", {}, tries),
    );
}
