// Two answers side by side, to pick the better one, and the display of the one that was not picked.

import { answerNode, grows } from "./answer.js";
import { el } from "./dom.js";
import { icon } from "./icons.js";
import { short, t } from "./words.js";

/** Shows a choice. `pick(index)`, `retry(answer)`, and `follow()`, called after something was drawn. */
export function choiceNode({ answers }, { pick, retry, follow }) {
    const ready = !answers.some(grows);
    const columns = answers.map((answer, index) => {
        const name = el("h3", {}, t("answer_n", { n: index + 1 }));
        const body = answerNode(answer, { painted: follow, retry: () => retry(answer) });
        const can = ready && answer.content !== "";
        const button = el(
            "button.pick",
            { type: "button", disabled: !can, onclick: () => pick(index), "aria-keyshortcuts": String(index + 1) },
            el("kbd", { "aria-hidden": "true" }, String(index + 1)),
            t("pick"),
        );
        const column = el("section.candidate", { "aria-label": t("answer_n", { n: index + 1 }) }, name, body, button);
        // A click anywhere on the text picks the answer, except when it selects text or presses a button.
        column.addEventListener("click", (event) => {
            const pressed = event.target.closest("button, a, summary, input");
            if (can && !pressed && getSelection().isCollapsed && !answer.showTokens) pick(index);
        });
        column.classList.toggle("ready", can);
        return column;
    });
    return el(
        "article.choice",
        { "aria-label": t("pick_title") },
        el("header", {}, el("h2", {}, t("pick_title")), el("p", {}, t("pick_hint"))),
        el("div.candidates", {}, columns),
    );
}

/** Shows that an answer was picked, the other one on demand, and the reward model's scores. */
export function otherNode(answer) {
    const rewards = answer.rewards;
    const verdict = rewards && el(
        "p.judged",
        {},
        t("judged", { picked: short(rewards[0]), other: short(rewards[1]) }),
        " ",
        t(rewards[0] >= rewards[1] ? "judged_agrees" : "judged_differs"),
    );
    const other = el("details", {}, el("summary", {}, t("show_other")), answerNode(answer.other));
    return el("div.wasPicked", {}, el("p.badge", {}, icon("check"), t("picked")), verdict, other);
}
