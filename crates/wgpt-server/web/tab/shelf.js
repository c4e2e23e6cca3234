// What the browser keeps of a training run: whole or not at all, in one transaction of IndexedDB.

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

/** One transaction: `work(store)` asks for what it needs, and gives what the transaction is to give when it is through. */
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

/** Keeps a run in place of the one before: `about` (small, for the offer to go on), the checkpoint's bytes, the text. */
export const keepRun = (about, bytes, text) => transaction("readwrite", (store) => {
    store.put(about, "about");
    store.put(bytes, "bytes");
    store.put(text, "text");
    return () => about;
});

/** What is known of the run that is kept; null where there is none, or the browser keeps nothing. */
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

/** The whole run that is kept: `{about, bytes, text}`. */
export const takeRun = () => transaction("readonly", (store) => {
    const asked = ["about", "bytes", "text"].map((key) => store.get(key));
    return () => Object.fromEntries(["about", "bytes", "text"].map((key, index) => [key, asked[index].result]));
});

/** Forgets it. */
export const forgetRun = () => transaction("readwrite", (store) => {
    store.clear();
    return () => null;
});
