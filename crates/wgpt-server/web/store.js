// What the browser keeps: settings and conversations. Nothing of it is needed; a browser that keeps nothing works too.

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

/** A value that was kept, or `otherwise`. */
export function kept(name, otherwise) {
    try {
        const text = localStorage.getItem(`wgpt.${name}`);
        return text === null ? otherwise : JSON.parse(text);
    } catch {
        return otherwise;
    }
}

/** Keeps a value; false where the browser has no room or no storage. */
export function keep(name, value) {
    try {
        localStorage.setItem(`wgpt.${name}`, JSON.stringify(value));
        return true;
    } catch {
        return false;
    }
}

/** The settings, with what is missing or of another type filled in. */
export const settings = { ...DEFAULTS };
const before = kept("settings", {});
for (const [name, value] of Object.entries(DEFAULTS)) {
    const had = before?.[name];
    if (had !== undefined && (typeof had === typeof value || name === "seed")) settings[name] = had;
}

const hearers = new Set();

/** Changes settings, keeps them, and tells whoever listens which ones changed. */
export function change(changes) {
    Object.assign(settings, changes);
    keep("settings", settings);
    hearers.forEach((hear) => hear(changes));
}

/** Hears of changed settings. */
export const onChange = (hear) => hearers.add(hear);

/** A seed that the server can take and JSON can carry: 31 bits. */
export function freshSeed() {
    return crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
}

/** The sampling of an answer, as requests and ratings name it. The `variant`-th answer to a prompt has a seed of its own. */
export function sampling(variant = 0) {
    const seed = settings.seed === null ? freshSeed() : settings.seed + variant;
    return { temperature: settings.temperature, top_p: settings.topP, max_tokens: settings.maxTokens, seed };
}
