// The text again, with what one token attends to: colour by strength, and lines from the token.

import { el, svg } from "./dom.js";
import { chips } from "./tokens.js";
import { percent, t } from "./words.js";

/** Weaker attention gets no line. */
const FAINT = 0.05;

/** Returns `{node, redraw(layer, head, from)}`; `choose(index)` is called with a token that was clicked. */
export function looks(attention, choose) {
    const strip = chips(attention.tokens, { choose, ids: false, label: t("attention_title"), paint: (node) => node.classList.add("heat") });
    const lines = svg("svg.lines", { "aria-hidden": "true" });
    const node = el("div.looks", {}, strip.node, lines);
    let shown = null;
    const redraw = (...next) => {
        if (next.length > 0) shown = next;
        if (!shown) return;
        const [layer, head, from] = shown;
        strip.select(from);
        const box = node.getBoundingClientRect();
        lines.replaceChildren();
        const middle = (index) => {
            const chip = strip.chips[index].getBoundingClientRect();
            return [chip.left - box.left + chip.width / 2, chip.top - box.top];
        };
        strip.chips.forEach((chip, to) => {
            const share = to <= from && to < attention.length ? attention.at(layer, head, from, to) : 0;
            chip.style.setProperty("--heat", `${Math.round(Math.sqrt(share) * 50)}%`);
            chip.title = to <= from ? percent(share) : "";
            if (share < FAINT || to === from || box.width === 0) return;
            const [x0, y0] = middle(from);
            const [x1, y1] = middle(to);
            const lift = Math.min(Math.min(y0, y1) - 2, 10 + Math.abs(x1 - x0) / 12);
            const d = `M${x0} ${y0}C${x0} ${y0 - lift} ${x1} ${y1 - lift} ${x1} ${y1}`;
            lines.append(svg("path", { d, "stroke-opacity": 0.25 + 0.75 * share, "stroke-width": 1 + 3 * share }));
        });
    };
    return { node, redraw };
}
