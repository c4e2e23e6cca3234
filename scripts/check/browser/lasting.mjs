// What lasts: conversations over a reload, without storage, and when they are very long.

import { equal, expect } from "./expect.mjs";

/** Number of answers that the server is writing. */
const running = (page) => page.evaluate(async () => Number(/^wgpt_running (\d+)/m.exec(await (await fetch("/metrics")).text())[1]));

/** Replaces localStorage: `denied` throws on every access, `full` on every write. */
function spoiled(how) {
    const refuse = (name) => {
        throw new DOMException("for a check", name);
    };
    if (how === "full") Storage.prototype.setItem = () => refuse("QuotaExceededError");
    else for (const name of ["localStorage", "sessionStorage", "indexedDB"]) Object.defineProperty(window, name, { get: () => refuse("SecurityError") });
}

/** Replaces the server's answer to a chat by `begin` and many pieces; the page gets one in each frame. */
function longAnswer({ begin, pieces, piece }) {
    const real = window.fetch;
    window.asked = [];
    window.fetch = (path, options) => {
        if (path !== "/v1/chat/completions") return real(path, options);
        window.asked.push(JSON.parse(options.body));
        const encoder = new TextEncoder();
        let sent = 0;
        const body = new ReadableStream({
            pull: (controller) => new Promise((done) => requestAnimationFrame(() => {
                const last = sent === pieces;
                const choice = last ? { delta: {}, finish_reason: "stop" } : { delta: { content: sent === 0 ? begin + piece : piece } };
                controller.enqueue(encoder.encode(`data: ${JSON.stringify({ choices: [{ index: 0, ...choice }] })}\n\n`));
                sent += 1;
                if (last) controller.close();
                done();
            })),
        }, { highWaterMark: 1 });
        return Promise.resolve(new Response(body, { headers: { "content-type": "text/event-stream" } }));
    };
}

async function ask(page, text) {
    await page.fill("#message", text);
    await page.keyboard.press("Enter");
}

export async function lasting(check) {
    await check("a reload keeps what there is of an answer", { before: { "wgpt.settings": { maxTokens: 256 } } }, async (page) => {
        let asked = 0;
        page.on("request", (request) => (asked += request.url().endsWith("/v1/chat/completions") ? 1 : 0));
        const question = "slow: tell me a long story about the sea.";
        await ask(page, question);
        await page.waitForFunction(() => (document.querySelector(".told .prose")?.textContent.length ?? 0) > 20);
        const before = await page.locator(".told .prose").textContent();
        await page.reload();
        await page.waitForSelector(".told >> text=Stopped.");
        equal(await page.locator(".said p").allTextContents(), [question], "the questions");
        const after = await page.locator(".told .prose").textContent();
        expect(after.startsWith(before), `${JSON.stringify(after)} does not begin with ${JSON.stringify(before)}`);
        equal(await page.inputValue("#message"), "", "the field");
        for (let tries = 0; tries < 200 && await running(page) > 0; tries += 1) await page.waitForTimeout(50);
        equal([await running(page), asked], [0, 1], "answers that the server still writes, and requests");
    });

    for (const how of ["denied", "full"]) {
        await check(`a session without storage loses nothing: ${how}`, {}, async (page, { problems }) => {
            await page.addInitScript(spoiled, how);
            await page.route("**/wgpt/about", (route) => {
                const fine = route.request().headers().authorization === "Bearer open sesame";
                return fine ? route.continue() : route.fulfill({ status: 401, contentType: "application/json", body: "{}" });
            });
            await page.reload();
            await page.fill("#key", "open sesame");
            await page.keyboard.press("Enter");
            await page.waitForSelector(".hero");
            await page.keyboard.press("Escape");
            await page.locator("main").focus();
            await page.keyboard.press("s");
            await page.fill("#setting-max_tokens", "8");
            await page.keyboard.press("Tab");
            await page.keyboard.press("Escape");
            await ask(page, "What is a cat?");
            await page.waitForSelector(".told .acts");
            const words = how === "full" ? "no room left" : "stores nothing";
            equal(await page.locator(`.notice >> text=${words}`).count(), 1, "notices about the storage");
            const said = await page.locator(".told .prose").textContent();
            await page.fill("#message", "a draft");
            for (const view of ["training", "chat"]) {
                await page.click(`.rail a[href='#/${view}']`);
                await page.waitForSelector(`main.view-${view}`);
            }
            equal(await page.inputValue("#message"), "a draft", "what was being written");
            equal(await page.locator(".told .prose").textContent(), said, "the answer");
            await page.click(".notice button");
            await page.click(".composer [title='New chat (n)']");
            await page.waitForSelector(".hero");
            await ask(page, "And a dog?");
            await page.waitForSelector(".told .acts");
            equal(await page.locator(".notice").count(), 0, "notices after the first");
            await page.click(".composer [title='Earlier chats (h)']");
            await page.click(".earlier >> text=What is a cat?");
            equal(await page.locator(".told .prose").textContent(), said, "the answer of the earlier chat");
            await page.click(".composer [title='Earlier chats (h)']");
            equal(await page.locator(".earlier .first").allTextContents(), ["And a dog?"], "the other chat is earlier now");
            equal(problems.filter((problem) => !problem.startsWith("Failed to load resource")), [], "problems");
            problems.length = 0;
        });
    }

    const kinds = { "a paragraph": "word *and* word. ".repeat(25), list: "- an item\n".repeat(40), code: "let a = 1;\n".repeat(36) };
    for (const [kind, piece] of Object.entries(kinds)) {
        const pieces = Math.ceil(100000 / piece.length);
        await check(`a hundred thousand characters are sent, answered and kept: ${kind}`, {}, async (page) => {
            const begin = kind === "code" ? "```js\n" : "";
            const answer = begin + piece.repeat(pieces);
            await page.addInitScript(longAnswer, { begin, pieces, piece });
            await page.reload();
            await page.waitForSelector("#message");
            const message = "One line of a long message.\n".repeat(3600).slice(0, 100001);
            // From the clipboard, as people do it.
            await page.evaluate((message) => {
                const area = document.body.appendChild(document.createElement("textarea"));
                area.value = message;
                area.select();
            }, message);
            await page.keyboard.press("Control+c");
            await page.focus("#message");
            await page.keyboard.press("Control+v");
            await page.evaluate(() => {
                window.drawn = 0;
                const size = (node) => node.textContent.length;
                const told = new MutationObserver((changes) => changes.forEach(({ addedNodes, target, oldValue }) => {
                    if (!(target.data === undefined ? target : target.parentElement)?.closest(".told .prose")) return;
                    addedNodes.forEach((node) => (window.drawn += size(node)));
                    if (oldValue !== null) window.drawn += target.data.length - oldValue.length;
                }));
                told.observe(document.querySelector("main"), { subtree: true, childList: true, characterData: true, characterDataOldValue: true });
            });
            await page.keyboard.press("Enter");
            await page.waitForSelector(".told .acts", { timeout: 60000 });
            equal(await page.evaluate(() => window.asked.map(({ messages }) => messages[0].content.length)), [message.length], "the message that was sent");
            const drawn = await page.evaluate(() => window.drawn);
            expect(drawn < 12 * answer.length, `${drawn} characters were drawn for an answer of ${answer.length}`);
            const shown = await page.evaluate(async (answer) => {
                const { markdown } = await import("/web/markdown.js");
                return document.querySelector(".told .prose").innerHTML === markdown(answer).innerHTML;
            }, answer);
            expect(shown, "the answer is not shown as it should be");
            await page.reload();
            await page.waitForSelector(".told .acts");
            const kept = await page.evaluate(() => JSON.parse(localStorage.getItem("wgpt.conversation")).map(({ content }) => content.length));
            equal(kept, [message.length, answer.length], "lengths of what was kept");
            equal(await page.locator(".said p").evaluate((node) => node.textContent.length), message.length, "the message is shown");
        });
    }
}
