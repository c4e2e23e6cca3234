// What could come next, as bars, with a temperature slider that reshapes them as it moves.

import { about } from "./api.js";
import { el } from "./dom.js";
import { reshape } from "./reshape.js";
import { visible } from "./tokens.js";
import { number, percent, t } from "./words.js";

/** The temperature of the bars, shared by all of them. */
let temperature = 1;

/**
 * Bars of candidates (`{text, bytes, logprob, id}`, best first, at temperature 1). `came` is the token that was
 * actually chosen; `pick`, if given, is called with a candidate that was clicked; `count` candidates have a bar.
 */
export function distribution(candidates, { came = null, pick = null, count = 10 } = {}) {
    if (!candidates || candidates.length === 0) return el("p.quieter", {}, t("no_candidates"));
    const vocabulary = about.vocabulary ?? candidates.length;
    const is = (candidate) => came !== null
        && (candidate.id !== undefined && came.id !== undefined ? candidate.id === came.id : candidate.text === came.text);
    const shown = candidates.slice(0, count);
    const later = candidates.slice(count).find(is);
    if (later) shown.push(later);
    const rows = shown.map((candidate) => bar(candidate, is(candidate), pick));
    const others = bar(null, false, null);
    const entropy = el("output.entropy", { "aria-live": "off" });
    const value = el("output", {});
    const input = el("input", { type: "range", min: 0.05, max: 2, step: 0.05, "aria-label": t("temperature"), value: temperature });
    const redraw = () => {
        const { probabilities, entropy: bits } = reshape(candidates.map((one) => one.logprob), temperature, vocabulary);
        const shares = shown.map((candidate) => probabilities[candidates.indexOf(candidate)]);
        rows.forEach((row, index) => row.set(shares[index]));
        others.set(Math.max(0, 1 - shares.reduce((sum, share) => sum + share, 0)));
        value.textContent = temperature.toFixed(2);
        const same = t("entropy_help", { count: number(2 ** bits, 2 ** bits < 10 ? 1 : 0) });
        entropy.textContent = `${t("entropy")}: ${t("bits", { count: number(bits, 2) })}, ${same}`;
    };
    input.addEventListener("input", () => {
        temperature = Number(input.value);
        redraw();
    });
    redraw();
    const slider = el("label.reshape", {}, el("span", {}, t("temperature")), input, value);
    const list = el("ol.bars", {}, rows.map((row) => row.node), others.node);
    return el("div.distribution", {}, slider, list, entropy);
}

function bar(candidate, came, pick) {
    const fill = el("span.fill");
    const share = el("span.share");
    const text = candidate === null ? t("others") : visible(candidate);
    const inner = [el("span.word", {}, text), el("span.track", {}, fill), share];
    // A partial character is not text that can be appended.
    const writes = pick && candidate && !candidate.text.includes("\uFFFD");
    const label = writes && t("write_this", { text: candidate.text });
    const body = writes
        ? el("button", { type: "button", title: label, onclick: () => pick(candidate) }, inner)
        : el("div", {}, inner);
    const kind = candidate === null ? "li.others" : came ? "li.came" : "li";
    const node = el(kind, { title: came ? t("came") : null }, body);
    return {
        node,
        set: (probability) => {
            fill.style.transform = `scaleX(${Math.max(probability, 0.002)})`;
            share.textContent = percent(probability, probability < 0.0995 ? 2 : 1);
        },
    };
}
