// Drives a headless Chromium through the page, as people use it:
//   node scripts/check/browser/main.mjs --url http://127.0.0.1:8080 [--wgpt target/release/wgpt --feedback FILE]
//       [--modules DIR with playwright-core] [--chromium PATH] [--only WORD] [--shots DIR]
// With --wgpt the ratings are looked for in the database, by `wgpt feedback list`; otherwise the server is asked.

import { createRequire } from "node:module";
import { resolve } from "node:path";
import { chat } from "./chat.mjs";
import { inside } from "./inside.mjs";
import { keyboard } from "./keyboard.mjs";
import { modules } from "./modules.mjs";
import { figures } from "./figures.mjs";

const options = { chromium: "/usr/bin/chromium", modules: "." };
for (let at = 2; at < process.argv.length; at += 2) options[process.argv[at].replace(/^--/, "")] = process.argv[at + 1];
if (!options.url) throw new Error("give the server's address: --url http://127.0.0.1:8080");

const { chromium } = createRequire(`${resolve(options.modules)}/`)("playwright-core");
const browser = await chromium.launch({ executablePath: options.chromium, args: ["--no-sandbox"] });
const origin = new URL(options.url).origin;
let failures = 0;

/** A fresh visitor; whatever goes wrong in the background is in `problems`. */
async function visit({ width = 1280, height = 800, language = "en-US", dark = false, before = {} } = {}) {
    const context = await browser.newContext({ viewport: { width, height }, locale: language, colorScheme: dark ? "dark" : "light", acceptDownloads: true });
    const problems = [];
    await context.addInitScript((before) => {
        for (const [key, value] of Object.entries(before)) if (localStorage.getItem(key) === null) localStorage.setItem(key, JSON.stringify(value));
        document.addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
    }, before);
    const page = await context.newPage();
    page.setDefaultTimeout(240000);
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(message.text()));
    page.on("pageerror", (error) => problems.push(String(error)));
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

/** Runs one check; it fails by an exception or by anything that went wrong in the background. */
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

for (const checks of [modules, keyboard, chat, inside, figures]) await checks(check);
await browser.close();
console.log(failures === 0 ? "the page is fine" : `${failures} checks failed`);
process.exitCode = failures === 0 ? 0 : 1;
