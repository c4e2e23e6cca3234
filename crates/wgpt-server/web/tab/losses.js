// The losses of a run: a curve, a table, and a file.

import { chart } from "../chart.js";
import { el, perFrame } from "../dom.js";
import { downloadButton } from "./files.js";

const COLUMNS = ["step", "loss", "validation_loss", "norm", "lr", "seconds"];

/** Maximum number of rows in the table; the file has all. */
const SHOWN = 200;

/** The rows of the table, from the engine's `steps` and from `validations` as `[step, loss]`. */
function rows({ steps, validations }) {
    const held = new Map(validations);
    const all = steps.map((one) => ({ ...one, validation_loss: held.get(one.step) }));
    // Before the first step there is only a validation.
    return held.has(0) ? [{ step: 0, validation_loss: held.get(0) }, ...all] : all;
}

const csv = (run) => [COLUMNS, ...rows(run).map((row) => COLUMNS.map((name) => row[name] ?? ""))].map((line) => `${line.join(",")}\n`).join("");

/** The board: `{node, draw()}`; `draw` shows the current `run()`, `{steps, validations}`. */
export function lossBoard(run, failed) {
    const curve = chart("Loss", (step) => curve.read(step));
    const body = el("tbody");
    const head = el("tr", {}, COLUMNS.map((name) => el("th", { scope: "col" }, name.replace("_", " "))));
    const details = el(
        "details.more.numbers",
        {},
        el("summary", {}, `The last ${SHOWN} steps as numbers`),
        el("div.tablebox", { tabindex: "0", role: "region", "aria-label": "Losses by step" }, el("table", {}, el("thead", {}, head), body)),
    );
    const file = () => [csv(run()), "text/csv"];
    const node = el("div.lossboard", {}, curve.node, el("div.row", {}, downloadButton("Download the numbers (.csv)", () => "losses.csv", file, failed)), details);
    const cell = (row, name) => {
        const value = row[name];
        if (value === undefined) return "–";
        return name === "step" ? String(value) : name === "lr" ? value.toExponential(2) : value.toFixed(name === "seconds" ? 3 : 6);
    };

    const draw = perFrame(() => {
        const { steps, validations } = run();
        curve.set([
            { name: "on training text", colour: 0, dash: 0, points: steps.map(({ step, loss }) => [step, loss]) },
            { name: "on held-out text", colour: 1, dash: 0, points: validations },
        ], {});
        if (!details.open) return;
        body.replaceChildren(...rows(run()).slice(-SHOWN).reverse().map((row) => el("tr", {}, COLUMNS.map((name) => el("td", {}, cell(row, name))))));
    });
    details.addEventListener("toggle", draw);
    new ResizeObserver(draw).observe(node);
    return { node, draw };
}
