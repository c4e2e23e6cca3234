// The page: opens the engine, shows what it runs on, and shows one view at a time, selected by the address after `#`.

import { announce, el, hidden } from "../dom.js";
import { icon, sign } from "../icons.js";
import { notice } from "../notice.js";
import { settings } from "../store.js";
import { toggleTheme } from "../theme.js";
import { noGpu } from "./browsers.js";
import { howView } from "./how.js";
import { busy, onRun, run } from "./learning.js";
import { machine, onMachine, open } from "./machine.js";
import { progress } from "./progress.js";
import { reinforceView } from "./reinforce.js";
import { talkView } from "./talk.js";
import { trainView } from "./train.js";

// This page is in English; the modules it shares with the page of `wgpt serve` support other languages too.
settings.language = "en";

const main = document.getElementById("main");
const strip = el("div.strip");
const going = progress();
const train = trainView();
const talk = talkView();
const views = {
    train,
    talk,
    reinforce: reinforceView((key) => {
        talk.pick(key);
        location.hash = "#talk";
    }),
    how: howView(),
};
const NAMES = { train: ["Train", "training"], talk: ["Talk", "chat"], reinforce: ["Reinforce", "feedback"], how: ["How it works", "inside"] };

/** The view named by the address. */
const current = () => (location.hash.slice(1) in views ? location.hash.slice(1) : "train");

const links = Object.entries(NAMES).map(([name, [title, picture]]) => [name, el("a", { href: `#${name}` }, icon(picture), el("span", {}, title))]);

function show() {
    const name = current();
    document.title = `${NAMES[name][0]} · wgpt in a tab`;
    for (const [key, { node }] of Object.entries(views)) node.hidden = key !== name;
    for (const [key, link] of links) {
        if (key === name) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
    }
    main.scrollTop = 0;
}

/** What the engine runs on, and what it is doing while another view is shown. */
function drawStrip() {
    const { state, name, why } = machine;
    if (state === "open") {
        const doing = busy() ? el("span.live", {}, `training, step ${run.step}${run.about ? ` of ${run.about.steps}` : ""}`) : null;
        strip.replaceChildren(el("span.adapter", {}, `Runs on ${name}`), ...[doing].filter(Boolean));
    } else if (state === "lost") {
        // A training run that was lost with it shows the details.
        const shown = notice(run.phase === "lost" ? "The GPU was lost." : `The GPU was lost: ${why}`);
        shown.append(el("button.quiet", { type: "button", onclick: start }, icon("again"), "Open it again"));
        strip.replaceChildren(shown);
    } else if (state === "failed") {
        strip.replaceChildren(noGpu(why, start));
    } else {
        strip.replaceChildren(going.node);
    }
}

async function start() {
    going.begin("Loading the engine");
    try {
        await open((what, done, total) => going.set(done ?? 0, what === "load" ? { what: "Loading the engine", total } : { what: "Looking for a GPU", total: null }));
        announce(strip.textContent);
    } catch {
        // The strip shows what is wrong.
    }
    going.end();
}

const theme = el("button.tool", { type: "button", title: "Light or dark", onclick: toggleTheme }, icon("theme"), hidden("Light or dark"));
document.getElementById("rail").replaceChildren(
    el("a.brand", { href: "#train", "aria-label": "wgpt" }, sign()),
    el("nav", { "aria-label": "Views" }, links.map(([, link]) => link)),
    el("div.tools", {}, theme),
);
main.replaceChildren(strip, ...Object.values(views).map(({ node }) => node));
document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
});
window.addEventListener("hashchange", show);
onMachine(drawStrip);
onRun((what) => ["step", "phase"].includes(what) && ["open", "lost"].includes(machine.state) && drawStrip());
show();
await Promise.all([train.ready(), start()]);
