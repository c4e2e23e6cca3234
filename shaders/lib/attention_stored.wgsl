// Attention of a few query rows over stored keys and values by online softmax; shared by attention_decode and
// attention_paged. Their files declare the bindings q, keys, values and out, the parameters heads, kv_heads, splits and
// scale, and stored_at(begin, position, kv): where the D/4 vectors of a position's key and value begin.
const D: u32 = 64u;
const GROUP: u32 = 1u;
const QUERIES: u32 = 1u;
const LANES: u32 = 32u;
const CHUNK: u32 = 64u; // a multiple of LANES
const COLUMNS: u32 = D / 4u;
const ROWS: u32 = QUERIES * GROUP; // row r is head r % GROUP of query r / GROUP
// If there are more lanes than columns, positions are divided among lanes too.
const SLICES: u32 = max(1u, LANES / COLUMNS);
const PER_LANE: u32 = (COLUMNS + LANES - 1u) / LANES;
// Positions whose scores a lane computes at a time.
const TOGETHER: u32 = 1u;
const STEP: u32 = select(1u, 4u, COLUMNS % 4u == 0u);
const LOWEST: f32 = -3.4e38;

// Whether the queries are kept in workgroup memory instead of each lane's registers, of which GPUs have too few for several
// rows; for processors, whose registers are memory anyway, one copy per lane is faster to read.
const SHARED_QUERIES: bool = false;
var<workgroup> shared_queries: array<vec4<f32>, select(1u, ROWS * COLUMNS, SHARED_QUERIES)>;

var<workgroup> weights: array<f32, ROWS * CHUNK>;
var<workgroup> shared_by_lane: array<f32, ROWS * LANES>;
var<workgroup> slices: array<vec4<f32>, ROWS * SLICES * COLUMNS>;

// Consecutive tokens of one text: their first row in q and out, their number, the `begin` for stored_at, and the position
// of the first.
struct Tile { first_row: u32, rows: u32, begin: u32, past: u32 }

// Vector c of row g.
fn scaled_query(tile: Tile, head: u32, g: u32, c: u32) -> vec4<f32> {
    let row = tile.first_row + min(g / GROUP, tile.rows - 1u);
    return q[(row * p.heads + head + g % GROUP) * COLUMNS + c] * p.scale;
}

// Heads head..head + GROUP of a tile over the positions begin..end, which are range `split` of p.splits; the row at position
// t sees ..=t. With one range, out is the result; with more, it is the parts that attention_merge joins.
fn attend(tile: Tile, head: u32, split: u32, begin: u32, end: u32, lane: u32) {
    let kv = head / (p.heads / p.kv_heads);
    var own_queries: array<vec4<f32>, select(ROWS * COLUMNS, 1u, SHARED_QUERIES)>;
    if (SHARED_QUERIES) {
        for (var i = lane; i < ROWS * COLUMNS; i += LANES) {
            shared_queries[i] = scaled_query(tile, head, i / COLUMNS, i % COLUMNS);
        }
        workgroupBarrier();
    } else {
        for (var g = 0u; g < ROWS; g += 1u) {
            for (var c = 0u; c < COLUMNS; c += 1u) {
                own_queries[g * COLUMNS + c] = scaled_query(tile, head, g, c);
            }
        }
    }

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
        var peak = array<f32, ROWS>();
        for (var g = 0u; g < ROWS; g += 1u) {
            peak[g] = greatest[g];
        }
        for (var first = lane; first < min(CHUNK, (end - start + LANES - 1u) / LANES * LANES); first += TOGETHER * LANES) {
            var key = array<u32, TOGETHER>();
            for (var j = 0u; j < TOGETHER; j += 1u) {
                key[j] = stored_at(tile.begin, min(start + first + j * LANES, end - 1u), kv);
            }
            var scores = array<vec4<f32>, TOGETHER * ROWS>();
            if (SHARED_QUERIES) {
                // The same as COLUMNS, which compilers do not know: they would unroll the whole loop, and load all queries first.
                let columns = min(COLUMNS, COLUMNS * p.heads);
                for (var some = 0u; some < columns; some += STEP) {
                    for (var c = some; c < some + STEP; c += 1u) {
                        for (var j = 0u; j < TOGETHER; j += 1u) {
                            let k = widen(keys[key[j] + c]);
                            for (var g = 0u; g < ROWS; g += 1u) {
                                scores[j * ROWS + g] = fma(shared_queries[g * COLUMNS + c], k, scores[j * ROWS + g]);
                            }
                        }
                    }
                }
            } else {
                for (var c = 0u; c < COLUMNS; c += 1u) {
                    for (var j = 0u; j < TOGETHER; j += 1u) {
                        let k = widen(keys[key[j] + c]);
                        for (var g = 0u; g < ROWS; g += 1u) {
                            scores[j * ROWS + g] = fma(own_queries[g * COLUMNS + c], k, scores[j * ROWS + g]);
                        }
                    }
                }
            }
            for (var j = 0u; j < TOGETHER; j += 1u) {
                let at = first + j * LANES;
                for (var g = 0u; g < ROWS; g += 1u) {
                    let sum = scores[j * ROWS + g];
                    let s = (sum.x + sum.y) + (sum.z + sum.w);
                    let score = select(LOWEST, s, start + at < min(end, tile.past + g / GROUP + 1u));
                    weights[g * CHUNK + at] = score;
                    peak[g] = max(peak[g], score);
                }
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
                let visible = start + at <= tile.past + g / GROUP;
                let weight = select(0.0, exp(weights[g * CHUNK + at] - higher), visible);
                weights[g * CHUNK + at] = weight;
                total[g] += weight;
            }
        }
        workgroupBarrier();
        for (var at = lane / COLUMNS % SLICES; at < min(CHUNK, end - start); at += SLICES) {
            let value = stored_at(tile.begin, start + at, kv);
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
            let target_head = (tile.first_row + g / GROUP) * p.heads + head + g % GROUP;
            if (g / GROUP >= tile.rows) {
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
