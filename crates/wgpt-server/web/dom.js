// Creates DOM nodes without HTML text: a string is always inserted as text, whoever wrote it.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `name` may include classes (`"div.card.wide"`). Attributes: functions become listeners (`onclick`),
 * `style` is an object set through CSSOM, `true` becomes an empty attribute; `null`, `undefined` and `false` are
 * omitted. Children: nodes, strings, or lists of both; `null` and `false` are omitted.
 */
export function el(name, attributes = {}, ...children) {
    const [tag, ...classes] = name.split(".");
    return fill(document.createElement(tag), classes, attributes, children);
}

/** The same for SVG. */
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

/** Text for screen readers only. */
export const hidden = (text) => el("span.unseen", {}, text);

/** Announces a text to screen readers, politely, without showing it. */
export function announce(text) {
    const region = document.getElementById("announcer");
    if (region) region.textContent = text;
}

/** Copies a text; returns true if the browser allowed it. */
export async function copy(text) {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        // Without https, only localhost can use the clipboard API; elsewhere this falls back to selecting and copying.
        const area = el("textarea.unseen", { value: text });
        document.body.append(area);
        area.select();
        const done = document.execCommand("copy");
        area.remove();
        return done;
    }
}

/**
 * Whether a key belongs to an input method (Chinese, Japanese) that is composing. Safari ends the composition before it
 * reports the key that ended it, but marks that key with the code 229 as well.
 */
export const composes = (event) => event.isComposing || event.keyCode === 229;

/** Calls `work` at most once per frame, with the latest arguments. */
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
