// The conversation: what was said, kept in this browser.
//
// Messages are `{role: "user", content}`, answers `{role: "assistant", content, sampling, state, finish, ...}`, and, last
// and until one of them is picked, `{role: "choice", answers: [answer, answer]}`. An answer's state is `reading`,
// `writing`, `done`, `stopped` or `failed`; its `tokens` are not kept.

import { keep, kept, sampling, settings } from "./store.js";

/** The conversation on the page. */
export const conversation = { messages: restored() };

function restored() {
    const before = kept("conversation", []);
    const fine = (message) => typeof message?.content === "string"
        || (message?.role === "choice" && message.answers?.every((answer) => typeof answer?.content === "string"));
    return Array.isArray(before) ? before.filter(fine).map(revived) : [];
}

/** An answer that was being written when the page went away has stopped. */
function revived(message) {
    if (message.role === "choice") return { ...message, answers: message.answers.map(revived) };
    if (message.role !== "assistant") return message;
    const writing = ["reading", "writing"].includes(message.state);
    return { ...message, tokens: [], state: writing ? "stopped" : message.state };
}

/** Keeps the conversation, without what only this page view needs. */
export function remember() {
    const plain = (message) => {
        if (message.role === "choice") return { role: "choice", answers: message.answers.map(plain) };
        const { tokens, paint, trouble, chosen, showTokens, ...rest } = message;
        return rest.other ? { ...rest, other: plain(rest.other) } : rest;
    };
    keep("conversation", conversation.messages.map(plain));
}

/** A new answer, not begun. */
export function blank(variant = 0) {
    return { role: "assistant", content: "", tokens: [], state: "reading", variant, sampling: sampling(variant) };
}

/** What the model is told: the system prompt and what was said, up to and without message `end`. */
export function spoken({ messages }, end = messages.length) {
    const said = messages.slice(0, end).filter(({ role, content }) => role !== "choice" && content !== "");
    const system = settings.system.trim() === "" ? [] : [{ role: "system", content: settings.system }];
    if (said.length === 0) return [];
    return [...system, ...said.map(({ role, content }) => ({ role, content }))];
}

/** Forgets what was said. */
export function forget() {
    conversation.messages = [];
    remember();
}
