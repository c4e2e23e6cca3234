// The conversation, stored in this browser.
//
// Messages are `{role: "user", content}`; answers are `{role: "assistant", content, sampling, state, finish, ...}`. The
// last message may be `{role: "choice", answers: [answer, answer]}` until one of the answers is picked. An answer's
// state is `reading`, `writing`, `done`, `stopped` or `failed`; its `tokens` are not stored.

import { keep, kept, sampling, settings } from "./store.js";

/** The conversation on the page. */
export const conversation = { messages: restored(kept("conversation", [])) };

/** Maximum number of earlier conversations that are kept. */
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

/** Marks an answer as stopped if it was not complete when the page was closed. */
function revived(message) {
    if (message.role === "choice") return { ...message, answers: message.answers.map(revived) };
    if (message.role !== "assistant") return message;
    // Some browsers end all requests of a page that is left before they tell the page, which takes that for a failure.
    const complete = !["reading", "writing", "failed"].includes(message.state);
    return { ...message, tokens: [], state: complete ? message.state : "stopped" };
}

/** Messages without the parts that only this page view needs. */
function plainly(messages) {
    const plain = (message) => {
        if (message.role === "choice") return { role: "choice", answers: message.answers.map(plain) };
        const { tokens, paint, trouble, chosen, showTokens, ...rest } = message;
        return rest.other ? { ...rest, other: plain(rest.other) } : rest;
    };
    return messages.map(plain);
}

/** Stores the conversation. */
export const remember = () => keep("conversation", plainly(conversation.messages));

/** A new, empty answer. */
export function blank(variant = 0) {
    return { role: "assistant", content: "", tokens: [], state: "reading", variant, sampling: sampling(variant) };
}

/** The messages sent to the model: the system prompt and all messages before message `end`. */
export function spoken({ messages }, end = messages.length) {
    const said = messages.slice(0, end).filter(({ role, content }) => role !== "choice" && content !== "");
    const system = settings.system.trim() === "" ? [] : [{ role: "system", content: settings.system }];
    if (said.length === 0) return [];
    return [...system, ...said.map(({ role, content }) => ({ role, content }))];
}

/** The earlier conversations without the oldest, if they need less room; null if there is nothing to leave out. */
const withoutOldest = (all) => (all.length > 0 ? all.slice(0, -1) : null);

/** Begins a new conversation. The current one is added to the earlier ones, whose oldest are dropped if needed. */
export function begin(messages = []) {
    const all = earlier();
    if (conversation.messages.length > 0) all.unshift({ time: Date.now(), messages: plainly(conversation.messages) });
    keep("earlier", all.slice(0, MOST), withoutOldest);
    conversation.messages = messages;
    remember();
}

/** Continues an earlier conversation. */
export function reopen(index) {
    const { messages } = earlier()[index];
    drop(index);
    begin(restored(messages));
}

/** Deletes an earlier conversation. */
export const drop = (index) => keep("earlier", earlier().filter((_, other) => other !== index), withoutOldest);
