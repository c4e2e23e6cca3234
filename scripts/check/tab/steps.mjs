// Actions in the training view, performed as a person would.

import { readFile } from "node:fs/promises";

const button = (page, words) => page.locator("#train button:visible", { hasText: words });

/** Presses a button of the view. */
export const press = (page, words) => button(page, words).click();

/** Enters a text and settings, and starts. */
export async function begin(page, text, settings) {
    await page.waitForSelector(".strip .adapter");
    await page.click("text=Write or paste");
    await page.fill("#text", text);
    await page.click("#train details.more > summary >> nth=0");
    for (const [name, value] of Object.entries(settings)) {
        const field = page.locator(`#set-${name}`);
        if (await field.evaluate((node) => node.tagName === "SELECT")) await field.selectOption(String(value));
        else await field.fill(String(value));
    }
    await press(page, /^Start$/);
}

/** Waits until the view shows a certain progress. */
export const reached = (page, from, of) => page.waitForFunction(
    ([from, of]) => {
        const told = /(\d+) of (\d+)/.exec(document.querySelector("#train .facts strong")?.textContent ?? "");
        const wrong = document.querySelector("#train .problem .notice");
        if (wrong) throw new Error(wrong.textContent);
        return told && Number(told[1]) >= from && Number(told[2]) === of;
    },
    [from, of],
);

/** Waits until all steps are done, after which another run may be started. */
export async function done(page, steps) {
    await reached(page, steps, steps);
    await button(page, /^Start anew$/).waitFor();
}

/** The losses, from the file that the page offers. */
export async function losses(page) {
    const [download] = await Promise.all([page.waitForEvent("download"), press(page, "Download the numbers")]);
    const lines = (await readFile(await download.path(), "utf8")).trim().split("\n").map((line) => line.split(","));
    const column = (name) => lines[0].indexOf(name);
    const rows = lines.slice(1).map((line) => ({ step: Number(line[column("step")]), loss: line[column("loss")], held: line[column("validation_loss")] }));
    return rows.filter(({ loss }) => loss !== "").map((row) => ({ ...row, loss: Number(row.loss) }));
}
