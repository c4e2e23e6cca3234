// The page's only engine: opened, lost, reopened.

import { connect } from "./remote.js";

/**
 * `state`: `closed`, `opening`, `open`, `lost` or `failed`; `why`: the reason in words. `about`: the engine's
 * description of itself; `name`: the GPU's name, if the browser reveals it. `times`: how often the engine was opened.
 */
export const machine = { state: "closed", about: null, name: "", why: "", times: 0 };

let link = null;
let engine = null;
const hearers = new Set();

/** Adds a listener for every change of `machine.state`. */
export const onMachine = (hear) => hearers.add(hear);

function become(state, why = "") {
    Object.assign(machine, { state, why });
    hearers.forEach((hear) => hear(state));
}

/** Opens the engine, or reopens it; everything that the previous engine held is then gone. */
export async function open(report = () => {}) {
    link?.close();
    const mine = connect((error) => {
        if (error.lost && link === mine && machine.state === "open") become("lost", error.message);
    });
    link = mine;
    machine.times += 1;
    become("opening");
    try {
        engine = await mine.call(null, "open", [{ without: "" }], { hear: report });
        machine.about = await engine.call("about");
        machine.name = (await mine.call(null, "adapter")) || "a GPU without a name";
        become("open");
    } catch (error) {
        become("failed", error.message);
        throw error;
    }
}

/** Creates an object of the engine with `train`, `resume`, `load` or `reinforce`. Bytes are transferred, not copied. */
export function make(method, ...args) {
    if (machine.state !== "open") throw new Error(machine.why || "The engine is not open yet.");
    return engine.call(method, args);
}

/** Loses the device on purpose, as a failing driver would. */
export const lose = () => engine.call("lose");
