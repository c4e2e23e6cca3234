// Earlier chats: a new chat moves the current one here, from where it can be reopened.

import { drop, earlier, reopen } from "./conversation.js";
import { dialog } from "./dialog.js";
import { el } from "./dom.js";
import { icon } from "./icons.js";
import { ago, t } from "./words.js";

/** Opens the list; `opened()` is called when a chat was reopened. */
export function openHistory(opened) {
    const box = dialog(t("history"), [el("div.history")]);
    const list = box.querySelector(".history");
    const draw = () => {
        const rows = earlier().map((chat, index) => el(
            "li",
            {},
            el(
                "button.earlier",
                { type: "button", onclick: () => {
                    reopen(index);
                    box.close();
                    opened();
                } },
                el("span.first", {}, chat.messages.find(({ role }) => role === "user")?.content ?? ""),
                el("span.when", {}, `${ago(chat.time)} · ${t("messages", { count: chat.messages.length })}`),
            ),
            el(
                "button.tool",
                { type: "button", "aria-label": t("delete_chat"), title: t("delete_chat"), onclick: () => {
                    drop(index);
                    draw();
                } },
                icon("close"),
            ),
        ));
        list.replaceChildren(rows.length > 0 ? el("ul", {}, rows) : el("p.quieter", {}, t("no_history")));
    };
    draw();
}
