// Ratings are sent to the server's store; if it has a reward model, its scores are requested as well.

import { about, json } from "./api.js";
import { settings } from "./store.js";

/** The rater's name if none is set. */
export const ANONYMOUS = "anonymous";

/** Stores a verdict (`{best}`, `{scores}` or `{ranking}`) on answers to the messages up to the user's last one. */
export function rate(messages, answers, verdict) {
    return json("/wgpt/rate", {
        body: {
            messages,
            answers: answers.map(({ content, sampling }) => ({ text: content, sampling })),
            verdict,
            rater: settings.rater.trim() || ANONYMOUS,
        },
    });
}

/** The rewards of answers, or null if there is no reward model or it does not answer. */
export async function rewards(messages, answers) {
    if (!about.reward) return null;
    try {
        const told = await json("/wgpt/reward", { body: { messages, answers: answers.map(({ content }) => content) } });
        return told.rewards?.length === answers.length ? told.rewards : null;
    } catch {
        return null;
    }
}
