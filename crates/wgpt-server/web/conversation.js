// The conversation: what was said, kept in this browser.
//
// Messages are `{role: "user", content}`, answers `{role: "assistant", content, sampling, state, finish, ...}`, and, last
// and until one of them is picked, `{role: "choice", answers: [answer, answer]}`. An answer's state is `reading`,
// `writing`, `done`, `stopped` or `failed`; its `tokens` are not kept.

import { keep, kept, sampling, settings } from "./store.js";

/** The conversation on the page. */
export const conversation = { messages: restored(kept("conversation", [])) };

/** Most earlier conversations that are kept. */
const MOST = 30;

/** The earlier conversations, newest first: `{time, messages}`. */
export function earlier() {
    const all = kept("earlier", []);
    return Array.isArray(all) ? all.filter((chat) => Array.isArray(chat?.messages)) : [];
}

function restored(before) {
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

/** Messages without what only this page view needs. */
function plainly(messages) {
    const plain = (message) => {
        if (message.role === "choice") return { role: "choice", answers: message.answers.map(plain) };
        const { tokens, paint, trouble, chosen, showTokens, ...rest } = message;
        return rest.other ? { ...rest, other: plain(rest.other) } : rest;
    };
    return messages.map(plain);
}

/** Keeps the conversation. */
export const remember = () => keep("conversation", plainly(conversation.messages));

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

/** Begins a new conversation; the one before is kept among the earlier ones, of which the oldest make room. */
export function begin(messages = []) {
    let all = earlier();
    if (conversation.messages.length > 0) all.unshift({ time: Date.now(), messages: plainly(conversation.messages) });
    all = all.slice(0, MOST);
    while (!keep("earlier", all) && all.length > 0) all.pop();
    conversation.messages = messages;
    remember();
}

/** Goes on with an earlier conversation. */
export function reopen(index) {
    const { messages } = earlier()[index];
    drop(index);
    begin(restored(messages));
}

/** Forgets an earlier conversation. */
export const drop = (index) => keep("earlier", earlier().filter((_, other) => other !== index));
