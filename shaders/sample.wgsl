// sample: one token per row of logits[rows, width]. With s = (x - greatest x of the row) * sharpness (1 / temperature)
// and w = exp(s), the candidates are the ids among the top_k greatest logits (TOP_K; all that tie with the last are
// included), of these the greatest whose w reach the share top_p of their sum (TOP_P), and of these those with w >= min_p.
// DRAW: candidate i is taken with probability w_i / sum w, as the argmax of s_i - log(-log(1 - v)) with v from
// random_bits(keys[row], i) (Gumbel 1954); without DRAW, the greatest logit is taken. Of equals, the lowest id wins.
// out[row] = (id, bits of the log-probability of id under softmax(x * sharpness) over all ids). Overwrites.
// Thresholds are found digit by digit on the bits of the logits, so no sorting is needed. width < 2^24.
// @include "lib/rows.wgsl"
// @include "lib/random.wgsl"
const DRAW: bool = false;
const TOP_K: bool = false;
const TOP_P: bool = false;
const LOWEST: f32 = -3.4e38;
const NO_ID: u32 = 0xffffffffu;

struct Params { rows: u32, width: u32, sharpness: f32, top_k: u32, top_p: f32, min_p: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec2<u32>>;

// Bits whose order as integers is the order of the numbers.
fn ordered(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

// The greatest t with sum over the row's x of (ordered(x) >= max(t, floor) ? weight : 0) >= goal, where weight is w or
// (COUNTS) 1.
fn threshold(base: u32, local: u32, greatest: f32, counts: bool, goal: f32, floor: u32) -> u32 {
    var prefix = 0u;
    for (var digit = 0u; digit < 8u; digit += 1u) {
        let shift = 28u - 4u * digit;
        var sums = array<f32, 16>();
        for (var c = local % LANES; c < p.width; c += LANES) {
            let x = logits[base + c];
            let key = ordered(x);
            let weight = select(0.0, select(exp((x - greatest) * p.sharpness), 1.0, counts), key >= floor);
            for (var d = 1u; d < 16u; d += 1u) {
                sums[d] += select(0.0, weight, key >= prefix + (d << shift));
            }
        }
        var chosen = 0u;
        for (var d = 1u; d < 16u; d += 1u) {
            if (row_sum(sums[d], local) >= goal) {
                chosen = d;
            }
        }
        prefix += chosen << shift;
    }
    return max(prefix, floor);
}

// Standard Gumbel noise. v has 23 bits and is never 0 or 1; -log(1 - v) uses its series where log would lose precision.
fn gumbel(bits: u32) -> f32 {
    let v = (f32(bits >> 9u) + 0.5) * 1.1920929e-7;
    let series = v * fma(v, fma(v, fma(v, fma(v, fma(v, 0.16666667, 0.2), 0.25), 0.33333334), 0.5), 1.0);
    return -log(select(-log(1.0 - v), series, v < 0.0625));
}

@compute @workgroup_size(LANES * ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let wanted = row_of(group, groups, local);
    let row = min(wanted, p.rows - 1u);
    let lane = local % LANES;
    let base = row * p.width;
    var greatest = LOWEST;
    for (var c = lane; c < p.width; c += LANES) {
        greatest = max(greatest, logits[base + c]);
    }
    greatest = row_max(greatest, local);
    var sum = 0.0;
    for (var c = lane; c < p.width; c += LANES) {
        sum += exp((logits[base + c] - greatest) * p.sharpness);
    }
    let total = row_sum(sum, local);
    var least = 0u;
    if (TOP_K) {
        least = threshold(base, local, greatest, true, f32(p.top_k), least);
    }
    if (TOP_P) {
        var kept = total;
        if (TOP_K) {
            sum = 0.0;
            for (var c = lane; c < p.width; c += LANES) {
                let x = logits[base + c];
                sum += select(0.0, exp((x - greatest) * p.sharpness), ordered(x) >= least);
            }
            kept = row_sum(sum, local);
        }
        least = threshold(base, local, greatest, false, p.top_p * kept, least);
    }
    var best = LOWEST;
    var id = NO_ID;
    for (var c = lane; c < p.width; c += LANES) {
        let x = logits[base + c];
        var score = x;
        if (DRAW) {
            let s = (x - greatest) * p.sharpness;
            let candidate = ordered(x) >= least && exp(s) >= p.min_p;
            score = select(LOWEST, s + gumbel(random_bits(keys[row], c)), candidate);
        }
        if (score > best) {
            best = score;
            id = c;
        }
    }
    let top = row_max(best, local);
    // Ids below 2^24 are exact in f32.
    let first = -row_max(select(LOWEST, -f32(id), best == top && id != NO_ID), local);
    if (wanted < p.rows && lane == 0u) {
        let taken = min(u32(first), p.width - 1u);
        out[row] = vec2<u32>(taken, bitcast<u32>((logits[base + taken] - greatest) * p.sharpness - log(total)));
    }
}
