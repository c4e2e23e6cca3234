// Talking with the server that served the page, and what can go wrong, in words.

import { keep, kept } from "./store.js";
import { t } from "./words.js";

/**
 * What went wrong. `kind`: `away` (no server), `busy` (its queue is full), `context` (too long for the model), `refused`
 * (the request is wrong), `key` (the server wants a key), `broken` (anything else).
 */
export class Trouble extends Error {
    constructor(kind, detail = "") {
        super(detail);
        this.kind = kind;
    }

    /** In words, with what to do. */
    words() {
        const known = t(`trouble_${this.kind}`);
        return this.message && !["away", "busy", "key"].includes(this.kind) ? `${known} ${this.message}` : known;
    }
}

/** Any error as trouble; a cancelled request stays what it is. */
export function trouble(error) {
    if (error instanceof Trouble || error?.name === "AbortError") return error;
    return error instanceof TypeError ? new Trouble("away") : new Trouble("broken", String(error?.message ?? error));
}

/** Trouble from what the server says: OpenAI's `{"error": {"message", "type", "code"}}`. */
export function refusal(status, body) {
    const message = String(body?.error?.message ?? body?.error ?? body?.message ?? "");
    const about = `${body?.error?.code ?? ""} ${body?.error?.type ?? ""} ${message}`;
    if (status === 401) return new Trouble("key", message);
    if (status === 429 || status === 503) return new Trouble("busy", message);
    if (/context/i.test(about) && (status < 500 || status === undefined)) return new Trouble("context", message);
    return new Trouble(status >= 400 && status < 500 ? "refused" : "broken", message || `HTTP ${status}`);
}

/** Keeps the key that the server was started with; it goes with every request. */
export const useKey = (key) => keep("key", key);

/** Sends a request; an answer that is no success becomes trouble. `body` makes it a POST. */
export async function request(path, { body, signal } = {}) {
    const options = { signal, headers: { accept: "application/json" } };
    const key = kept("key", "");
    if (key) options.headers.authorization = `Bearer ${key}`;
    if (body !== undefined) {
        options.method = "POST";
        options.headers["content-type"] = "application/json";
        options.body = JSON.stringify(body);
    }
    let response;
    try {
        response = await fetch(path, options);
    } catch (error) {
        throw trouble(error);
    }
    if (!response.ok) throw refusal(response.status, await response.json().catch(() => null));
    return response;
}

/** The JSON of an answer. */
export async function json(path, options) {
    const response = await request(path, options);
    try {
        return await response.json();
    } catch (error) {
        if (error?.name === "AbortError") throw error;
        throw new Trouble("broken", t("no_json", { path }));
    }
}

/** What the server told of itself at the start; empty until then. */
export const about = {};

/** Asks the server for itself. */
export async function introduce() {
    Object.assign(about, await json("/wgpt/about"));
    return about;
}
