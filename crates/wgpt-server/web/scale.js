// Axes: the positions of ticks, and the mapping from values to positions.

/** Round numbers between two values, about `count` of them. */
export function ticks(low, high, count) {
    const span = high - low;
    if (!(span > 0)) return [low];
    const rough = span / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
    const found = [];
    for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) {
        found.push(Number((at * step).toPrecision(12)));
    }
    return found;
}

/** Ticks of a logarithmic axis: powers of ten, with 2 and 5 between them if there is room. */
export function logTicks(low, high) {
    const first = Math.floor(Math.log10(low));
    const last = Math.ceil(Math.log10(high));
    const between = last - first <= 1 ? [1, 1.5, 2, 3, 5, 7] : last - first <= 3 ? [1, 2, 5] : [1];
    const stride = Math.max(1, Math.ceil((last - first) / 6));
    const found = [];
    for (let power = first; power <= last; power += stride) {
        found.push(...between.map((one) => Number((one * 10 ** power).toPrecision(6))));
    }
    return found.filter((one) => one >= low * 0.999 && one <= high * 1.001);
}

/**
 * A map from values to positions, with its ticks. On a logarithmic one, values that are not positive have no position.
 */
export function scale(low, high, from, to, logarithmic) {
    const pass = logarithmic ? Math.log : (value) => value;
    const span = pass(high) - pass(low) || 1;
    return {
        place: (value) => from + ((pass(value) - pass(low)) / span) * (to - from),
        value: (place) => low + ((place - from) / (to - from)) * (high - low),
        ticks: logarithmic ? logTicks(low, high) : ticks(low, high, Math.max(2, Math.abs(to - from) / 34)),
    };
}

/** The range of the values with some padding; if all values are equal, the range is widened. */
export function extent(values, logarithmic) {
    let low = Infinity;
    let high = -Infinity;
    for (const value of values) {
        if (!Number.isFinite(value) || (logarithmic && value <= 0)) continue;
        low = Math.min(low, value);
        high = Math.max(high, value);
    }
    if (low > high) return null;
    if (logarithmic) return low === high ? [low / 2, high * 2] : [low / 1.05, high * 1.05];
    const air = low === high ? Math.abs(low) * 0.1 || 1 : (high - low) * 0.06;
    // For values that are never negative, the padding does not go below zero.
    return [low >= 0 ? Math.max(0, low - air) : low - air, high + air];
}

/** An exponential moving average with bias correction at the beginning. */
export function smoothed(points, weight) {
    if (weight === 0) return points;
    let sum = 0;
    let mass = 0;
    return points.map(([step, value]) => {
        sum = weight * sum + (1 - weight) * value;
        mass = weight * mass + (1 - weight);
        return [step, sum / mass];
    });
}

/** At most about two points for each of `columns`: the lowest and the highest, so that no spike is lost. */
export function thinned(points, columns) {
    if (points.length <= columns * 2) return points;
    const size = Math.ceil(points.length / columns);
    const found = [];
    for (let at = 0; at < points.length; at += size) {
        let low = points[at];
        let high = points[at];
        for (const point of points.slice(at, at + size)) {
            if (point[1] < low[1]) low = point;
            if (point[1] > high[1]) high = point;
        }
        found.push(...(low === high ? [low] : low[0] < high[0] ? [low, high] : [high, low]));
    }
    return found;
}
