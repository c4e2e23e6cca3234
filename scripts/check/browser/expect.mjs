// Assertions of the checks.

/** Fails with a message unless `fine`. */
export function expect(fine, message) {
    if (!fine) throw new Error(message);
}

/** Fails unless both are equal as JSON. */
export function equal(one, other, message) {
    const [left, right] = [JSON.stringify(one), JSON.stringify(other)];
    expect(left === right, `${message}: ${left} is not ${right}`);
}

/** Text that would run if anything treated it as HTML. */
export const HOSTILE = [
    "<script>window.broken = 1</script>", "<img src=x onerror=\"window.broken = 2\">", "<svg onload=window.broken=3>",
    "[a](javascript:window.broken=4)", "[b](data:text/html,<script>alert(1)</script>)", "<iframe srcdoc='<script>parent.broken=5</script>'>",
    "![c](x\" onerror=\"window.broken=6)", "`<script>window.broken = 7</script>`", "```html\n<script>window.broken = 8</script>\n```",
    "| <b>a</b> | b |\n|---|---|\n| <script>window.broken = 9</script> | [d](vbscript:x) |", "> <style>body{display:none}</style>",
    "[e](https://example.org/\"onmouseover=\"window.broken=10)", "- <details open ontoggle=window.broken=11>",
].join("\n\n");

/** Fails if the hostile text became anything but text. */
export async function stillText(page) {
    const found = await page.evaluate(() => ({
        broken: window.broken ?? null,
        nodes: [...document.querySelectorAll("main script, main img, main iframe, main style, main details[open], main b")].map((node) => node.tagName),
        links: [...document.querySelectorAll("main a[href]")].map((node) => node.protocol),
        handlers: [...document.querySelectorAll("main *")].filter((node) => [...node.attributes].some(({ name }) => /^on/.test(name))).length,
    }));
    equal(found.broken, null, "a script of the text ran");
    equal(found.nodes, [], "the text became nodes");
    expect(found.links.every((protocol) => /^https?:$/.test(protocol)), `links to ${found.links}`);
    equal(found.handlers, 0, "attributes that listen");
}

/** What overflows the window, what has no name for screen readers, and how many first-level headings are shown. */
export const untidy = (page) => page.evaluate(() => ({
    wide: ["html", "main"].filter((name) => {
        const node = document.querySelector(name);
        return node.scrollWidth > node.clientWidth + 1;
    }),
    nameless: [...document.querySelectorAll("button, a, input, textarea, select")].filter((node) => {
        const label = node.labels?.length > 0 || node.getAttribute("aria-label");
        return !label && node.textContent.trim() === "";
    }).map((node) => node.outerHTML.slice(0, 80)),
    titles: [...document.querySelectorAll("h1")].filter((node) => node.checkVisibility()).length,
}));
