// The icons, drawn as strokes on a 24 x 24 grid.

import { el, svg } from "./dom.js";

const PATHS = {
    chat: "M4 5h16v11H10l-5 4v-4H4z",
    inside: "M12 3l9 5-9 5-9-5zM3 12.5l9 5 9-5M3 17l9 5 9-5",
    training: "M4 4v16h16M7 8c2 7 5 7 7 6s3-2 6-2",
    feedback: "M7 11l4-7c2 0 2.500 1.500 2 3l-1 3h6.500c1 0 1.500 1 1.300 2l-1.500 6c-.2.700-.8 1-1.500 1H7zM7 11H4v8h3",
    up: "M7 11l4-7c2 0 2.500 1.500 2 3l-1 3h6.500c1 0 1.500 1 1.300 2l-1.500 6c-.2.700-.8 1-1.500 1H7zM7 11H4v8h3",
    down: "M17 13l-4 7c-2 0-2.500-1.500-2-3l1-3H5.500c-1 0-1.500-1-1.300-2l1.500-6c.2-.700.8-1 1.500-1H17zM17 13h3V5h-3",
    again: "M20 12a8 8 0 1 1-2.500-5.800M20 3v5h-5",
    copy: "M9 9h11v11H9zM5 15H4V4h11v1",
    check: "M5 12.500l4.500 4.500L19 7.500",
    compare: "M4 5h7v14H4zM13 5h7v14h-7z",
    stop: "M7 7h10v10H7z",
    send: "M12 19V5M6 11l6-6 6 6",
    plus: "M12 5v14M5 12h14",
    settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.500v5M9 14.500v5",
    theme: "M12 4a8 8 0 0 0 0 16zM12 4a8 8 0 0 1 0 16",
    language: "M4 6h10M9 4v2c0 4-2 7-5 9M6 9c1 3 4 5 7 6M12 20l4-10 4 10M13.500 17h5",
    keys: "M3 6h18v12H3zM7 10h.01M11 10h.01M15 10h.01M18 10h.01M7 14h10",
    history: "M4 12a8 8 0 1 0 2.500-5.800L4 8.500M4 4v4.500h4.500M12 8v4.500l3 2",
    close: "M6 6l12 12M18 6L6 18",
    download: "M12 4v11M7 11l5 5 5-5M5 20h14",
    tokens: "M3 8h6v8H3zM11 8h4v8h-4zM17 8h4v8h-4z",
    warning: "M12 4l9 16H3zM12 10v5M12 17.500v.01",
    other: "M7 8h12l-3-3M17 16H5l3 3",
};

/** An icon by name. It is decorative, so the element that contains it needs its own label. */
export function icon(name) {
    const shape = { viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" };
    return svg("svg.icon", shape, svg("path", { d: PATHS[name] }));
}

/** The logo of wgpt: its name, split into tokens. */
export function sign() {
    const tokens = [["one", "w"], ["two", "g"], ["three", "pt"]];
    return el("span.sign", { "aria-hidden": "true" }, tokens.map(([kind, text]) => el(`span.${kind}`, {}, text)));
}
