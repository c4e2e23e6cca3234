// Feedback: the ratings so far, agreement between raters, the newest ratings, and exports.

import { json, request, trouble } from "./api.js";
import { el } from "./dom.js";
import { icon } from "./icons.js";
import { command, empty, notice, viewHead } from "./notice.js";
import { ago, number, percent, short, t } from "./words.js";

const FORMATS = ["pairs", "scores", "best-of", "hh-rlhf", "ratings"];

/** The latest response, shown at once when the view is opened again. */
let known = null;

/** Shows the view. */
export function show(main) {
    const body = el("div.feedback");
    const stop = new AbortController();
    const again = el("button.quiet", { type: "button", onclick: load }, icon("again"), t("refresh"));
    main.append(viewHead("feedback", again), body);
    async function load() {
        body.setAttribute("aria-busy", "true");
        try {
            known = await json("/wgpt/feedback", { signal: stop.signal });
            draw();
        } catch (error) {
            if (error?.name !== "AbortError") body.replaceChildren(notice(trouble(error), load));
        }
        body.setAttribute("aria-busy", "false");
    }
    function draw() {
        const nothing = empty(t("no_ratings"), t("no_ratings_text"), [
            "wgpt rate --model model.gguf --prompts prompts.jsonl --answers 2 --rater anna",
            "wgpt feedback import pairs.jsonl",
        ]);
        body.replaceChildren(...(known.ratings > 0 ? parts(known) : [nothing]));
    }
    if (known) draw();
    load();
    return () => stop.abort();
}

function parts({ ratings, by_rater, by_kind, agreement, recent = [] }) {
    const raters = counts(by_rater);
    const kinds = counts(by_kind).map(([name, count]) => [t(`kind_${name}`), count]);
    const figure = (value, label) => el("div.figure", {}, el("strong", {}, value), el("span", {}, label));
    const share = agreement?.share;
    return [
        el(
            "div.figures",
            {},
            figure(number(ratings), t("ratings")),
            figure(number(raters.length), t("raters")),
            figure(Number.isFinite(share) ? percent(share, 0) : "–", t("agreement")),
        ),
        el(
            "div.pair",
            {},
            el("section.panel", {}, el("h2", {}, t("kinds")), tally(kinds)),
            el("section.panel", {}, el("h2", {}, t("by_rater")), tally(raters.map(([name, count]) => [name || t("nobody"), count]))),
        ),
        el("section.panel", {}, el("h2", {}, t("agreement")), el("p.lead", {}, t("agreement_text")), el("p", {}, agreed(agreement))),
        el(
            "section.panel",
            {},
            el("h2", {}, t("export")),
            el("p.lead", {}, t("export_text")),
            el("div.exports", {}, FORMATS.map((format) => el(
                "button.quiet",
                { type: "button", onclick: (event) => download(format, event.currentTarget) },
                icon("download"),
                t(`export_${format}`),
            ))),
            el("h3", {}, t("learn")),
            command("wgpt reward --model model.gguf --feedback feedback.sqlite --out runs/judge --lora-rank 8"),
        ),
        el("section.panel", {}, el("h2", {}, t("recent")), el("ol.recent", {}, recent.map(rating))),
    ];
}

/** Saves an export. A plain link could not send the key. */
async function download(format, button) {
    button.disabled = true;
    try {
        const response = await request(`/wgpt/feedback/export?format=${format}`);
        const href = URL.createObjectURL(await response.blob());
        el("a", { href, download: `${format}.jsonl` }).click();
        setTimeout(() => URL.revokeObjectURL(href), 60000);
    } catch (error) {
        button.closest(".panel").append(notice(trouble(error)));
    }
    button.disabled = false;
}

function agreed(agreement) {
    if (!Number.isFinite(agreement?.share)) return t("agreement_none");
    const { equal, compared, shared_pairs } = agreement;
    const told = { equal: number(equal), compared: number(compared), pairs: number(shared_pairs) };
    return `${percent(agreement.share, 0)}: ${t("agreement_of", told)}`;
}

/** Counts by name in descending order, from `{name: count}` or a list of `{rater or name, ratings or count}`. */
function counts(value) {
    const pair = (one) => (Array.isArray(one) ? one : [one.rater ?? one.name ?? "", one.ratings ?? one.count ?? 0]);
    const pairs = Array.isArray(value) ? value.map(pair) : Object.entries(value ?? {});
    return pairs.sort((one, other) => other[1] - one[1]);
}

function tally(pairs) {
    const most = Math.max(1, ...pairs.map(([, count]) => count));
    return el("ul.tally", {}, pairs.map(([name, count]) => {
        const bar = el("span.fill");
        bar.style.transform = `scaleX(${count / most})`;
        return el("li", {}, el("span.word", {}, name), el("span.track", {}, bar), el("span.share", {}, number(count)));
    }));
}

function rating({ prompt, answers = [], verdict, rater, time }) {
    const values = valuesOf(verdict, answers);
    const said = typeof prompt === "string" ? prompt : (prompt ?? []).filter((one) => one.role === "user").at(-1)?.content ?? "";
    return el(
        "li",
        {},
        el("p.asked", {}, said),
        el("ul.answers", {}, answers.map((answer, index) => {
            const { mark, good } = values[index] ?? {};
            const text = typeof answer === "string" ? answer : answer.text;
            return el(good ? "li.good" : "li", {}, el("span.mark", {}, mark ?? ""), el("p", {}, text));
        })),
        el("p.by", {}, [rater || t("nobody"), Number.isFinite(time) ? ago(time) : null].filter(Boolean).join(" · ")),
    );
}

/** What a verdict says about each answer: a mark to show, and whether the answer is the good one. */
function valuesOf(verdict, answers) {
    if (verdict === null || verdict === undefined || verdict === "skip" || verdict.skip) return answers.map(() => ({ mark: t("skipped") }));
    if (Number.isInteger(verdict.best)) {
        return answers.map((_, index) => (index === verdict.best ? { mark: t("chosen"), good: true } : {}));
    }
    if (Array.isArray(verdict.ranking)) {
        const first = Math.min(...verdict.ranking);
        return verdict.ranking.map((rank) => ({ mark: `#${rank - first + 1}`, good: rank === first }));
    }
    return (verdict.scores ?? []).map((score) => ({ mark: `${short(score)}/5`, good: score >= 4 }));
}
