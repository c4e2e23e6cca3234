// Settings and conversations in the browser's storage. All of it is optional: the page also works without storage.

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

/** A stored value, or `otherwise`. */
export function kept(name, otherwise) {
    try {
        const text = localStorage.getItem(`wgpt.${name}`);
        return text === null ? otherwise : JSON.parse(text);
    } catch {
        return otherwise;
    }
}

/** Stores a value; returns false if the browser has no room or no storage. */
export function keep(name, value) {
    try {
        localStorage.setItem(`wgpt.${name}`, JSON.stringify(value));
        return true;
    } catch {
        return false;
    }
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
