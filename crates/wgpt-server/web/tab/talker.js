// A model loaded in the engine for conversation: loaded on the first question, and again if the model has changed.

import { make, machine } from "./machine.js";

/**
 * Loads the current version of `model` (see models.js). Returns `{about, call}`; `report(what, done, total)` reports
 * progress.
 */
export function talkers() {
    let loaded = null;
    return async (model, report) => {
        const stamp = `${model.key} ${model.stamp()} ${machine.times}`;
        if (loaded?.stamp === stamp) return loaded;
        if (loaded?.times === machine.times) loaded.object.free();
        loaded = null;
        report("Fetching the model");
        const bytes = await model.bytes((done, total) => report("Fetching the model", done, total));
        report("Loading the model");
        const object = await make("load", bytes);
        const about = await object.call("about");
        loaded = { stamp, times: machine.times, object, about, call: object.call };
        return loaded;
    };
}
