// The page's own modules, tested in the browser: Markdown, temperatures, tokens, axes, words.

import { equal, expect, HOSTILE } from "./expect.mjs";

export async function modules(check) {
    await check("markdown makes nodes of its own only", {}, async (page) => {
        const found = await page.evaluate(async (hostile) => {
            const { markdown } = await import("/web/markdown.js");
            const names = (root) => [...new Set([...root.querySelectorAll("*")].map((node) => node.tagName))];
            const one = (text) => markdown(text).innerHTML;
            const root = markdown(hostile);
            return {
                bad: names(root).filter((name) => ["SCRIPT", "IMG", "IFRAME", "STYLE", "DETAILS", "B"].includes(name)),
                links: [...root.querySelectorAll("a")].map((node) => [node.protocol, node.rel]),
                strong: one("a **b _c_** d*e*"), word: one("snake_case_name 2 * 3 * 4"), code: one("`a*b*`"),
                list: one("- a\n  - b\n- c"), numbers: one("3. a\n4. b"), heading: one("# A"), quote: one("> a\n> b"),
                open: markdown("```js\nlet a = 1;").querySelector("pre").textContent,
                table: markdown("| a | b |\n|---|--:|\n| 1 | 2 |").querySelectorAll("td").length,
                url: one("see https://example.org/a_b_c."), deep: markdown(`${">".repeat(3000)} a`).textContent.length,
                long: (() => {
                    const began = performance.now();
                    markdown("*a _b `c [d](".repeat(4000));
                    return performance.now() - began;
                })(),
            };
        }, HOSTILE);
        equal(found.bad, [], "nodes of the text's own");
        expect(found.links.every(([protocol, rel]) => /^https?:$/.test(protocol) && rel.includes("noopener")), `links ${JSON.stringify(found.links)}`);
        equal(found.strong, "<p>a <strong>b <em>c</em></strong> d<em>e</em></p>", "emphasis");
        equal(found.word, "<p>snake_case_name 2 * 3 * 4</p>", "marks that are letters");
        equal(found.code, "<p><code>a*b*</code></p>", "code");
        equal(found.list, "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "a list in a list");
        equal(found.numbers, "<ol start=\"3\"><li>a</li><li>b</li></ol>", "a list that begins at three");
        equal(found.heading, "<h3>A</h3>", "a heading");
        equal(found.quote, "<blockquote><p>a\nb</p></blockquote>", "a quote");
        equal(found.open, "let a = 1;", "code that still grows");
        equal(found.table, 2, "cells");
        expect(found.url.includes(">https://example.org/a_b_c</a>."), found.url);
        expect(found.deep > 0 && found.long < 1500, `hostile nesting took ${found.long} ms`);
    });

    await check("a growing text keeps the nodes that are finished", {}, async (page) => {
        const kept = await page.evaluate(async () => {
            const { growing, markdown } = await import("/web/markdown.js");
            const root = document.createElement("div");
            const grow = growing(root);
            const text = "# A\n\none **two** three\n\n- a\n- b\n\n```\ncode\n```\n\nlast | line\n";
            let first = null;
            for (let end = 1; end <= text.length; end += 1) {
                grow(text.slice(0, end));
                if (end === 12) first = root.firstChild;
            }
            return { same: first === root.firstChild, equal: root.innerHTML === markdown(text).innerHTML };
        });
        equal(kept, { same: true, equal: true }, "growing");
    });

    await check("a text looks the same whichever way it grew", {}, async (page) => {
        const wrong = await page.evaluate(async () => {
            const { growing, markdown } = await import("/web/markdown.js");
            const parts = ["a", " b ", "\n", "\n\n", "- c", "1", ". d", "  ", "```", "~~~", "> ", "# e", "|", "|---|", "**", "`", "---", "[f](https://g.example)"];
            let seed = 7;
            const random = (below) => Math.floor(((seed = (seed * 48271) % 2147483647) / 2147483647) * below);
            for (let round = 0; round < 300; round += 1) {
                const root = document.createElement("div");
                const grow = growing(root);
                let text = "";
                for (let step = 0; step < 40; step += 1) {
                    text += parts[random(parts.length)];
                    grow(text, step % 5 === 4);
                    if (root.innerHTML !== markdown(text).innerHTML) return text;
                }
            }
            // Texts with a block that is too large to be rebuilt each time.
            for (const [begin, part, last] of [["", "*one* two ", "two"], ["", "- three\n", "three"], ["```\n", "four\n", "four"], ["> ", "five ", "five"], ["a|b\n-|-\n", "6|7\n", "7"]]) {
                const root = document.createElement("div");
                const grow = growing(root);
                let text = begin;
                for (let step = 0; step < 1500; step += 1) {
                    text += part;
                    grow(text, false);
                    if (!root.textContent.trimEnd().endsWith(last)) return `${part} is not shown at once`;
                }
                grow(text, true);
                if (root.innerHTML !== markdown(text).innerHTML) return part;
                grow("Something else", true);
                if (root.innerHTML !== "<p>Something else</p>") return `after ${part}: ${root.innerHTML}`;
            }
            return null;
        });
        equal(wrong, null, "a text that came to look different");
    });

    await check("temperature reshapes as softmax does", {}, async (page) => {
        const found = await page.evaluate(async () => {
            const { reshape } = await import("/web/reshape.js");
            const whole = [0.5, 0.3, 0.15, 0.05].map(Math.log);
            const half = reshape(whole, 0.5, 4).probabilities;
            const squares = [0.25, 0.09, 0.0225, 0.0025];
            const sum = squares.reduce((one, other) => one + other);
            const part = reshape(whole.slice(0, 2), 1, 1000);
            return {
                half: Math.max(...half.map((share, index) => Math.abs(share - squares[index] / sum))),
                even: reshape(Array(8).fill(Math.log(1 / 8)), 1, 8).entropy,
                rest: part.rest, first: part.probabilities[0],
                hot: reshape(whole.slice(0, 2), 50, 1000).entropy, cold: reshape(whole.slice(0, 2), 0.05, 1000).entropy,
            };
        });
        expect(found.half < 1e-12, `off by ${found.half}`);
        expect(Math.abs(found.even - 3) < 1e-9, `entropy ${found.even} of eight equal ones`);
        expect(Math.abs(found.rest - 0.2) < 1e-9 && Math.abs(found.first - 0.5) < 1e-9, "at temperature 1 nothing changes");
        expect(found.hot > 9.5 && found.cold < 0.01, `entropy ${found.hot} hot, ${found.cold} cold`);
    });

    await check("cut characters are put together", {}, async (page) => {
        const found = await page.evaluate(async () => {
            const { groups } = await import("/web/tokens.js");
            const token = (...bytes) => ({ text: "?", bytes });
            return groups([token(0x61), token(0xe5, 0xa4), token(0x9c), token(0xff), token(0x62, 0xe6), token(0x99, 0x9a)]);
        });
        equal(found.map(({ begin, end, text }) => [begin, end, text]), [[0, 1, "a"], [1, 3, "夜"], [3, 4, null], [4, 6, "b晚"]], "groups");
    });

    await check("axes have round ticks", {}, async (page) => {
        const found = await page.evaluate(async () => {
            const { ticks, logTicks, extent, thinned, smoothed } = await import("/web/scale.js");
            const spike = Array.from({ length: 5000 }, (_, step) => [step, step === 1234 ? 99 : step % 7]);
            return {
                plain: ticks(0.13, 0.92, 4), log: logTicks(0.01, 100), none: extent([NaN, -1], true), flat: extent([2, 2], false),
                spike: Math.max(...thinned(spike, 200).map(([, value]) => value)), count: thinned(spike, 200).length, smooth: smoothed([[0, 3], [1, 3]], 0.9)[1][1],
            };
        });
        equal(found.plain, [0.2, 0.4, 0.6, 0.8], "ticks");
        equal(found.log, [0.01, 0.1, 1, 10, 100], "powers of ten");
        equal([found.none, found.spike, found.count <= 400], [null, 99, true], "extent, spikes");
        expect(found.flat[0] < 2 && found.flat[1] > 2 && Math.abs(found.smooth - 3) < 1e-9, "flat curves");
    });

    await check("every text is there in both languages", {}, async (page) => {
        const [english, chinese] = await page.evaluate(async () => {
            const holes = (text) => (text.match(/\{\w+\}/g) ?? []).sort().join();
            const shape = (words) => Object.entries(words).map(([key, text]) => `${key} ${holes(text)}`).sort();
            return [shape((await import("/web/words-en.js")).english), shape((await import("/web/words-zh.js")).chinese)];
        });
        equal(english.filter((line) => !chinese.includes(line)), [], "not in Chinese");
        equal(chinese.filter((line) => !english.includes(line)), [], "not in English");
    });
}
