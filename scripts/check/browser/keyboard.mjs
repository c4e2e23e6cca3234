// Keys, languages, light and dark, small screens.

import { equal, expect, untidy } from "./expect.mjs";

const VIEWS = ["chat", "inside", "training", "feedback"];

export async function keyboard(check) {
    await check("keys alone lead everywhere", {}, async (page) => {
        await page.keyboard.press("Escape");
        for (const [key, view] of [["i", "inside"], ["t", "training"], ["f", "feedback"], ["c", "chat"]]) {
            await page.locator("main").focus();
            await page.keyboard.press("g");
            await page.keyboard.press(key);
            await page.waitForSelector(`main.view-${view}`);
        }
        await page.keyboard.press("Escape");
        await page.locator("main").focus();
        await page.keyboard.press("?");
        await page.waitForSelector("dialog[open] .keys");
        await page.keyboard.press("Escape");
        await page.waitForSelector("dialog", { state: "detached" });
        await page.keyboard.press("s");
        await page.waitForSelector("dialog[open] .settings");
        await page.keyboard.press("Escape");
        await page.locator("main").focus();
        await page.keyboard.press("/");
        await page.keyboard.type("n?s1");
        equal(await page.inputValue("#message"), "n?s1", "letters in the field are letters");
        await page.keyboard.press("Shift+Enter");
        equal(await page.inputValue("#message"), "n?s1\n", "Shift+Enter is a new line");
        await page.reload();
        await page.waitForSelector("#message");
        equal(await page.inputValue("#message"), "n?s1\n", "what was written is still there");
        await page.goto(`${page.url().split("#")[0]}#/inside`);
        await page.reload();
        await page.waitForSelector("main.view-inside");
        await page.keyboard.press("Tab");
        equal(await page.evaluate(() => document.activeElement.id), "skip", "the first stop");
        await page.keyboard.press("Enter");
        equal(await page.evaluate(() => document.activeElement.id), "main", "where it leads");
    });

    await check("both languages, light and dark", {}, async (page) => {
        await page.locator("main").focus();
        await page.keyboard.press("l");
        await page.waitForSelector("nav >> text=对话");
        equal(await page.evaluate(() => document.documentElement.lang), "zh", "the page's language");
        for (const view of VIEWS) {
            await page.goto(`${page.url().split("#")[0]}#/${view}`);
            await page.waitForSelector(`main.view-${view}`);
            const keys = await page.evaluate(() => document.body.innerText.match(/\b[a-z]+_[a-z_]+\b/g) ?? []);
            const words = await page.evaluate(async () => Object.keys((await import("/web/words-zh.js")).chinese));
            equal(keys.filter((key) => words.includes(key)), [], "texts that are not translated");
        }
        const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        const light = await paper();
        await page.locator("main").focus();
        await page.keyboard.press("t");
        const dark = await paper();
        expect(light !== dark, "t changes nothing");
        await page.reload();
        await page.waitForSelector("nav >> text=对话");
        equal(await paper(), dark, "what was chosen is kept");
    });

    await check("a Chinese browser sees Chinese", { language: "zh-CN", dark: true }, async (page) => {
        await page.waitForSelector("nav >> text=训练");
    });

    // The last is what a window of 1280 x 1024 has at 400 %.
    for (const [name, size] of [["phone", { width: 390, height: 844 }], ["desk", {}], ["enlarged", { width: 320, height: 256 }]]) {
        await check(`nothing is cut off or without a name: ${name}`, size, async (page) => {
            for (const view of VIEWS) {
                await page.goto(`${page.url().split("#")[0]}#/${view}`);
                await page.waitForSelector(`main.view-${view}`);
                await page.waitForTimeout(400);
                equal(await untidy(page), { wide: [], nameless: [], titles: 1 }, view);
            }
        });
    }

    const talk = [{ role: "user", content: "What is a cat?" }, { role: "assistant", content: "A furry animal. ".repeat(40), state: "done", sampling: {} }];
    const enlarged = { width: 320, height: 256, before: { "wgpt.conversation": talk } };
    await check("at 400 % there is room to read and write, and everything can be reached", enlarged, async (page) => {
        await page.waitForSelector(".told .acts");
        const lines = "a line\n".repeat(12);
        for (const written of ["", lines]) {
            await page.fill("#message", written);
            const room = await page.evaluate(() => {
                const { top, bottom } = document.querySelector(".scroll").getBoundingClientRect();
                const field = document.querySelector("#message").getBoundingClientRect();
                return { read: bottom - top, write: Math.min(field.bottom, innerHeight) - field.top };
            });
            expect(room.read >= 64 && room.write >= 32, `room for ${JSON.stringify(room)} pixels`);
        }
        // Everything that can be pressed is in the window, at the latest when it is scrolled to, and nothing covers it.
        const lost = await page.evaluate(() => [...document.querySelectorAll("button, a[href], textarea")].filter((node) => {
            if (node.id === "skip" || !node.checkVisibility()) return false;
            node.scrollIntoView({ block: "nearest" });
            const { left, right, top, bottom } = node.getBoundingClientRect();
            const [x, y] = [(left + right) / 2, (top + bottom) / 2];
            return left < -1 || right > innerWidth + 1 || !node.contains(document.elementFromPoint(x, y));
        }).map((node) => node.outerHTML.slice(0, 90)));
        equal(lost, [], "what cannot be reached");
        equal(await page.evaluate(() => [scrollX, scrollY]), [0, 0], "the page itself does not scroll");
        for (const [key, words] of [["s", ".settings"], ["?", ".keys"]]) {
            await page.locator("main").focus();
            await page.keyboard.press(key);
            await page.waitForSelector(`dialog[open] ${words}`);
            const wide = await page.evaluate(() => {
                const box = document.querySelector("dialog");
                return box.scrollWidth > box.clientWidth + 1 || box.getBoundingClientRect().bottom > innerHeight;
            });
            expect(!wide, `the dialog with ${words} is cut off`);
            await page.keyboard.press("Escape");
        }
    });
}
