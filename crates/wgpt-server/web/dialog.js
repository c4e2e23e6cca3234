// A dialog over the page. Esc, its button and a click outside close it, and the focus returns to where it was.

import { el } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./words.js";

/** Opens a dialog and returns it. */
export function dialog(title, children, closed = () => {}) {
    const close = el("button.tool", { type: "button", "aria-label": t("close") }, icon("close"));
    const box = el(
        "dialog",
        { "aria-label": title },
        el("div.sheet", {}, el("header", {}, el("h2", {}, title), close), children),
    );
    close.addEventListener("click", () => box.close());
    box.addEventListener("click", (event) => event.target === box && box.close());
    box.addEventListener("close", () => {
        box.remove();
        closed();
    });
    document.body.append(box);
    box.showModal();
    return box;
}
