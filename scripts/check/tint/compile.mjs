// Compiles every WGSL file of a folder with Tint and creates a compute pipeline from it, on Dawn's null backend, which
// does no work.
//   node compile.mjs MODULES FOLDER
// MODULES is where npm put Dawn for Node ("webgpu"). The exit status is not 0 if Tint rejects a file or warns about it.
// If a shader needs more workgroup memory than that device has, no pipeline is created, which is reported but is not an
// error.

import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [modules, folder] = process.argv.slice(2).map((path) => resolve(path));
const require = createRequire(join(modules, "node_modules", "webgpu", "index.js"));
const { create } = require("webgpu");

const LIMITS = ["maxComputeWorkgroupStorageSize", "maxComputeInvocationsPerWorkgroup", "maxComputeWorkgroupSizeX"];

// Kept reachable from the garbage collector's roots: everything else depends on it.
globalThis.gpu = create(["backend=null"]);
const adapter = await globalThis.gpu.requestAdapter();
const features = ["shader-f16", "subgroups"];
const absent = features.filter((feature) => !adapter.features.has(feature));
if (absent.length > 0) throw new Error(`Dawn's null adapter has no ${absent.join(" and no ")}`);
const requiredLimits = Object.fromEntries(LIMITS.map((limit) => [limit, adapter.limits[limit]]));
const device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits });

/** The errors of a file in words; empty if there are none. */
async function complaints(name) {
    const code = readFileSync(join(folder, name), "utf8");
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code });
    const { messages } = await module.getCompilationInfo();
    const said = [...messages].map((it) => `${it.type} in line ${it.lineNum}: ${it.message.trim()}`);
    try {
        if (said.length === 0) {
            device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
        }
    } catch (error) {
        said.push(`no pipeline: ${error.message}`);
    }
    const error = await device.popErrorScope();
    if (error && said.length === 0) said.push(error.message);
    return said;
}

const TOO_LARGE = /total use of workgroup storage/;

const names = readdirSync(folder).filter((name) => name.endsWith(".wgsl"));
let refused = 0;
let large = 0;
for (const name of names) {
    const said = await complaints(name);
    if (said.length === 0) continue;
    if (said.every((words) => TOO_LARGE.test(words))) {
        large += 1;
        continue;
    }
    refused += 1;
    if (refused <= 10) console.error(`${name}\n  ${said.join("\n  ")}`);
}
console.log(`${names.length - refused} of ${names.length} shaders compiled without a word`);
if (large > 0) {
    console.log(`${large} of them want more than the ${adapter.limits.maxComputeWorkgroupStorageSize} bytes of workgroup memory of this device`);
}
// Dawn's threads would keep the process alive.
process.exit(names.length > 0 && refused === 0 ? 0 : 1);
