// What to do if a browser offers no WebGPU.

import { el } from "../dom.js";
import { icon } from "../icons.js";
import { command } from "../notice.js";

const WHERE = [
    ["Chrome and Edge", "version 113 or newer on Windows, macOS and ChromeOS, 121 or newer on Android."],
    ["Chrome on Linux", "if it is not on by default, start it with the flags below, or set them in chrome://flags (Unsafe WebGPU Support, Vulkan)."],
    ["Safari", "version 26 or newer, on macOS, iOS and iPadOS."],
    ["Firefox", "version 141 or newer on Windows, 145 or newer on macOS; elsewhere Firefox Nightly, with dom.webgpu.enabled in about:config."],
];

const secure = "This page came over plain http. Browsers offer WebGPU only over https and from localhost.";
const refused = "WebGPU may also be there but switched off: hardware acceleration in the browser's settings, a driver that the browser does not trust (see chrome://gpu), or a private window.";

/** Why the engine could not be opened, and what may help. `again` tries once more. */
export function noGpu(why, again) {
    return el(
        "section.panel.nogpu",
        { role: "alert" },
        el("h2", {}, icon("warning"), "This page needs WebGPU"),
        el("p.lead", {}, why),
        window.isSecureContext ? null : el("p", {}, secure),
        el("dl.where", {}, WHERE.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text)))),
        command("google-chrome --enable-unsafe-webgpu --enable-features=Vulkan"),
        el("p.quieter", {}, refused),
        el("button.quiet", { type: "button", onclick: again }, icon("again"), "Try again"),
    );
}
