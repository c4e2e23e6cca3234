// A model in the engine, ready to talk: loaded when it is first asked, and again when it has become another one.

import { make, machine } from "./machine.js";

/** Loads what `model` (an offer of models.js) is now. Gives `{about, call}`; `report(what, done, total)` hears how far it is. */
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
