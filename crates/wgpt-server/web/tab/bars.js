// What could come next, as bars, from the engine's `[{text, probability}]`.

import { about } from "../api.js";
import { distribution } from "../distribution.js";
import { el } from "../dom.js";

/** `{node, show(candidates, {vocabulary, title, pick}), clear()}`; `pick(text)` is called when a bar is clicked. */
export function bars() {
    const node = el("div.next.nextbars");
    return {
        node,
        show: (candidates, { vocabulary, title, pick = null }) => {
            // The bars stay unchanged while the temperature slider is being dragged.
            if (node.querySelector("input:active")) return;
            const held = node.contains(document.activeElement) && document.activeElement.tagName.toLowerCase();
            // When the temperature changes, the remaining probability is spread evenly over the rest of the vocabulary.
            about.vocabulary = vocabulary;
            const known = candidates.map(({ text, probability }) => ({ text, logprob: Math.log(Math.max(probability, 1e-30)) }));
            const shown = distribution(known, { count: 8, pick: pick && ((candidate) => pick(candidate.text)) });
            node.replaceChildren(el("h3", {}, title), shown);
            if (held) node.querySelector(held)?.focus();
        },
        clear: () => node.replaceChildren(),
    };
}
