// The engine, in a worker so that the page stays responsive. Calls are processed one at a time, in order.
//
// A call is `{id, on, method, args, hears}`; `on` is the handle of an object returned by an earlier call, or null. The
// answer is `{id, value}`, `{id, handle}` or `{id, error: {message, lost}}`, preceded by `{id, event}` for everything
// reported during the call. `{stop: id}` asks a call to end early.

import { fetched } from "./fetched.js";

/** Methods that return JSON text. */
const JSON_TEXT = new Set(["about", "step", "next", "answer", "round"]);

const objects = new Map();
const stopped = new Set();
let handles = 0;
let turn = Promise.resolve();

self.onmessage = ({ data }) => {
    if (data.stop !== undefined) stopped.add(data.stop);
    else turn = turn.then(() => serve(data));
};

async function serve({ id, on, method, args, hears }) {
    const hear = (...event) => {
        if (hears) self.postMessage({ id, event });
        return !stopped.has(id);
    };
    try {
        const value = await (on === null ? unbound[method](args[0], hear) : call(objects.get(on), on, method, args, hear));
        if (typeof value?.free === "function") {
            handles += 1;
            objects.set(handles, value);
            self.postMessage({ id, handle: handles });
        } else {
            const answer = JSON_TEXT.has(method) ? JSON.parse(value) : value;
            self.postMessage({ id, value: answer }, answer instanceof Uint8Array ? [answer.buffer] : []);
        }
    } catch (error) {
        const message = String(error?.message ?? error);
        const broken = error instanceof WebAssembly.RuntimeError;
        const words = broken ? `The engine broke (${message}). Reload the page; what was kept is still there.` : message;
        self.postMessage({ id, error: { message: words, lost: /\blost\b/i.test(message) } });
    }
    stopped.delete(id);
}

/** Settings are passed as JSON, texts and bytes unchanged; the callback is the last argument. */
function call(object, on, method, args, hear) {
    if (!object) throw new Error("This belongs to an engine that is gone.");
    if (method === "free") {
        objects.delete(on);
        return object.free();
    }
    const plain = args.map((one) => (typeof one === "object" && !(one instanceof Uint8Array) ? JSON.stringify(one) : one));
    const tells = ["tune", "write", "answer"].includes(method);
    return object[method](...plain, ...(tells ? [hear] : []));
}

/** Calls that need no object. */
const unbound = { open, adapter };

/** What the browser reveals about the GPU: usually vendor and architecture, rarely a name. */
async function adapter() {
    const { vendor, architecture, description } = (await self.navigator.gpu.requestAdapter())?.info ?? {};
    return description || [vendor, architecture].filter(Boolean).join(" ");
}

async function open(options, hear) {
    if (!self.navigator.gpu) throw new Error("This browser offers no WebGPU here.");
    const binary = await fetched(new URL("./engine_bg.wasm", import.meta.url), (done, total) => hear("load", done, total));
    const module = await import("./engine.js");
    hear("open");
    await module.default({ module_or_path: binary });
    return module.Engine.open(JSON.stringify(options));
}
