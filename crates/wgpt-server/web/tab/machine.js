// The one engine of the page: opened, lost, opened again.

import { connect } from "./remote.js";

/**
 * `state`: `closed`, `opening`, `open`, `lost` or `failed`; `why`: in words. `about`: what the engine says of itself; `name`: the
 * GPU's, as far as the browser tells. `times`: how often it was opened.
 */
export const machine = { state: "closed", about: null, name: "", why: "", times: 0 };

let link = null;
let engine = null;
const hearers = new Set();

/** Hears of every change of `machine.state`. */
export const onMachine = (hear) => hearers.add(hear);

function become(state, why = "") {
    Object.assign(machine, { state, why });
    hearers.forEach((hear) => hear(state));
}

/** Opens the engine, anew if there was one before; everything that the one before held is gone then. */
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

/** An object of the engine: `train`, `resume`, `load`, `reinforce`, with their arguments. Bytes are moved there. */
export function make(method, ...args) {
    if (machine.state !== "open") throw new Error(machine.why || "The engine is not open yet.");
    return engine.call(method, args);
}

/** Loses the device on purpose, as a driver that fails would. */
export const lose = () => engine.call("lose");
