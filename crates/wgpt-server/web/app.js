// The page: finds the server, shows one view at a time, selected by the address after `#`, and handles the global keys.

import { about, introduce, trouble, useKey } from "./api.js";
import { el } from "./dom.js";
import { actions, openShortcuts } from "./keys.js";
import { notice, remark } from "./notice.js";
import { openSettings } from "./settings.js";
import { drawRail } from "./rail.js";
import { change, onChange, onLack } from "./store.js";
import { toggleTheme } from "./theme.js";
import { language, t } from "./words.js";
import * as chat from "./chat.js";
import * as feedback from "./feedback.js";
import * as inside from "./inside.js";
import * as training from "./training.js";

const views = { chat, inside, training, feedback };
const main = document.getElementById("main");
const remarks = document.getElementById("remarks");
let leave = null;
let lack = null;

/** The view named by the address. */
const current = () => {
    const name = location.hash.replace(/^#\/?/, "").split("/")[0];
    return name in views ? name : "chat";
};

function show() {
    leave?.();
    const name = current();
    document.title = name === "chat" ? "wgpt" : `${t(name)} · wgpt`;
    document.documentElement.lang = language();
    document.getElementById("skip").textContent = t("skip");
    drawRail(document.getElementById("rail"), name);
    main.className = `view-${name}`;
    main.replaceChildren();
    actions.view = {};
    leave = views[name].show(main) ?? null;
}

/** Says what the browser does not store, until that is read. */
function drawRemark() {
    const read = () => {
        lack = null;
        drawRemark();
        main.focus({ preventScroll: true });
    };
    remarks.replaceChildren(...(lack ? [remark(t(`storage_${lack}`), read)] : []));
}

/** Asks for the key if the server requires one. */
function keyForm(done) {
    const input = el("input", { id: "key", type: "password", autocomplete: "current-password", required: true });
    const submit = (event) => {
        event.preventDefault();
        useKey(input.value.trim());
        done();
    };
    return el(
        "form.keyform",
        { onsubmit: submit },
        el("label", { for: "key" }, t("trouble_key")),
        el("div.lookrow", {}, input, el("button.primary", { type: "submit" }, t("enter"))),
    );
}

/** Tries to reach the server until it answers. */
async function connect() {
    drawRail(document.getElementById("rail"), current());
    main.replaceChildren(el("p.waiting", { role: "status" }, t("connecting")));
    for (let pause = 1000; about.model === undefined; pause = Math.min(pause * 1.5, 8000)) {
        try {
            await introduce();
        } catch (error) {
            let again;
            const asked = new Promise((resolve) => (again = resolve));
            const told = trouble(error);
            main.replaceChildren(told.kind === "key" ? keyForm(again) : notice(told, again));
            if (told.kind === "key") await asked;
            else await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, pause))]);
        }
    }
}

Object.assign(actions.everywhere, {
    settings: openSettings,
    help: openShortcuts,
    theme: toggleTheme,
    language: () => change({ language: language() === "en" ? "zh" : "en" }),
    go: (name) => (location.hash = `#/${name}`),
});

onChange((changes) => {
    if ("language" in changes) {
        drawRemark();
        show();
        main.focus({ preventScroll: true });
    }
});
onLack((why) => {
    lack = why;
    drawRemark();
});
document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
});
window.addEventListener("hashchange", show);
await connect();
show();
