// Calls to the worker that runs the engine.

/** The engine's error, in words for people; `lost` if the GPU was lost. */
export class Refused extends Error {
    constructor({ message, lost }) {
        super(message);
        this.lost = lost;
    }
}

/**
 * A worker with an engine. `failed(error)` is called for every call that fails. Returns `{call, close}`; `call(on,
 * method, args, {hear, signal})` resolves with a value, or with a remote object, `{call(method, args, more), free()}`.
 * `hear` is called with everything reported during a call; `signal` asks it to end early and return what it has.
 */
export function connect(failed) {
    const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    const waiting = new Map();
    let calls = 0;

    function refuse(id, error) {
        const { reject } = waiting.get(id);
        waiting.delete(id);
        const refused = new Refused(error);
        failed(refused);
        reject(refused);
    }

    worker.addEventListener("message", ({ data: { id, event, value, handle, error } }) => {
        const asked = waiting.get(id);
        if (!asked) return;
        if (event) {
            asked.hear?.(...event);
            return;
        }
        if (error) {
            refuse(id, error);
            return;
        }
        waiting.delete(id);
        asked.resolve(handle === undefined ? value : remote(handle));
    });
    worker.addEventListener("error", (event) => {
        event.preventDefault();
        const message = `The engine's worker does not run: ${event.message || "worker.js did not load"}.`;
        [...waiting.keys()].forEach((id) => refuse(id, { message, lost: false }));
    });

    function call(on, method, args = [], { hear = null, signal = null } = {}) {
        return new Promise((resolve, reject) => {
            calls += 1;
            const id = calls;
            waiting.set(id, { resolve, reject, hear });
            signal?.addEventListener("abort", () => worker.postMessage({ stop: id }));
            const moved = args.filter((one) => one instanceof Uint8Array).map((bytes) => bytes.buffer);
            worker.postMessage({ id, on, method, args, hears: hear !== null }, moved);
        });
    }

    const remote = (handle) => ({
        call: (method, args, more) => call(handle, method, args, more),
        free: () => call(handle, "free").catch(() => {}),
    });

    return {
        call,
        close: () => {
            worker.terminate();
            waiting.clear();
        },
    };
}
