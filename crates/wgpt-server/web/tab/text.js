// The training text: the one that ships with the page, a file, or text written or pasted by the visitor.

import { el } from "../dom.js";
import { compact, number } from "../words.js";
import { fetched } from "./fetched.js";
import { chooser, takesFiles } from "./files.js";

/** Only the beginning of a text longer than this is shown, since text fields cannot handle megabytes. */
const SHOWN = 60000;
const BUILT_IN = "Eight plays of Shakespeare";

/** The current text: `{name, content, own}`; `content` is null until the built-in one has been loaded. */
export const text = { name: BUILT_IN, content: null, own: false };

/** The number of characters, and of distinct characters. */
export function census(content) {
    const different = new Set(content);
    return { characters: content.length, different: different.size };
}

/** The beginning of a text that a model could continue. */
export function opening(content, own) {
    if (!own) return "To be, or";
    const line = content.trim().split(/\r?\n/)[0];
    return [...line].slice(0, 12).join("").replace(/\s+\S*$/, "") || [...line].slice(0, 4).join("");
}

/** The panel; `changed()` is called when the text changes, `failed(error)` if a file cannot be read. */
export function textPanel(changed, failed) {
    /** The visitor's own text, remembered while another text is shown. */
    let mine = "";
    const area = el("textarea", { id: "text", rows: 9, spellcheck: "false", "aria-describedby": "textfacts", placeholder: "Paste or write a text here, in any language, or drop a .txt file. A few thousand characters are enough to see something; a novel is better." });
    const facts = el("p.quieter", { id: "textfacts", role: "status" });
    const builtIn = el("button.quiet", { type: "button", onclick: () => useBuiltIn() }, "Shakespeare");
    const own = el("button.quiet", { type: "button", onclick: () => {
        if (!text.own) use("Your text", mine, true);
        area.focus();
    } }, "Write or paste");
    const node = el(
        "section.panel.textpanel",
        { "aria-labelledby": "texttitle" },
        el("h2", { id: "texttitle" }, el("label", { for: "text" }, "1. A text to learn from")),
        el("div.row", {}, builtIn, own, chooser("Open a text file", ".txt,.md,text/*", (file) => useFile(file))),
        area,
        facts,
    );

    function tell() {
        builtIn.setAttribute("aria-pressed", String(!text.own));
        own.setAttribute("aria-pressed", String(text.own));
        if (text.content === null) facts.textContent = "The built-in text is being fetched.";
        else if (text.content === "") facts.textContent = "No text yet.";
        else {
            const { characters, different } = census(text.content);
            const shown = characters > SHOWN ? ` Its first ${compact(SHOWN)} are shown.` : "";
            facts.textContent = `${text.name}: ${number(characters)} characters, ${number(different)} different ones.${shown}`;
        }
    }

    function use(name, content, isOwn) {
        Object.assign(text, { name, content, own: isOwn });
        const whole = content === null || content.length <= SHOWN;
        area.value = content === null ? "" : whole ? content : content.slice(0, SHOWN);
        area.readOnly = !isOwn || !whole;
        area.scrollTop = 0;
        tell();
        changed();
    }

    async function useBuiltIn() {
        use(BUILT_IN, null, false);
        try {
            const content = new TextDecoder().decode(await fetched(new URL("./shakespeare.txt", import.meta.url)));
            if (!text.own) use(BUILT_IN, content, false);
        } catch (error) {
            use("Your text", "", true);
            failed(error);
        }
    }

    async function useFile(file) {
        try {
            use(file.name, new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer()), true);
        } catch {
            failed(new Error(`${file.name} is not UTF-8 text. Save it as UTF-8 first.`));
        }
    }

    area.addEventListener("input", () => {
        mine = area.value;
        Object.assign(text, { name: "Your text", content: mine, own: true });
        tell();
        changed();
    });
    takesFiles(node, useFile);
    return { node, useBuiltIn, use };
}
