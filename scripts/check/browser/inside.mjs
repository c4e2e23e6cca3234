// Inside: tokens with ids, bars that follow the temperature, attention of every head.

import { equal, expect, HOSTILE, stillText } from "./expect.mjs";

const SENTENCE = "我在一个月黑风高的夜晚";

export async function inside(check) {
    await check("a Chinese sentence is cut, expected and attended to", {}, async (page) => {
        await page.goto(`${page.url().split("#")[0]}#/inside`);
        await page.click(`.suggestion >> text=${SENTENCE}`);
        await page.waitForSelector(".heads");
        const about = await page.evaluate(async () => (await fetch("/wgpt/about")).json());
        const ids = await page.locator(".cut .chip .id").allTextContents();
        expect(ids.length >= SENTENCE.length / 3 && ids.every((id) => /^\d+$/.test(id)), `ids ${ids}`);
        const text = await page.evaluate(() => [...document.querySelectorAll(".cut .character, .cut .chips > .chip .text")].map((node) => node.textContent).join(""));
        equal(text, SENTENCE, "the characters that tokens make");
        equal(await page.locator(".cell").count(), about.layers * about.heads, "pictures of heads");
        const drawn = await page.evaluate(() => {
            const canvas = document.querySelector(".enlarged canvas");
            return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0);
        });
        expect(drawn, "the large picture is empty");

        await page.click(".cut .chip >> nth=0");
        const state = () => page.evaluate(() => ({
            share: parseFloat(document.querySelector(".bars .share").textContent),
            entropy: parseFloat(document.querySelector(".entropy").textContent.replace(/^\D+/, "")),
            width: document.querySelector(".bars .fill").getBoundingClientRect().width,
        }));
        const slide = (value) => page.locator(".reshape input").evaluate((input, value) => {
            input.value = value;
            input.dispatchEvent(new Event("input", { bubbles: true }));
        }, String(value));
        const plain = await state();
        await slide(0.3);
        const cold = await state();
        await slide(2);
        const hot = await state();
        expect(cold.share > plain.share && plain.share > hot.share, `shares ${cold.share} ${plain.share} ${hot.share}`);
        expect(cold.width > plain.width && plain.width > hot.width, "bars do not follow the temperature");
        expect(cold.entropy < plain.entropy && plain.entropy < hot.entropy, `entropy ${cold.entropy} ${plain.entropy} ${hot.entropy}`);
        await page.locator(".reshape input").focus();
        await page.keyboard.press("ArrowLeft");
        expect((await state()).share > hot.share, "the slider by keys");

        await page.locator(".cell[tabindex='0']").focus();
        await page.keyboard.press("ArrowRight");
        await page.waitForSelector("h3 >> text=Layer 1, head 0");
        const last = page.locator(".looks .chip").last();
        await last.click();
        expect((await last.getAttribute("class")).includes("selected"), "a token chosen in the text");
        await page.locator(".enlarged canvas").hover({ position: { x: 3, y: 200 } });
        expect(/looks at .*%/.test(await page.locator(".readout").textContent()), "what the picture says under the pointer");
    });

    await check("a candidate can be written", {}, async (page) => {
        await page.goto(`${page.url().split("#")[0]}#/inside`);
        await page.fill("#inside-text", "The capital of France is");
        await page.keyboard.press("Enter");
        await page.waitForSelector(".bars button");
        const before = await page.inputValue("#inside-text");
        await page.click(".bars button >> nth=0");
        await page.waitForFunction((before) => document.getElementById("inside-text").value.length > before.length, before);
        await page.waitForFunction(() => document.querySelector(".insides").getAttribute("aria-busy") === "false");
    });

    await check("hostile text inside stays text", {}, async (page) => {
        await page.goto(`${page.url().split("#")[0]}#/inside`);
        await page.fill("#inside-text", HOSTILE.slice(0, 100));
        await page.keyboard.press("Enter");
        await page.waitForSelector(".heads");
        await stillText(page);
    });

    await check("a text that is too long is shown from its beginning", {}, async (page, { problems }) => {
        await page.goto(`${page.url().split("#")[0]}#/inside`);
        await page.fill("#inside-text", "The sea is wide and the night is dark. ".repeat(30));
        await page.keyboard.press("Enter");
        await page.waitForSelector(".heads");
        const count = await page.locator(".cut .chip").count();
        expect(count > 200 && count <= 256, `${count} tokens`);
        await page.waitForSelector("text=/Only the first \\d+ tokens are shown/");
        // The browser reports the failed request by itself.
        equal(problems.filter((problem) => !problem.startsWith("Failed to load resource")), [], "problems");
        problems.length = 0;
    });
}
