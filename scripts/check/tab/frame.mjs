// The page before it is used: what it runs on, its size, its look, and its message without WebGPU.

import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { equal, expect, untidy } from "../browser/expect.mjs";

const VIEWS = ["train", "talk", "reinforce", "how"];

/** Maximum size of the engine in bytes when a host compresses it. */
const MOST = 3 * 2 ** 20;

export async function frame(check) {
    await check("the page says what it runs on", {}, async (page, { folder }) => {
        await page.waitForSelector(".strip .adapter");
        const told = await page.textContent(".strip .adapter");
        expect(/^Runs on \S+/.test(told), told);
        console.log(`      ${told}`);
        await page.waitForFunction(() => document.getElementById("textfacts").textContent.includes("different"));
        expect(await page.locator("button", { hasText: /^Start$/ }).isEnabled(), "Start cannot be pressed");
        const size = gzipSync(await readFile(`${folder}/tab/engine_bg.wasm`)).length;
        console.log(`      the engine has ${(size / 1024).toFixed(0)} KiB compressed`);
        expect(size <= MOST, `the engine has ${size} bytes compressed, more than ${MOST}`);
    });

    for (const [name, size] of [["phone", { width: 390, height: 844 }], ["desk", { dark: true }]]) {
        await check(`nothing of the tab's page is cut off or without a name: ${name}`, size, async (page) => {
            await page.waitForSelector(".strip .adapter");
            for (const view of VIEWS) {
                await page.click(`.rail nav a[href="#${view}"]`);
                await page.waitForSelector(`#${view}`);
                await page.waitForTimeout(200);
                equal(await untidy(page), { wide: [], nameless: [], titles: 1 }, view);
            }
        });
    }

    await check("the keyboard reaches a size and Start", {}, async (page) => {
        await page.waitForSelector(".strip .adapter");
        await page.locator(".size input").first().focus();
        await page.keyboard.press("ArrowDown");
        equal(await page.inputValue("#set-layers"), "4", "layers of the next size");
        await page.keyboard.press("ArrowUp");
        equal(await page.inputValue("#set-layers"), "2", "layers of the first size");
        await page.click("details.more > summary >> nth=0");
        await page.fill("#set-width", "0");
        await page.locator("button", { hasText: /^Start$/ }).press("Enter");
        await page.waitForSelector(".problem .notice");
        expect((await page.textContent(".problem .notice")).startsWith("Width:"), "what is wrong with a width of 0");
    });
}

/** In a browser that offers no adapter. */
export async function without(check) {
    await check("without WebGPU it says what to do", { width: 390, height: 844 }, async (page) => {
        await page.waitForSelector(".nogpu");
        expect((await page.textContent(".nogpu")).includes("Chrome"), "no browser is named");
        expect(await page.locator("button", { hasText: /^Start$/ }).isDisabled(), "Start can be pressed");
        equal(await untidy(page), { wide: [], nameless: [], titles: 1 }, "on a phone");
    });
}
