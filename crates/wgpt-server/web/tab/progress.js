// A progress bar with a label: what is being done, how much of it, and how long the rest will take.

import { el } from "../dom.js";

/** A duration in words: 8 s, 3 min 20 s, 1 h 5 min. */
export function duration(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/**
 * `{node, begin(what, total, done), set(done, words), end()}`. Without a total, the bar moves back and forth and the
 * elapsed time is shown; with one, the remaining time is estimated from the pace since `begin`.
 */
export function progress() {
    const bar = el("progress", { max: 1 });
    const words = el("span.words");
    const node = el("div.going", { hidden: true }, bar, words);
    let state = null;
    let clock = null;

    function draw() {
        if (!state) return;
        const { what, total, from, done, more, began } = state;
        const seconds = (performance.now() - began) / 1000;
        const parts = [what];
        if (total > 0) {
            bar.value = Math.min(1, done / total);
            if (done > from && done < total) parts.push(`${duration(((total - done) * seconds) / (done - from))} left`);
        } else {
            bar.removeAttribute("value");
        }
        if (!(total > 0 && done > from) && seconds >= 2) parts.push(`for ${duration(seconds)}`);
        if (more) parts.push(more);
        words.textContent = parts.join(" · ");
    }

    return {
        node,
        begin: (what, total = null, done = 0) => {
            state = { what, total, from: done, done, more: "", began: performance.now() };
            bar.setAttribute("aria-label", what);
            node.hidden = false;
            clearInterval(clock);
            clock = setInterval(draw, 1000);
            draw();
        },
        set: (done, { what = state?.what, more = "", total = state?.total } = {}) => {
            if (!state) return;
            Object.assign(state, { done, what, more, total });
            draw();
        },
        end: () => {
            state = null;
            clearInterval(clock);
            node.hidden = true;
        },
    };
}
