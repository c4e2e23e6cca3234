// A training run in the browser's storage, written in one transaction of IndexedDB: completely or not at all.

const NAME = "wgpt-tab";
const STORE = "run";

function opened() {
    return new Promise((resolve, reject) => {
        const request = indexedDB.open(NAME, 1);
        request.onupgradeneeded = () => request.result.createObjectStore(STORE);
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
    });
}

/**
 * Runs one transaction: `work(store)` makes the requests, and returns the request whose result is the transaction's.
 */
async function transaction(mode, work) {
    const database = await opened();
    try {
        return await new Promise((resolve, reject) => {
            const one = database.transaction(STORE, mode);
            const found = work(one.objectStore(STORE));
            one.oncomplete = () => resolve(found());
            one.onabort = () => reject(one.error);
        });
    } finally {
        database.close();
    }
}

/**
 * Stores a run, replacing the previous one: `about` (small, for the offer to resume), the checkpoint's bytes, the text.
 */
export const keepRun = (about, bytes, text) => transaction("readwrite", (store) => {
    store.put(about, "about");
    store.put(bytes, "bytes");
    store.put(text, "text");
    return () => about;
});

/** The description of the stored run; null if there is none, or if the browser stores nothing. */
export async function keptRun() {
    try {
        return await transaction("readonly", (store) => {
            const asked = store.get("about");
            return () => asked.result ?? null;
        });
    } catch {
        return null;
    }
}

/** The complete stored run: `{about, bytes, text}`. */
export const takeRun = () => transaction("readonly", (store) => {
    const asked = ["about", "bytes", "text"].map((key) => store.get(key));
    return () => Object.fromEntries(["about", "bytes", "text"].map((key, index) => [key, asked[index].result]));
});

/** Deletes the stored run. */
export const forgetRun = () => transaction("readwrite", (store) => {
    store.clear();
    return () => null;
});
