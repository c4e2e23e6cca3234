// Requests to the server that served the page, and errors in words.

import { keep, kept } from "./store.js";
import { t } from "./words.js";

/**
 * An error. `kind`: `away` (no server), `busy` (its queue is full), `context` (too long for the model), `refused` (the
 * request is invalid), `key` (the server requires a key), `broken` (anything else).
 */
export class Trouble extends Error {
    constructor(kind, detail = "") {
        super(detail);
        this.kind = kind;
    }

    /** The error in words, with what to do about it. */
    words() {
        const known = t(`trouble_${this.kind}`);
        return this.message && !["away", "busy", "key"].includes(this.kind) ? `${known} ${this.message}` : known;
    }
}

/** Converts any error to a `Trouble`; an aborted request is returned unchanged. */
export function trouble(error) {
    if (error instanceof Trouble || error?.name === "AbortError") return error;
    return error instanceof TypeError ? new Trouble("away") : new Trouble("broken", String(error?.message ?? error));
}

/** The `Trouble` for the server's error response: OpenAI's `{"error": {"message", "type", "code"}}`. */
export function refusal(status, body) {
    const message = String(body?.error?.message ?? body?.error ?? body?.message ?? "");
    const about = `${body?.error?.code ?? ""} ${body?.error?.type ?? ""} ${message}`;
    if (status === 401) return new Trouble("key", message);
    if (status === 429 || status === 503) return new Trouble("busy", message);
    if (/context/i.test(about) && (status < 500 || status === undefined)) return new Trouble("context", message);
    return new Trouble(status >= 400 && status < 500 ? "refused" : "broken", message || `HTTP ${status}`);
}

/** Stores the server's key, which is then sent with every request. */
export const useKey = (key) => keep("key", key);

/** Sends a request; an unsuccessful response is thrown as a `Trouble`. `body` makes it a POST. */
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

/** The JSON of a response. */
export async function json(path, options) {
    const response = await request(path, options);
    try {
        return await response.json();
    } catch (error) {
        if (error?.name === "AbortError") throw error;
        throw new Trouble("broken", t("no_json", { path }));
    }
}

/** The server's description of itself, requested at the start; empty until then. */
export const about = {};

/** Requests the server's description of itself. */
export async function introduce() {
    Object.assign(about, await json("/wgpt/about"));
    return about;
}
