// Settings and conversations in the browser's storage. What the browser does not store, the page remembers for as long
// as it is open.

const DEFAULTS = {
    temperature: 0.7,
    topP: 0.9,
    maxTokens: 256,
    seed: null,
    system: "",
    rater: "",
    adapter: "",
    theme: "auto",
    language: "",
    compare: false,
};

/** What the browser did not store, as JSON by name. */
const unstored = new Map();

/** Why the browser stores nothing (`none`) or nothing more (`full`), once that is known. */
let lack = null;
let hearLack = () => {};

/** Calls `hear` with the reason when it turns out that the browser does not store everything; at most once. */
export function onLack(hear) {
    hearLack = hear;
    if (lack) hear(lack);
}

function lacks(error) {
    if (lack) return;
    lack = error?.name === "QuotaExceededError" ? "full" : "none";
    hearLack(lack);
}

function stored(name) {
    try {
        return localStorage.getItem(`wgpt.${name}`);
    } catch (error) {
        lacks(error);
        return null;
    }
}

/** A stored value, or `otherwise`. */
export function kept(name, otherwise) {
    const text = unstored.get(name) ?? stored(name);
    try {
        return text === null ? otherwise : JSON.parse(text);
    } catch {
        return otherwise;
    }
}

/**
 * Stores a value. If there is no room for it, `less(value)` may return a smaller one to store instead, or null; the
 * whole value is then there until the page is closed.
 */
export function keep(name, value, less = () => null) {
    let refused = null;
    for (let part = value; part !== null; part = less(part)) {
        try {
            localStorage.setItem(`wgpt.${name}`, JSON.stringify(part));
            if (part === value) unstored.delete(name);
            else unstored.set(name, JSON.stringify(value));
            return;
        } catch (error) {
            refused = error;
        }
    }
    unstored.set(name, JSON.stringify(value));
    lacks(refused);
}

/** The settings; missing values and values of the wrong type are replaced by defaults. */
export const settings = { ...DEFAULTS };
const before = kept("settings", {});
for (const [name, value] of Object.entries(DEFAULTS)) {
    const had = before?.[name];
    if (had !== undefined && (typeof had === typeof value || name === "seed")) settings[name] = had;
}

const hearers = new Set();

/** Changes and stores settings, and tells all listeners which ones changed. */
export function change(changes) {
    Object.assign(settings, changes);
    keep("settings", settings);
    hearers.forEach((hear) => hear(changes));
}

/** Adds a listener for changed settings. */
export const onChange = (hear) => hearers.add(hear);

/** A random seed of 31 bits, which the server accepts and JSON can represent. */
export function freshSeed() {
    return crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
}

/** The sampling settings of an answer, as in requests and ratings. Each `variant` of an answer has its own seed. */
export function sampling(variant = 0) {
    const seed = settings.seed === null ? freshSeed() : settings.seed + variant;
    return { temperature: settings.temperature, top_p: settings.topP, max_tokens: settings.maxTokens, seed };
}
