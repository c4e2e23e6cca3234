// A minimal static host that serves the page from a folder below its root.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const KINDS = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".wasm": "application/wasm", ".txt": "text/plain" };

/** Serves a folder under a path of its own; returns `{url, close()}`. */
export async function host(folder) {
    const below = "/some/where";
    const server = createServer(async (request, response) => {
        const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
        const name = normalize(path.slice(below.length)).replace(/\/$/, "/index.html");
        try {
            if (!path.startsWith(`${below}/`) || name.includes("..")) throw new Error("elsewhere");
            const content = await readFile(join(folder, name));
            response.writeHead(200, { "content-type": KINDS[extname(name)] ?? "application/octet-stream", "content-length": content.length });
            response.end(content);
        } catch {
            response.writeHead(404);
            response.end();
        }
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    return {
        url: `http://127.0.0.1:${server.address().port}${below}/tab/`,
        close: () => {
            server.close();
            server.closeAllConnections();
        },
    };
}
