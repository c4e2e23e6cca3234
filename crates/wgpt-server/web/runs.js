// Data of runs: the list, and the metrics and samples of the chosen ones, refreshed while one is running.

import { json, Trouble } from "./api.js";

/** Milliseconds between requests while a run is live, and otherwise. */
const LIVE = 2000;
const IDLE = 10000;

/** Metrics and samples by run name, kept for as long as the page is open. */
const known = new Map();

/** The data of a run: `rows` and `samples` by step. */
export function run(name) {
    if (!known.has(name)) known.set(name, { rows: new Map(), samples: new Map(), last: -1 });
    return known.get(name);
}

/** A curve of a run: `[[step, value]..]` in ascending order of steps. */
export function curve(name, key) {
    const points = [];
    for (const [step, row] of run(name).rows) if (typeof row[key] === "number") points.push([step, row[key]]);
    return points.sort((one, other) => one[0] - other[0]);
}

/** The names of all metrics of a run. */
export function keys(name) {
    const found = new Set();
    for (const row of run(name).rows.values()) {
        for (const [key, value] of Object.entries(row)) if (typeof value === "number" && key !== "step") found.add(key);
    }
    return found;
}

/** A run's samples, oldest first: `{step, text, score}`. */
export const samples = (name) => [...run(name).samples.values()].sort((one, other) => one.step - other.step);

function learn(name, { metrics = [], samples = [] }) {
    const { rows, samples: texts } = run(name);
    for (const line of [...metrics, ...samples]) {
        const row = typeof line === "string" ? JSON.parse(line) : line;
        const step = row.step;
        if (!Number.isFinite(step)) continue;
        const text = row.sample ?? row.text;
        if (typeof text === "string") texts.set(step, { step, text, score: row.sample_score ?? row.score });
        else rows.set(step, { ...rows.get(step), ...row });
        run(name).last = Math.max(run(name).last, step);
    }
}

/**
 * Requests the list, and new data of the runs that `chosen()` names, until the returned function is called.
 * `told(list)` is called with every answer, `failed(error)` on every error. Nothing is requested while the page is
 * hidden.
 */
export function watch(chosen, told, failed) {
    const ended = new AbortController();
    const { signal } = ended;
    let timer = 0;
    let asking = false;
    const ask = async () => {
        clearTimeout(timer);
        if (asking || signal.aborted) return;
        asking = true;
        let live = false;
        try {
            const list = await json("/wgpt/runs", { signal });
            live = list.some((one) => one.running);
            await told(list);
            await Promise.all(chosen().map(async (name) => {
                const since = Math.max(0, run(name).last);
                learn(name, await json(`/wgpt/runs/${encodeURIComponent(name)}?since=${since}`, { signal }));
            }));
            await told(list);
        } catch (error) {
            if (error instanceof Trouble) failed(error);
            else if (error?.name !== "AbortError") throw error;
        } finally {
            asking = false;
            if (!signal.aborted && !document.hidden) timer = setTimeout(ask, live ? LIVE : IDLE);
        }
    };
    const seen = () => !document.hidden && ask();
    document.addEventListener("visibilitychange", seen);
    ask();
    return {
        ask,
        stop: () => {
            ended.abort();
            clearTimeout(timer);
            document.removeEventListener("visibilitychange", seen);
        },
    };
}
