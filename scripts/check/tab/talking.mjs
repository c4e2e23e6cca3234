// Conversation with the model that ships with the page, and with one that was just trained.

import { readFile } from "node:fs/promises";
import { expect } from "../browser/expect.mjs";
import { begin, done } from "./steps.mjs";

/** Asks a question and returns the complete answer. */
async function ask(page, text) {
    const before = await page.locator("#talk .told").count();
    await page.fill("#message", text);
    await page.keyboard.press("Enter");
    await page.waitForFunction(
        (before) => {
            const told = [...document.querySelectorAll("#talk .told")];
            return told.length > before && told.at(-1).querySelector(".acts");
        },
        before,
    );
    const wrong = await page.locator("#talk .notice").allTextContents();
    expect(wrong.length === 0, wrong.join());
    return (await page.locator("#talk .told .prose").last().textContent()).trim();
}

export async function talking(check) {
    await check("the shipped model answers", {}, async (page) => {
        await page.waitForSelector(".strip .adapter");
        await page.click('.rail nav a[href="#talk"]');
        await page.click("#talk details.more > summary");
        await page.fill("#temperature", "0");
        await page.fill("#most", "40");
        const answer = await ask(page, "What is the capital of France?");
        console.log(`      ${answer}`);
        // The same answer as wgpt chat's.
        expect(answer.includes("Paris"), `the answer ${JSON.stringify(answer)}`);
        await page.waitForSelector("#talk .bars li");
        const second = await ask(page, "Who are you?");
        expect(second.length > 3, `the second answer ${JSON.stringify(second)}`);
    });

    await check("a model that was just trained goes on with a text", {}, async (page) => {
        const text = (await readFile("data/shakespeare.txt", "utf8")).slice(0, 8000);
        await begin(page, text, { layers: 1, heads: 2, width: 32, context: 32, batch: 4, steps: 5, every: 5 });
        await done(page, 5);
        await page.click('.rail nav a[href="#talk"]');
        await page.selectOption("#talkmodel", "trained");
        await page.click("#talk details.more > summary");
        await page.fill("#most", "20");
        const answer = await ask(page, "Who is");
        expect(answer.length > 0, "nothing was written");
    });
}
