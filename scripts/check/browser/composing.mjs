// Input methods: while one composes (Chinese, Japanese), keys belong to it.

import { equal } from "./expect.mjs";

const SHORT = { "wgpt.settings": { maxTokens: 8 } };

/** Dispatches a keydown event at the focused field, as browsers do for an input method. */
const press = (page, key, { code = 229, isComposing = false } = {}) => page.evaluate(([key, keyCode, isComposing]) => {
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, keyCode, isComposing, bubbles: true, cancelable: true }));
}, [key, code, isComposing]);

/** Begins a composition of the browser's own with this text. */
async function compose(page, text) {
    const session = await page.context().newCDPSession(page);
    await session.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
    return { accept: () => session.send("Input.insertText", { text }) };
}

export async function composing(check) {
    await check("Enter that accepts a composed word does not send", { before: SHORT }, async (page) => {
        await page.focus("#message");
        const word = await compose(page, "你好");
        await press(page, "Enter", { isComposing: true });
        await press(page, "Enter", { code: 13, isComposing: true });
        await word.accept();
        // Safari ends the composition before the key that ended it.
        await press(page, "Enter");
        equal([await page.locator(".said").count(), await page.inputValue("#message")], [0, "你好"], "messages, and what is in the field");
        await page.keyboard.press("Enter");
        await page.waitForSelector(".said");
        equal(await page.locator(".said p").textContent(), "你好", "what the next Enter sends");
        await page.waitForSelector(".told .acts");
    });

    await check("a composed text is not looked at before it is complete", {}, async (page) => {
        await page.goto(`${page.url().split("#")[0]}#/inside`);
        await page.fill("#inside-text", "夜");
        let asked = 0;
        page.on("request", (request) => (asked += request.url().endsWith("/wgpt/inside") ? 1 : 0));
        await press(page, "Enter", { isComposing: true });
        await press(page, "Enter");
        equal(asked, 0, "requests");
        await page.keyboard.press("Enter");
        await page.waitForSelector(".heads");
        equal(asked, 1, "requests after the next Enter");
    });

    const answers = ["one", "two"].map((content) => ({ role: "assistant", content, state: "done", sampling: {} }));
    const choice = [{ role: "user", content: "Which?" }, { role: "choice", answers }];
    await check("keys of an input method pick and stop nothing", { before: { "wgpt.conversation": choice } }, async (page) => {
        await page.focus("#message");
        // Digits choose among the words that an input method offers.
        await press(page, "1", { isComposing: true });
        await press(page, "2");
        equal(await page.locator(".candidate.ready").count(), 2, "answers to choose from");
        await page.keyboard.press("2");
        await page.waitForSelector(".badge");
        await page.fill("#message", "slow: tell me a long story");
        await page.keyboard.press("Enter");
        await page.waitForSelector(".send.stops");
        await press(page, "Escape", { isComposing: true });
        await press(page, "Escape");
        equal(await page.locator(".send.stops").count(), 1, "answers being written");
        await page.keyboard.press("Escape");
        await page.waitForSelector("text=Stopped.");
    });
}
