// A server with wgpt's endpoints and made-up answers, to work on the page without a model:
//   node scripts/check/browser/mock.mjs [PORT]
// The request decides the answer: "busy", "context is" and "defect" are refused, "markdown" and "script" return such
// texts, "slow" takes its time. A request to /mock/empty removes all runs and ratings, /mock/full restores them.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { answerTo, curves, ratings, textTokens } from "./mock_data.mjs";

const WEB = fileURLToPath(new URL("../../../crates/wgpt-server/web", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };
const POLICY = "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'";
const ABOUT = {
    model: "SmolLM2-135M-Instruct.Q4_1", parameters: 134515008, context: 2048, vocabulary: 49152, layers: 30, heads: 9,
    adapters: ["polite"], adapter: { name: "llvmpipe (LLVM 15.0.6, 256 bits)", backend: "Vulkan", driver: "llvmpipe" },
    reward: true, chats: true, version: "0.1.0",
};
const LAYERS = 30;
const HEADS = 9;
const started = Date.now();
let empty = false;
let writing = 0;
const stored = [];

const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));

const send = (response, status, value, type = "application/json") => {
    response.writeHead(status, { "content-type": type, "content-security-policy": POLICY });
    response.end(type === "application/json" ? JSON.stringify(value) : value);
};

const refuse = (response, status, message, code) => send(response, status, { error: { message, type: "invalid_request_error", code } });

async function body(request) {
    const parts = [];
    for await (const part of request) parts.push(part);
    return JSON.parse(Buffer.concat(parts).toString() || "{}");
}

/** A token with made-up alternatives, in OpenAI's format. */
function told(token, seed, top) {
    const share = 0.15 + 0.8 * Math.abs(Math.sin(seed * 12.9898));
    const words = [" the", " a", " cat", ",", " sea", " and", "夜", " moon", " I", ".", " of", " to", "\n", " is", " in"];
    const others = Array.from({ length: Math.max(0, top - 1) }, (_, index) => ({
        token: words[(index + seed) % words.length], id: 1000 + index,
        logprob: Math.log(((1 - share) * 0.45) / 1.5 ** index + 1e-5), bytes: [...Buffer.from(words[(index + seed) % words.length])],
    })).sort((one, other) => other.logprob - one.logprob);
    const own = { token: token.text, id: token.id, logprob: Math.log(share), bytes: token.bytes };
    return { ...own, top_logprobs: [own, ...others].sort((one, other) => other.logprob - one.logprob) };
}

async function chat(request, response) {
    const asked = await body(request);
    const text = asked.messages?.at(-1)?.content ?? asked.prompt ?? "";
    if (text.includes("busy")) return refuse(response, 429, "the queue is full: it holds 64 waiting answers; try again later", "queue_full");
    if (text.includes("context is")) return refuse(response, 400, "the prompt has 2100 tokens, the model's context 2048", "context_length_exceeded");
    if (text.includes("defect")) return refuse(response, 500, "the device was lost", "internal");
    writing += 1;
    response.on("close", () => (writing -= 1));
    response.writeHead(200, { "content-type": "text/event-stream", "content-security-policy": POLICY });
    const event = (choice) => response.write(`data: ${JSON.stringify({ object: "chat.completion.chunk", choices: [{ index: 0, finish_reason: null, ...choice }] })}\n\n`);
    const pause = text.includes("slow") ? 250 : 22;
    await sleep(pause * 8);
    event({ delta: { role: "assistant", content: "" } });
    const tokens = textTokens(answerTo(text, asked.seed ?? 0)).slice(0, asked.max_tokens ?? 256);
    let waiting = [];
    for (const [index, token] of tokens.entries()) {
        if (response.destroyed) return undefined;
        await sleep(pause);
        // The bytes of an incomplete character are held back.
        waiting.push(...token.bytes);
        let content = "";
        try {
            content = new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(waiting));
            waiting = [];
        } catch { /* the rest comes with the next token */ }
        if (asked.prompt !== undefined) event({ text: content });
        else event({ delta: { content }, logprobs: { content: [told(token, index + (asked.seed ?? 0), asked.top_logits ?? 0)] } });
    }
    event({ delta: {}, finish_reason: tokens.length === asked.max_tokens ? "length" : "stop" });
    return response.end("data: [DONE]\n\n");
}

function inside(asked) {
    const text = asked.text ?? asked.messages.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`).join("");
    const tokens = textTokens(text).slice(0, 256);
    const length = tokens.length;
    const attention = Buffer.alloc(LAYERS * HEADS * length * length);
    for (let map = 0; map < LAYERS * HEADS; map += 1) {
        for (let from = 0; from < length; from += 1) {
            const weights = Array.from({ length: from + 1 }, (_, to) => {
                const near = Math.exp(-Math.abs(from - to - (map % 5)) / (1 + (map % 4)));
                return near + (to === 0 ? 0.2 + (map % 7) / 4 : 0) + 0.05 * Math.abs(Math.sin(map * 7 + from * 3 + to * 5));
            });
            const sum = weights.reduce((total, weight) => total + weight, 0);
            weights.forEach((weight, to) => (attention[(map * length + from) * length + to] = Math.round((weight / sum) * 255)));
        }
    }
    const next = tokens.map((_, index) => {
        const real = tokens[index + 1] ?? { text: " night", id: 3163, bytes: [...Buffer.from(" night")] };
        const seen = new Set();
        const all = told(real, index, asked.top ?? 20).top_logprobs.filter(({ token }) => !seen.has(token) && seen.add(token));
        return all.map(({ token, id, logprob, bytes }) => ({ id, text: token, logprob, bytes }));
    });
    return { tokens, layers: LAYERS, heads: HEADS, attention: attention.toString("base64"), next };
}

const feedback = () => {
    const all = empty ? stored : [...ratings(), ...stored];
    const count = (key) => all.reduce((sum, one) => ({ ...sum, [key(one)]: (sum[key(one)] ?? 0) + 1 }), {});
    const kind = ({ verdict }) => ("best" in verdict ? "best" : "scores" in verdict ? "score" : "ranking");
    const by = count(({ rater }) => rater);
    return {
        ratings: all.length, by_rater: Object.entries(by).map(([rater, ratings]) => ({ rater, ratings })), by_kind: count(kind),
        agreement: all.length > 3 ? { shared_pairs: 9, compared: 11, equal: 8, share: 8 / 11 } : { shared_pairs: 0, compared: 0, equal: 0, share: null },
        recent: all.slice(-50).reverse(),
    };
};

async function handle(request, response) {
    const { pathname, searchParams } = new URL(request.url, "http://mock");
    if (pathname === "/" || pathname.startsWith("/web/")) {
        const name = pathname === "/" ? "index.html" : pathname.slice(5).replaceAll("/", "");
        return send(response, 200, await readFile(join(WEB, name)), TYPES[extname(name)]);
    }
    if (pathname.startsWith("/mock/")) {
        empty = pathname === "/mock/empty";
        return send(response, 200, { empty });
    }
    if (pathname === "/metrics") return send(response, 200, `wgpt_running ${writing}\n`, "text/plain");
    if (pathname === "/wgpt/about") return send(response, 200, ABOUT);
    if (pathname === "/v1/chat/completions" || pathname === "/v1/completions") return chat(request, response);
    if (pathname === "/tokenize") return send(response, 200, { tokens: textTokens((await body(request)).text) });
    if (pathname === "/wgpt/inside") {
        const asked = await body(request);
        const count = textTokens(asked.text ?? asked.messages.map(({ content }) => content).join("")).length;
        if (count > 256) return refuse(response, 400, `the text has ${count} tokens; give 1 to 256`, null);
        return send(response, 200, inside(asked));
    }
    if (pathname === "/wgpt/rate") {
        const { messages, answers, verdict, rater } = await body(request);
        stored.push({ prompt: messages, answers: answers.map(({ text }) => text), verdict, rater, time: Date.now() });
        return send(response, 200, { stored: true, id: stored.length });
    }
    if (pathname === "/wgpt/reward") {
        const { answers } = await body(request);
        return send(response, 200, { rewards: answers.map((text) => Number(((text.length % 17) / 7 - 1).toFixed(3))) });
    }
    if (pathname === "/wgpt/feedback") return send(response, 200, feedback());
    if (pathname === "/wgpt/feedback/export") return send(response, 200, stored.map((one) => JSON.stringify(one)).join("\n"), "application/jsonl");
    const runs = empty ? [] : curves((Date.now() - started) / 1000);
    if (pathname === "/wgpt/runs") return send(response, 200, runs.map(({ metrics, samples, ...run }) => run));
    if (pathname.startsWith("/wgpt/runs/")) {
        const run = runs.find(({ name }) => name === decodeURIComponent(pathname.slice(11)));
        if (!run) return refuse(response, 404, "no such run", "not_found");
        const since = Number(searchParams.get("since") ?? 0);
        return send(response, 200, { metrics: run.metrics.filter(({ step }) => step >= since), samples: run.samples.filter(({ step }) => step >= since) });
    }
    return refuse(response, 404, `nothing at ${pathname}`, "not_found");
}

const server = createServer((request, response) => handle(request, response).catch((error) => refuse(response, 404, String(error))));
server.listen(Number(process.argv[2] ?? 8765), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
