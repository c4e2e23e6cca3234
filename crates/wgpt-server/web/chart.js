// A chart of several curves over steps, as SVG: axes, and values read by hovering or by keys.

import { el, svg } from "./dom.js";
import { extent, scale, smoothed, thinned } from "./scale.js";
import { short, t } from "./words.js";

const HEIGHT = 190;
const MARGIN = { left: 52, right: 12, top: 8, bottom: 22 };

/**
 * A chart. `hover(step)` is called with the step being read, or null. Returns `{node, set(series, options),
 * read(step)}`; a series is `{name, colour, dash, points: [[step, value]..]}` in ascending order of steps, options are
 * `{logarithmic, smooth}`.
 */
export function chart(title, hover) {
    const plot = svg("svg.plot", { tabindex: "0", role: "img" });
    const legend = el("ul.legend");
    const node = el("figure.chart", {}, el("figcaption", {}, el("h3", {}, title), legend), plot);
    let series = [];
    let options = {};
    let at = null;
    let axes = null;
    let logarithmic = false;

    function draw() {
        const width = Math.max(200, node.clientWidth);
        plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
        plot.setAttribute("height", String(HEIGHT));
        plot.replaceChildren();
        const curves = series.map((one) => ({ ...one, curve: smoothed(one.points, options.smooth ?? 0) }));
        const values = curves.flatMap(({ curve }) => curve.map(([, value]) => value));
        // Data with negative values is not drawn on a logarithmic scale.
        logarithmic = Boolean(options.logarithmic) && !values.some((value) => value < 0) && values.some((value) => value > 0);
        const y = extent(values, logarithmic);
        const x = extent(series.flatMap(({ points }) => points.map(([step]) => step)), false);
        if (!x || !y) {
            axes = null;
            plot.append(svg("text.none", { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, t("no_metrics")));
            return;
        }
        const last = Math.max(...series.flatMap(({ points }) => points.slice(-1).map(([step]) => step)));
        const right = width - MARGIN.right;
        axes = {
            x: scale(0, Math.max(1, last), MARGIN.left, right, false),
            y: scale(...y, HEIGHT - MARGIN.bottom, MARGIN.top, logarithmic),
        };
        for (const value of axes.y.ticks) {
            const place = axes.y.place(value);
            plot.append(
                svg("line.grid", { x1: MARGIN.left, x2: right, y1: place, y2: place }),
                svg("text.tick", { x: MARGIN.left - 8, y: place + 4, "text-anchor": "end" }, short(value)),
            );
        }
        const fewer = axes.x.ticks.filter((step, index, all) => Number.isInteger(step) && index % Math.ceil(all.length / (width / 90)) === 0);
        for (const step of fewer) {
            plot.append(svg("text.tick", { x: axes.x.place(step), y: HEIGHT - 5, "text-anchor": "middle" }, short(step)));
        }
        for (const { colour, dash, points, curve } of curves) {
            if ((options.smooth ?? 0) > 0) plot.append(line(points, `curve raw series${colour}`, 0));
            plot.append(line(curve, `curve series${colour}`, dash));
        }
        plot.append(svg("line.cross", { y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, visibility: "hidden" }));
        read(at);
    }

    function line(points, kind, dash) {
        const inside = ([, value]) => Number.isFinite(value) && (!logarithmic || value > 0);
        const shown = thinned(points.filter(inside), 500);
        const [low, high] = [MARGIN.top, HEIGHT - MARGIN.bottom];
        const clamp = (place) => Math.min(high, Math.max(low, place));
        const d = shown.map(([step, value], index) => {
            return `${index === 0 ? "M" : "L"}${axes.x.place(step).toFixed(1)} ${clamp(axes.y.place(value)).toFixed(1)}`;
        });
        // A single point cannot form a line, so it is drawn as a dot.
        const path = shown.length === 1 ? `${d[0]}h0.01` : d.join("");
        return svg("path", { d: path, class: shown.length === 1 ? `${kind} dot` : kind, "stroke-dasharray": ["none", "6 4", "2 3"][dash] });
    }

    /** Shows the values nearest to a step, or the last ones. */
    function read(step) {
        at = step;
        const cross = plot.querySelector(".cross");
        if (cross && axes) {
            const place = step === null ? 0 : axes.x.place(step);
            cross.setAttribute("visibility", step === null ? "hidden" : "visible");
            cross.setAttribute("x1", place);
            cross.setAttribute("x2", place);
        }
        const values = series.map(({ points }) => (step === null ? points.at(-1) : nearest(points, step)));
        legend.replaceChildren(...series.map(({ name, colour, dash }, index) => el(
            "li",
            {},
            el(`span.key.series${colour}.dash${dash}`),
            el("span.name", {}, name),
            el("output", {}, values[index] ? short(values[index][1]) : "–"),
        )));
        const told = series.map(({ name }, index) => `${name} ${values[index] ? short(values[index][1]) : "–"}`);
        plot.setAttribute("aria-label", t("curve_label", { title, values: told.join(", ") }));
    }

    const stepAt = (event) => {
        const box = plot.getBoundingClientRect();
        return axes && Math.max(0, Math.round(axes.x.value(event.clientX - box.left)));
    };
    plot.addEventListener("pointermove", (event) => hover(stepAt(event)));
    plot.addEventListener("pointerleave", () => hover(null));
    plot.addEventListener("blur", () => hover(null));
    plot.addEventListener("keydown", (event) => {
        const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        const steps = series[0]?.points.map(([step]) => step);
        if (!direction || !steps?.length) return;
        event.preventDefault();
        const stride = Math.max(1, Math.round(steps.length / 100)) * direction;
        const now = at === null ? steps.length - 1 : steps.indexOf(nearest(series[0].points, at)[0]);
        hover(steps[Math.min(steps.length - 1, Math.max(0, now + stride))]);
    });
    return {
        node,
        draw,
        read,
        set: (next, nextOptions) => {
            series = next;
            options = nextOptions;
            draw();
        },
    };
}

/** The point nearest to a step, by binary search. */
function nearest(points, step) {
    let [low, high] = [0, points.length - 1];
    while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (points[middle][0] <= step) low = middle;
        else high = middle;
    }
    if (points.length === 0) return null;
    return Math.abs(points[high][0] - step) < Math.abs(points[low][0] - step) ? points[high] : points[low];
}
