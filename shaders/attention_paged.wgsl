// attention_paged: attention of new tokens over pages that already hold their keys and values. Tile i is the rows
// tiles[i] = (first row, rows, start in tables, first position): consecutive tokens of one text, whose position j lies in
// page tables[start + j / PAGE] at j % PAGE. The row at position t sees 0..=t.
// q[rows, heads * D], keys and values [pages, kv_heads, PAGE, D], out[rows, heads * D].
// A workgroup takes GROUP query heads that share keys and values, of one tile of at most QUERIES rows, and positions
// split * span..(split + 1) * span: ranges do not depend on what else is computed, so neither does a text's rounding. With one
// split out is the result; with more it is [row, head, split, D/4 + 1] vectors: sums that are not normalised yet, then
// (greatest score, sum of weights), for attention_merge. A round takes CHUNK positions: lanes share out the scores, then
// the columns of the values. Grid: x tiles, y heads / GROUP, z splits. Overwrites.
// @include cache = "lib/cache_f32.wgsl"
const D: u32 = 64u;
const PAGE: u32 = 32u;
const GROUP: u32 = 1u;
const QUERIES: u32 = 1u;
const LANES: u32 = 32u;
const CHUNK: u32 = 64u; // a multiple of LANES
const COLUMNS: u32 = D / 4u;
const ROWS: u32 = QUERIES * GROUP; // row r: head r % GROUP of query r / GROUP
// Where there are more lanes than columns, positions are shared out too.
const SLICES: u32 = max(1u, LANES / COLUMNS);
const PER_LANE: u32 = (COLUMNS + LANES - 1u) / LANES;
const LOWEST: f32 = -3.4e38;

struct Params { heads: u32, kv_heads: u32, splits: u32, span: u32, scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> keys: array<stored4>;
@group(0) @binding(2) var<storage, read> values: array<stored4>;
@group(0) @binding(3) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;

var<workgroup> weights: array<f32, ROWS * CHUNK>;
var<workgroup> shared_by_lane: array<f32, ROWS * LANES>;
var<workgroup> slices: array<vec4<f32>, ROWS * SLICES * COLUMNS>;

// Where the keys and values of a position begin.
fn stored_at(start: u32, position: u32, kv: u32) -> u32 {
    let page = tables[start + position / PAGE];
    return ((page * p.kv_heads + kv) * PAGE + position % PAGE) * COLUMNS;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.y * GROUP;
    let kv = head / (p.heads / p.kv_heads);
    let split = group.z;
    let tile = tiles[group.x];
    let first_row = tile.x;
    let rows = tile.y;
    let past = tile.w;
    var query: array<array<vec4<f32>, COLUMNS>, ROWS>;
    for (var g = 0u; g < ROWS; g += 1u) {
        for (var c = 0u; c < COLUMNS; c += 1u) {
            let row = first_row + min(g / GROUP, rows - 1u);
            query[g][c] = q[(row * p.heads + head + g % GROUP) * COLUMNS + c] * p.scale;
        }
    }
    // What the last query sees; the others are masked.
    let seen = past + rows;
    let begin = min(split * p.span, seen);
    let end = min(begin + p.span, seen);

    var greatest: array<f32, ROWS>;
    var total: array<f32, ROWS>; // of this lane's positions
    var sums: array<array<vec4<f32>, PER_LANE>, ROWS>;
    for (var g = 0u; g < ROWS; g += 1u) {
        greatest[g] = LOWEST;
        total[g] = 0.0;
        for (var i = 0u; i < PER_LANE; i += 1u) {
            sums[g][i] = vec4<f32>();
        }
    }
    for (var start = begin; start < end; start += CHUNK) {
        var peak: array<f32, ROWS>;
        for (var g = 0u; g < ROWS; g += 1u) {
            peak[g] = greatest[g];
        }
        for (var at = lane; at < min(CHUNK, (end - start + LANES - 1u) / LANES * LANES); at += LANES) {
            let key = stored_at(tile.z, min(start + at, end - 1u), kv);
            var scores: array<vec4<f32>, ROWS>;
            for (var g = 0u; g < ROWS; g += 1u) {
                scores[g] = vec4<f32>();
            }
            for (var c = 0u; c < COLUMNS; c += 1u) {
                let k = widen(keys[key + c]);
                for (var g = 0u; g < ROWS; g += 1u) {
                    scores[g] = fma(query[g][c], k, scores[g]);
                }
            }
            for (var g = 0u; g < ROWS; g += 1u) {
                let s = (scores[g].x + scores[g].y) + (scores[g].z + scores[g].w);
                let score = select(LOWEST, s, start + at < min(end, past + g / GROUP + 1u));
                weights[g * CHUNK + at] = score;
                peak[g] = max(peak[g], score);
            }
        }
        for (var g = 0u; g < ROWS; g += 1u) {
            shared_by_lane[g * LANES + lane] = peak[g];
        }
        workgroupBarrier();
        for (var g = 0u; g < ROWS; g += 1u) {
            var higher = greatest[g];
            for (var l = 0u; l < LANES; l += 1u) {
                higher = max(higher, shared_by_lane[g * LANES + l]);
            }
            let shrink = exp(greatest[g] - higher);
            greatest[g] = higher;
            total[g] *= shrink;
            for (var i = 0u; i < PER_LANE; i += 1u) {
                sums[g][i] *= shrink;
            }
            for (var at = lane; at < min(CHUNK, end - start); at += LANES) {
                let visible = start + at <= past + g / GROUP;
                let weight = select(0.0, exp(weights[g * CHUNK + at] - higher), visible);
                weights[g * CHUNK + at] = weight;
                total[g] += weight;
            }
        }
        workgroupBarrier();
        for (var at = lane / COLUMNS % SLICES; at < min(CHUNK, end - start); at += SLICES) {
            let value = stored_at(tile.z, start + at, kv);
            for (var i = 0u; i < PER_LANE; i += 1u) {
                let c = select(i * LANES + lane, lane % COLUMNS, SLICES > 1u);
                let v = widen(values[value + min(c, COLUMNS - 1u)]);
                for (var g = 0u; g < ROWS; g += 1u) {
                    sums[g][i] = fma(vec4<f32>(weights[g * CHUNK + at]), v, sums[g][i]);
                }
            }
        }
        workgroupBarrier();
    }
    for (var g = 0u; g < ROWS; g += 1u) {
        shared_by_lane[g * LANES + lane] = total[g];
        if (lane < SLICES * COLUMNS) {
            for (var i = 0u; i < PER_LANE; i += 1u) {
                let c = i * LANES + lane;
                if (c < SLICES * COLUMNS) {
                    slices[g * SLICES * COLUMNS + c] = sums[g][i];
                }
            }
        }
    }
    workgroupBarrier();
    for (var g = 0u; g < ROWS; g += 1u) {
        var all = 0.0;
        for (var l = 0u; l < LANES; l += 1u) {
            all += shared_by_lane[g * LANES + l];
        }
        for (var c = lane; c < COLUMNS; c += LANES) {
            var sum = vec4<f32>();
            for (var s = 0u; s < SLICES; s += 1u) {
                sum += slices[(g * SLICES + s) * COLUMNS + c];
            }
            let target_head = (first_row + g / GROUP) * p.heads + head + g % GROUP;
            if (g / GROUP >= rows) {
                continue;
            }
            if (p.splits == 1u) {
                out[target_head * COLUMNS + c] = select(sum / all, vec4<f32>(), all == 0.0);
            } else {
                let at = (target_head * p.splits + split) * (COLUMNS + 1u);
                out[at + c] = sum;
                if (c == 0u) {
                    out[at + COLUMNS] = vec4<f32>(greatest[g], all, 0.0, 0.0);
                }
            }
        }
    }
}
