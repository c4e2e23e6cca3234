// Chat: an answer that streams and is stopped, ratings that reach the database, text that stays text.

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { equal, expect, HOSTILE, stillText } from "./expect.mjs";

const SHORT = { "wgpt.settings": { maxTokens: 24, rater: "browser", temperature: 0.9 } };

/** The ratings made by the checks, newest last. */
async function ratings(page, { wgpt, feedback }) {
    if (wgpt) {
        // The database is created with the first rating.
        if (!existsSync(feedback)) return [];
        const told = execFileSync(wgpt, ["feedback", "list", "--json", "--rater", "browser", "--feedback", feedback], { encoding: "utf8" });
        return JSON.parse(told.trim().split("\n").at(-1)).ratings;
    }
    const told = await page.evaluate(async () => (await fetch("/wgpt/feedback")).json());
    return told.recent.filter(({ rater }) => rater === "browser").reverse().map(({ verdict, answers }) => ({
        kind: "best" in verdict ? "best" : "score",
        answers: answers.map((answer, index) => ({
            text: answer.text ?? answer,
            value: "best" in verdict ? (index === verdict.best ? 1 : 2) : verdict.scores[index],
        })),
    }));
}

async function ask(page, text) {
    await page.fill("#message", text);
    await page.keyboard.press("Enter");
}

export async function chat(check) {
    await check("an answer streams, without jumps", { before: SHORT }, async (page) => {
        await page.evaluate(() => {
            window.shift = 0;
            new PerformanceObserver((list) => list.getEntries().forEach((entry) => (window.shift += entry.hadRecentInput ? 0 : entry.value)))
                .observe({ type: "layout-shift", buffered: false });
            window.lengths = new Set();
            new MutationObserver(() => {
                const prose = document.querySelector(".told .prose");
                if (prose) window.lengths.add(prose.textContent.length);
            }).observe(document.body, { subtree: true, childList: true, characterData: true });
        });
        await ask(page, "What is a cat?");
        await page.waitForSelector(".send.stops");
        await page.waitForSelector(".told .acts");
        const { lengths, shift } = await page.evaluate(() => ({ lengths: window.lengths.size, shift: window.shift }));
        expect(lengths >= 4, `the text came in ${lengths} pieces`);
        expect(shift < 0.02, `the layout shifted by ${shift}`);
        equal(await page.locator(".send.stops").count(), 0, "the button sends again");
        await page.click(".told .acts [aria-label='Tokens and their alternatives']");
        await page.waitForSelector(".tokenview .bars li");
        expect(await page.locator(".tokenview .chip").count() >= 4, "the answer's tokens");
        await page.reload();
        await page.waitForSelector(".told .prose > *");
        equal(await page.locator(".said").count(), 1, "messages after a reload");
    });

    await check("Esc stops an answer, r asks again", { before: { "wgpt.settings": { maxTokens: 256 } } }, async (page) => {
        await ask(page, "slow: tell me a long story about the sea.");
        await page.waitForSelector(".told .growing .prose > *");
        await page.keyboard.press("Escape");
        await page.waitForSelector("text=Stopped.");
        await page.locator("main .scroll").focus();
        await page.keyboard.press("r");
        await page.waitForSelector(".send.stops");
        await page.keyboard.press("Escape");
        await page.waitForSelector(".send:not(.stops)");
        await page.keyboard.press("Escape");
        await page.locator("main .scroll").focus();
        await page.keyboard.press("n");
        await page.waitForSelector(".hero");
        await page.keyboard.press("Escape");
        await page.locator("main .scroll").focus();
        await page.keyboard.press("h");
        await page.click(".earlier");
        await page.waitForSelector(".said");
        equal(await page.locator(".said").count(), 1, "an earlier chat comes back");
    });

    await check("the better of two is in the database", { before: SHORT }, async (page, options) => {
        const before = (await ratings(page, options)).length;
        await page.locator(".scroll").focus();
        await page.keyboard.press("c");
        await ask(page, "Name an animal.");
        await page.waitForSelector(".candidate.ready >> nth=1");
        const texts = await page.evaluate(async () => JSON.parse(localStorage.getItem("wgpt.conversation")).at(-1).answers.map(({ content }) => content));
        await page.keyboard.press("2");
        await page.waitForSelector("text=Saved, thank you.");
        await page.waitForSelector(".badge");
        const after = await ratings(page, options);
        equal(after.length, before + 1, "ratings");
        equal(after.at(-1).kind, "best", "the kind of rating");
        equal(after.at(-1).answers.map(({ text, value }) => [text, value]), [[texts[0], 2], [texts[1], 1]], "what was stored");
        await page.locator(".acts [aria-label='Good answer']").last().click();
        await page.waitForFunction(() => document.querySelector(".acts [aria-label='Good answer']").getAttribute("aria-pressed") === "true");
        await page.waitForTimeout(500);
        const thumbs = (await ratings(page, options)).at(-1);
        equal([thumbs.kind, thumbs.answers.map(({ value }) => value)], ["score", [5]], "thumbs up");
    });

    const talk = [
        { role: "user", content: HOSTILE },
        { role: "assistant", content: HOSTILE, state: "done", sampling: {} },
        { role: "user", content: "two" },
        { role: "choice", answers: [0, 1].map(() => ({ role: "assistant", content: HOSTILE, state: "done", sampling: {} })) },
    ];
    await check("script tags stay text", { before: { ...SHORT, "wgpt.conversation": talk } }, async (page) => {
        await page.waitForSelector(".candidate.ready");
        await stillText(page);
        equal(await page.locator(".said p").first().textContent(), HOSTILE, "the message as it was written");
        await page.keyboard.press("Escape");
        await page.locator(".scroll").focus();
        await page.keyboard.press("n");
        await ask(page, `script ${HOSTILE.slice(0, 120)}`);
        await page.waitForSelector(".told .acts");
        await stillText(page);
    });

    await check("a server that is away is said in words", { before: SHORT }, async (page, { problems }) => {
        await page.route("**/v1/**", (route) => route.abort("connectionrefused"));
        await ask(page, "Are you there?");
        await page.waitForSelector(".notice >> text=The server does not answer");
        await page.unroute("**/v1/**");
        await page.click(".notice button");
        await page.waitForSelector(".told .acts [aria-label='Good answer']");
        for (const [status, code, words] of [[429, "queue_full", "queue is full"], [400, "context_length_exceeded", "longer than the model's context"]]) {
            const body = JSON.stringify({ error: { message: "no", type: "x", code } });
            await page.route("**/v1/**", (route) => route.fulfill({ status, contentType: "application/json", body }));
            await ask(page, "And now?");
            await page.waitForSelector(`.notice >> text=${words}`);
            await page.unroute("**/v1/**");
        }
        // Browsers report failed requests by themselves.
        const unexpected = problems.filter((problem) => !problem.startsWith("Failed to load resource"));
        problems.length = 0;
        problems.push(...unexpected);
    });

    await check("a model without a chat template goes on with a text", { before: SHORT }, async (page) => {
        await page.route("**/wgpt/about", async (route) => {
            const response = await route.fetch();
            await route.fulfill({ response, json: { ...await response.json(), chats: false } });
        });
        await page.reload();
        await page.waitForSelector(".hero >> text=continue a text");
        const asked = page.waitForRequest("**/v1/completions");
        await ask(page, "The sea is");
        equal((await asked).postDataJSON().prompt, "The sea is", "the prompt");
        await page.waitForSelector(".told .acts");
        expect((await page.locator(".told .prose").textContent()).length > 3, "the text that goes on");
    });

    await check("a server with a key is asked with it", {}, async (page, { problems }) => {
        await page.route("**/wgpt/about", (route) => {
            const fine = route.request().headers().authorization === "Bearer open sesame";
            return fine ? route.continue() : route.fulfill({ status: 401, contentType: "application/json", body: "{}" });
        });
        await page.reload();
        await page.fill("#key", "open sesame");
        await page.keyboard.press("Enter");
        await page.waitForSelector(".hero");
        equal(problems.filter((problem) => !problem.startsWith("Failed to load resource")), [], "problems");
        problems.length = 0;
    });
}
