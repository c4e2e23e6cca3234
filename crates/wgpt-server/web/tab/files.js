// File input by dropping or choosing, and file output by downloading.

import { el } from "../dom.js";
import { icon } from "../icons.js";

/** Accepts files dropped on `node`; `take(file)` is called with the first one. */
export function takesFiles(node, take) {
    const over = (event) => {
        if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
        event.preventDefault();
        node.classList.add("over");
    };
    node.addEventListener("dragenter", over);
    node.addEventListener("dragover", over);
    node.addEventListener("dragleave", (event) => node.contains(event.relatedTarget) || node.classList.remove("over"));
    node.addEventListener("drop", (event) => {
        node.classList.remove("over");
        const file = event.dataTransfer?.files[0];
        if (!file) return;
        event.preventDefault();
        take(file);
    });
}

/** A button that chooses a file; `accept` is the attribute of a file input. */
export function chooser(label, accept, take) {
    const input = el("input.unseen", { type: "file", accept, "aria-label": label, tabindex: "-1" });
    input.addEventListener("change", () => {
        if (input.files[0]) take(input.files[0]);
        input.value = "";
    });
    const button = el("button.quiet", { type: "button", onclick: () => input.click() }, label);
    return el("span", {}, button, input);
}

/** Saves bytes or a text as a file on the visitor's machine. */
export function download(name, content, type = "application/octet-stream") {
    const url = URL.createObjectURL(new Blob([content], { type }));
    const link = el("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
}

/**
 * A button that downloads the result of `content()`, which may take a while; `failed(error)` is called if that fails.
 */
export function downloadButton(label, name, content, failed) {
    const button = el("button.quiet", { type: "button" }, icon("download"), label);
    button.addEventListener("click", async () => {
        button.disabled = true;
        try {
            const [bytes, type] = await content();
            download(name(), bytes, type);
        } catch (error) {
            failed(error);
        }
        button.disabled = false;
    });
    return button;
}
