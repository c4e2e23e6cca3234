// Visitors of a page: a fresh browser context for each check. A check fails on an exception or on any error in the
// background.

import { createRequire } from "node:module";
import { resolve } from "node:path";

/** The options of a command line, `--name value`, with defaults. */
export function given(defaults) {
    const options = { chromium: "/usr/bin/chromium", modules: ".", ...defaults };
    for (let at = 2; at < process.argv.length; at += 2) options[process.argv[at].replace(/^--/, "")] = process.argv[at + 1];
    return options;
}

/**
 * Starts a browser. `options`: `url`, `chromium` and `modules` (paths), `only` (checks whose name contains the word),
 * `shots` (a folder for screenshots of failures). `args` are flags of the browser; messages that match `harmless` are
 * ignored. Returns `{check(name, visitor, work), end()}`; `end` returns the number of failures.
 */
export async function visitors(options, { args = [], harmless = null } = {}) {
    const { chromium } = createRequire(`${resolve(options.modules)}/`)("playwright-core");
    const browser = await chromium.launch({ executablePath: options.chromium, args: ["--no-sandbox", ...args] });
    const origin = new URL(options.url).origin;
    let failures = 0;

    async function visit({ width = 1280, height = 800, language = "en-US", dark = false, before = {} } = {}) {
        const context = await browser.newContext({ viewport: { width, height }, locale: language, colorScheme: dark ? "dark" : "light", acceptDownloads: true });
        const problems = [];
        const note = (text) => harmless?.test(text) || problems.push(text);
        await context.addInitScript((before) => {
            for (const [key, value] of Object.entries(before)) if (localStorage.getItem(key) === null) localStorage.setItem(key, JSON.stringify(value));
            document.addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
        }, before);
        const page = await context.newPage();
        page.setDefaultTimeout(Number(options.timeout ?? 240000));
        page.on("console", (message) => ["error", "warning"].includes(message.type()) && note(message.text()));
        page.on("pageerror", (error) => note(String(error)));
        page.on("dialog", (dialog) => {
            problems.push(`a dialog: ${dialog.message()}`);
            dialog.dismiss();
        });
        page.on("request", (request) => {
            const url = new URL(request.url());
            if (!["data:", "blob:"].includes(url.protocol) && url.origin !== origin) problems.push(`a request to another host: ${url.href}`);
        });
        await page.goto(options.url);
        await page.waitForSelector(".rail nav a");
        return { page, problems, close: () => context.close() };
    }

    async function check(name, visitor, work) {
        if (options.only && !name.includes(options.only)) return;
        const began = Date.now();
        const { page, problems, close } = await visit(visitor);
        try {
            await work(page, { ...options, problems });
            if (problems.length > 0) throw new Error(problems.join("\n  "));
            console.log(`ok    ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
        } catch (error) {
            failures += 1;
            console.log(`FAIL  ${name}: ${error.message.split("\n").slice(0, 6).join("\n  ")}`);
            if (options.shots) await page.screenshot({ path: `${options.shots}/${name.replaceAll(/\W+/g, "-")}.png` });
        }
        await close();
    }

    return {
        check,
        end: async () => {
            await browser.close();
            return failures;
        },
    };
}

/** Prints the result and sets the exit status accordingly. */
export function verdict(failures) {
    console.log(failures === 0 ? "the page is fine" : `${failures} checks failed`);
    process.exitCode = failures === 0 ? 0 : 1;
}
