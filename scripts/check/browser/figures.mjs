// Training and feedback: with runs and ratings, and without any.

import { equal, expect, stillText } from "./expect.mjs";

export async function figures(check) {
    await check("runs have curves", {}, async (page) => {
        await page.goto(`${page.url().split("#")[0]}#/training`);
        await page.waitForSelector(".run, .empty");
        if (await page.locator(".run").count() === 0) {
            expect((await page.locator(".empty code").first().textContent()).startsWith("wgpt "), "no command in the empty view");
            return;
        }
        await page.waitForSelector(".plot .curve");
        const path = await page.locator(".plot .curve").first().getAttribute("d");
        expect(path.length > 8 && !path.includes("NaN"), `a curve ${path.slice(0, 40)}`);
        const first = () => page.locator(".legend output").first().textContent();
        const last = await first();
        await page.locator(".plot").first().focus();
        await page.keyboard.press("ArrowLeft");
        await page.keyboard.press("ArrowLeft");
        equal(await page.locator(".plot .cross").first().getAttribute("visibility"), "visible", "the line where values are read");
        const box = await page.locator(".plot").first().boundingBox();
        await page.mouse.move(box.x + 60, box.y + 40);
        expect((await first()) !== last, "the values under the pointer");
        await page.locator(".check input[type=checkbox]").check();
        expect(!(await page.locator(".plot .curve").first().getAttribute("d")).includes("NaN"), "a logarithmic axis");
        await page.locator(".run").first().click();
        await stillText(page);
    });

    await check("ratings are counted and leave again", {}, async (page, { url }) => {
        await page.goto(`${page.url().split("#")[0]}#/feedback`);
        await page.waitForSelector(".recent > li, .empty");
        if (await page.locator(".empty").count() > 0) return;
        expect(Number((await page.locator(".figure strong").first().textContent()).replace(/\D/g, "")) > 0, "the number of ratings");
        const [download] = await Promise.all([page.waitForEvent("download"), page.click(".exports button >> nth=0")]);
        expect(download.url().startsWith(`blob:${new URL(url).origin}`), `an export from ${download.url()}`);
        equal(download.suggestedFilename(), "pairs.jsonl", "the export's name");
        await stillText(page);
    });
}
