// Reinforcement: one round of PPO, with its numbers and answers.

import { equal, expect } from "../browser/expect.mjs";

export async function reinforcing(check) {
    await check("one round of PPO is played", {}, async (page) => {
        await page.waitForSelector(".strip .adapter");
        await page.click('.rail nav a[href="#reinforce"]');
        await page.fill("#prompts", "Who are you?\nI feel sad today.");
        await page.click("#reinforce details.more > summary");
        for (const [name, value] of [["rlbatch", 4], ["rltokens", 12], ["rlsteps", 3]]) await page.fill(`#${name}`, String(value));
        await page.click("text=Play one round");
        await page.waitForFunction(() => document.querySelector("#reinforce .notice") || document.querySelector("#reinforce .rounds:not([hidden]) tbody tr"));
        equal(await page.locator("#reinforce .notice").allTextContents(), [], "troubles");
        const facts = await page.locator("#reinforce .facts li").allTextContents();
        console.log(`      ${facts.join(", ")}`);
        for (const name of ["Round1", "Score", "KL", "Entropy"]) expect(facts.some((fact) => fact.startsWith(name)), `no ${name} in ${facts}`);
        const paths = await page.locator("#reinforce .plot .curve").evaluateAll((all) => all.map((one) => one.getAttribute("d")));
        expect(paths.length === 3 && paths.every((path) => path && !path.includes("NaN")), `curves ${paths}`);
        const rows = await page.locator("#reinforce tbody tr").allTextContents();
        expect(rows.length >= 1 && rows.every((row) => /-?\d/.test(row)), `answers ${rows}`);
        await page.locator("#reinforce button:visible", { hasText: "Talk with it" }).waitFor();
    });
}
