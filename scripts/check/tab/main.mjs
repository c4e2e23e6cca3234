// Drives a headless Chromium through the page that trains in a tab, as a user would:
//   node scripts/check/tab/main.mjs --folder target/web [--wgpt target/release/wgpt] [--modules DIR with playwright-core]
//       [--chromium PATH] [--only WORD] [--shots DIR]
// With --wgpt the losses are compared with those of `wgpt pretrain`.

import { given, verdict, visitors } from "../browser/visitors.mjs";
import { frame, without } from "./frame.mjs";
import { reinforcing } from "./reinforcing.mjs";
import { host } from "./host.mjs";
import { talking } from "./talking.mjs";
import { training } from "./training.mjs";

/** WebGPU without a GPU: on SwiftShader. */
const GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"];

/** Chromium's messages about WebGPU on Linux, and about a device that is destroyed on purpose. */
const HARMLESS = /WebGPU is experimental|A valid external Instance reference no longer exists|powerPreference/;

const options = given({ folder: "target/web" });
const { url, close } = await host(options.folder);
options.url = url;
let failures = 0;
for (const [args, all] of [[GPU, [frame, training, talking, reinforcing]], [[], [without]]]) {
    const { check, end } = await visitors(options, { args, harmless: HARMLESS });
    for (const checks of all) await checks(check);
    failures += await end();
}
close();
verdict(failures);
