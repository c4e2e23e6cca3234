// Downloads files next to the page, with progress.

/** The bytes at `url`; `report(done, total)` is called with the progress, `total` null if the host does not send it. */
export async function fetched(url, report = () => {}) {
    const name = new URL(url, self.location.href).pathname.split("/").at(-1);
    let response;
    try {
        response = await fetch(url);
    } catch {
        throw new Error(`${name} cannot be fetched. Is the page's host still there?`);
    }
    if (!response.ok) {
        throw new Error(`${name} is not beside this page (HTTP ${response.status}). scripts/web builds the whole folder, target/web.`);
    }
    // For a compressed response, the header has the compressed length.
    const told = response.headers.get("content-encoding") ? NaN : Number(response.headers.get("content-length"));
    const total = told > 0 ? told : null;
    const parts = [];
    let done = 0;
    const reader = response.body.getReader();
    for (;;) {
        const { value, done: ended } = await reader.read();
        if (ended) break;
        parts.push(value);
        done += value.length;
        report(done, total);
    }
    const bytes = new Uint8Array(done);
    let at = 0;
    for (const part of parts) {
        bytes.set(part, at);
        at += part.length;
    }
    return bytes;
}
