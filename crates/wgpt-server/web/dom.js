// DOM nodes without HTML text: whatever is put in as a string stays text, whoever wrote it.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `name` may carry classes (`"div.card.wide"`). Attributes: functions are listeners (`onclick`), `style` is an
 * object set through CSSOM, `true` an empty attribute, `null`, `undefined` and `false` none. Children: nodes, strings,
 * lists of both; `null` and `false` are left out.
 */
export function el(name, attributes = {}, ...children) {
    const [tag, ...classes] = name.split(".");
    return fill(document.createElement(tag), classes, attributes, children);
}

/** The same in SVG. */
export function svg(name, attributes = {}, ...children) {
    const [tag, ...classes] = name.split(".");
    return fill(document.createElementNS(SVG, tag), classes, attributes, children);
}

function fill(node, classes, attributes, children) {
    if (classes.length > 0) node.setAttribute("class", classes.join(" "));
    for (const [key, value] of Object.entries(attributes)) {
        if (value === null || value === undefined || value === false) continue;
        if (typeof value === "function") node.addEventListener(key.slice(2), value);
        else if (key === "style") Object.entries(value).forEach(([name, text]) => node.style.setProperty(name, text));
        else if (key === "value") node.value = value;
        else node.setAttribute(key, value === true ? "" : String(value));
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
}

/** Text for a screen reader only. */
export const hidden = (text) => el("span.unseen", {}, text);

/** Says something to screen readers, politely, without showing it. */
export function announce(text) {
    const region = document.getElementById("announcer");
    if (region) region.textContent = text;
}

/** Copies a text; true where the browser let it. */
export async function copy(text) {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        // Without https only localhost has a clipboard: the old way, by a selection.
        const area = el("textarea.unseen", { value: text });
        document.body.append(area);
        area.select();
        const done = document.execCommand("copy");
        area.remove();
        return done;
    }
}

/** Calls at most once a frame, with the latest of what was asked. */
export function perFrame(work) {
    let asked = false;
    return () => {
        if (asked) return;
        asked = true;
        requestAnimationFrame(() => {
            asked = false;
            work();
        });
    };
}
