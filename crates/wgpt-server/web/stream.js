// Streams answers: parses server-sent events, and builds a chat answer from them.

import { about, refusal, request, trouble, Trouble } from "./api.js";
import { settings } from "./store.js";

/** The JSON objects of a stream of server-sent events, until `[DONE]`. */
export async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let waiting = "";
    try {
        for (;;) {
            const { value, done } = await reader.read();
            waiting += value ?? "";
            const parts = waiting.split(/\r?\n\r?\n/);
            waiting = done ? "" : parts.pop();
            for (const part of parts) {
                const lines = part.split(/\r?\n/).filter((line) => line.startsWith("data:"));
                const data = lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
                if (data === "[DONE]") return;
                if (data !== "") yield JSON.parse(data);
            }
            if (done) return;
        }
    } finally {
        reader.cancel().catch(() => {});
    }
}

/** Number of likeliest tokens requested with each token. */
const TOP = 20;

/** A token in OpenAI's format, converted to wgpt's with its candidates. */
const told = ({ token, logprob, bytes, top_logprobs = [] }) => ({
    text: token,
    bytes,
    logprob,
    top: top_logprobs.map(({ token: text, logprob, bytes }) => ({ text, logprob, bytes })),
});

/**
 * Streams an answer into `answer`: `content` grows, `tokens` gets an entry per token (with its candidates), `finish` is
 * the reason it ended. `grown` is called after each change. A model without a chat template continues the last text.
 */
export async function respond(messages, answer, { signal, grown }) {
    const { seed, temperature, top_p, max_tokens } = answer.sampling;
    const adapted = about.adapters?.includes(settings.adapter);
    const common = { model: adapted ? settings.adapter : about.model, stream: true, seed, temperature, top_p, max_tokens };
    const talks = about.chats !== false;
    const asked = talks
        ? { ...common, messages, logprobs: true, top_logits: TOP }
        : { ...common, prompt: messages.at(-1).content };
    const began = performance.now();
    try {
        const path = talks ? "/v1/chat/completions" : "/v1/completions";
        for await (const event of events(await request(path, { body: asked, signal }))) {
            if (event.error) throw refusal(event.error.status, event);
            const choice = event.choices?.[0];
            if (!choice) continue;
            if (choice.finish_reason) answer.finish = choice.finish_reason;
            const text = choice.delta?.content ?? choice.text ?? "";
            const tokens = Array.isArray(choice.logprobs?.content) ? choice.logprobs.content : [];
            // The first event contains only the role, the last one only the reason for the end.
            if (text === "" && tokens.length === 0) continue;
            answer.content += text;
            answer.tokens.push(...tokens.map(told));
            answer.first ??= performance.now() - began;
            answer.count = (answer.count ?? 0) + Math.max(1, tokens.length);
            answer.elapsed = performance.now() - began;
            grown();
        }
        // A stream that ends without a reason was cut off because the server went away.
        if (!answer.finish) throw new Trouble("away");
    } catch (error) {
        throw trouble(error);
    }
}
