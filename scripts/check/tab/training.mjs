// Training: losses fall and equal native ones; pauses, reloads and lost devices change nothing; Chinese.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { equal, expect } from "../browser/expect.mjs";
import { begin, done, losses, press, reached } from "./steps.mjs";

const STEPS = 50;
const SHAPE = { layers: 2, heads: 2, width: 32, context: 32, batch: 4, lr: 0.003, seed: 7, steps: STEPS };

/** Maximum difference of a loss from the native one. */
const NEAR = 1e-3;

const POEM = "床前明月光，疑是地上霜。举头望明月，低头思故乡。\n白日依山尽，黄河入海流。欲穷千里目，更上一层楼。\n春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。\n";

/** The losses of the uninterrupted run. */
let undisturbed = null;

const sonnets = async () => (await readFile("data/shakespeare.txt", "utf8")).slice(0, 30000);

/** The same run with the native program. */
async function native(wgpt, text) {
    const folder = await mkdtemp(join(tmpdir(), "wgpt-tab-"));
    try {
        await writeFile(join(folder, "text.txt"), text);
        const flags = Object.entries(SHAPE).flatMap(([name, value]) => [`--${name}`, String(value)]);
        await promisify(execFile)(wgpt, ["pretrain", "--data", join(folder, "text.txt"), "--out", join(folder, "run"), "--val-batches", "1", ...flags]);
        const lines = (await readFile(join(folder, "run/metrics.jsonl"), "utf8")).trim().split("\n").map((line) => JSON.parse(line));
        return lines.map((line) => line.train_loss).filter((loss) => loss !== undefined);
    } finally {
        await rm(folder, { recursive: true });
    }
}

const apart = (one, other) => Math.max(...one.map((loss, index) => Math.abs(loss - other[index])));

export async function training(check) {
    await check("it trains with falling loss, writes, and gives out its model", {}, async (page) => {
        await begin(page, await sonnets(), { ...SHAPE, every: 25 });
        await done(page, STEPS);
        const rows = await losses(page);
        equal(rows.map(({ step }) => step), Array.from({ length: STEPS }, (_, index) => index + 1), "the steps");
        undisturbed = rows.map(({ loss }) => loss);
        const mean = (some) => some.reduce((sum, loss) => sum + loss, 0) / some.length;
        const [first, last] = [mean(undisturbed.slice(0, 5)), mean(undisturbed.slice(-5))];
        console.log(`      loss ${first.toFixed(3)} at first, ${last.toFixed(3)} at the end`);
        expect(last < first - 0.3, `the loss went from ${first} to ${last}`);
        expect(rows.at(-1).held !== "", "no loss on held-out text");
        const sample = await page.textContent("#train .sample");
        expect(sample.length > 60, `a sample of ${sample.length} characters`);
        expect(await page.locator("#train .bars li").count() >= 8, "bars of what could come next");
        const path = await page.locator("#train .plot .curve").first().getAttribute("d");
        expect(path.length > 40 && !path.includes("NaN"), `a curve ${path.slice(0, 40)}`);
        await page.click("#train .numbers > summary");
        await page.waitForSelector("#train .numbers tbody tr");
        equal((await page.locator("#train .numbers tbody tr").first().locator("td").first().textContent()).trim(), String(STEPS), "the newest row");
        await page.fill("#prompt", "Ham");
        await press(page, /^Write$/);
        await page.waitForFunction(() => /^Ham[^]{60}/.test(document.querySelector("#train .sample").textContent));
        const [download] = await Promise.all([page.waitForEvent("download"), press(page, "Download the model")]);
        equal((await readFile(await download.path())).subarray(0, 4).toString(), "GGUF", "the model's file");
    });

    await check("its losses are the native ones", {}, async (page, { wgpt }) => {
        if (!wgpt || !undisturbed) {
            console.log("      skipped: there is nothing to compare");
            return;
        }
        const far = apart(undisturbed, await native(wgpt, await sonnets()));
        console.log(`      at most ${far.toExponential(1)} apart`);
        expect(far <= NEAR, `${far} apart`);
    });

    await check("a reload and a lost device change nothing", {}, async (page) => {
        await begin(page, await sonnets(), { ...SHAPE, every: 25 });
        await reached(page, 8, STEPS);
        await press(page, /^Pause$/);
        await page.locator("#train button:visible", { hasText: /^Go on$/ }).waitFor();
        await page.reload();
        await page.waitForSelector(".strip .adapter");
        await page.waitForSelector(".offer");
        await press(page, /^Go on from step \d+$/);
        await reached(page, 16, STEPS);
        await page.click('.rail nav a[href="#how"]');
        await page.click("#how .expert > summary");
        await page.click("text=Lose the GPU now");
        await page.click('.rail nav a[href="#train"]');
        await page.waitForSelector("#train .problem .notice");
        const told = await page.textContent("#train .problem .notice");
        console.log(`      ${told.trim()}`);
        expect(/lost at step \d+/.test(told) && /step \d+ is kept/.test(told), told);
        await press(page, /^Go on from step \d+$/);
        await done(page, STEPS);
        const found = (await losses(page)).map(({ loss }) => loss);
        if (undisturbed) equal(found, undisturbed, "the losses after both");
    });

    await check("Chinese trains and streams whole characters", {}, async (page) => {
        await page.evaluate(() => {
            window.seen = [];
            const watch = () => window.seen.push(document.querySelector("#train .sample")?.textContent ?? "");
            new MutationObserver(watch).observe(document.body, { childList: true, subtree: true, characterData: true });
        });
        // With tokens for bytes and parts of characters, text that was shown must never be taken back.
        await begin(page, POEM.repeat(60), { ...SHAPE, tokenizer: "bpe", vocabulary: 300, steps: 4, every: 4 });
        await done(page, 4);
        // The last sample, from its beginning.
        const shown = await page.evaluate(() => [...new Set(window.seen.slice(window.seen.findLastIndex((text) => text.length <= 12)))]);
        const last = shown.at(-1);
        expect(/[\u4e00-\u9fff]/.test(last), `no Chinese in ${last}`);
        expect(shown.length > 5, `the sample grew ${shown.length} times`);
        const taken = shown.filter((text) => !last.startsWith(text));
        equal(taken.slice(-1), [], "what was shown and taken back");
    });
}
