// packed_lanes: few rows times packed weights, as in decoding; see lib/packed.wgsl. The lanes of a workgroup split the
// blocks of a row, so that they read a row of weights side by side; every workgroup computes N columns of M rows. Partial
// sums go to workgroup memory and are added in the order of lanes. Needs no subgroups. Overwrites.
// @include "lib/packed.wgsl"
// @include "lib/chained_dot.wgsl"
// @include format = "lib/weights_q4.wgsl"
const M: u32 = 1u;
const N: u32 = 4u; // columns per workgroup; SWIGLU: counts gates and their partners, even
const LANES: u32 = 32u;
const PITCH: u32 = LANES + 1u;

var<workgroup> parts: array<f32, M * N * PITCH>;
// The mean of each row, if it is subtracted, and the inverse of its deviation.
var<workgroup> norms: array<vec2<f32>, M>;

fn lanes_sum(at: u32) -> f32 {
    var sum = 0.0;
    for (var l = 0u; l < LANES; l += 1u) {
        sum += parts[at * PITCH + l];
    }
    return sum;
}

// The sum of `value` over all lanes, the same on every lane.
fn sum_of(value: f32, lane: u32) -> f32 {
    parts[lane] = value;
    workgroupBarrier();
    let sum = lanes_sum(0u);
    workgroupBarrier();
    return sum;
}

fn block_of(base: u32, block: u32) -> Block {
    return unpack(header(base, p.blocks, block & 0xfffffffcu), base, p.blocks, block, block & 3u);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * M;
    let column = group.x * select(N, N / 2u, SWIGLU);
    var bases: array<u32, N>;
    for (var j = 0u; j < N; j += 1u) {
        // SWIGLU: the second half of the columns are the partners of the first. Columns past the end repeat the last.
        var wanted = min(column + j, p.n - 1u);
        if (SWIGLU && j >= N / 2u) {
            wanted = p.n + min(column + j - N / 2u, p.n - 1u);
        }
        bases[j] = wanted * p.row_quads;
    }
    var sums = array<array<f32, N>, M>();
    for (var i = 0u; i < M; i += 1u) {
        if (NORM) {
            let at = min(row + i, p.m - 1u) * (p.k / 4u);
            var mean = 0.0;
            if (CENTER) {
                var sum = vec4<f32>();
                for (var k = lane; k < p.k / 4u; k += LANES) {
                    sum += a[at + k];
                }
                mean = sum_of((sum.x + sum.y) + (sum.z + sum.w), lane) / f32(p.k);
            }
            var squares = vec4<f32>();
            for (var k = lane; k < p.k / 4u; k += LANES) {
                let d = a[at + k] - mean;
                squares = fma(d, d, squares);
            }
            let total = sum_of((squares.x + squares.y) + (squares.z + squares.w), lane);
            norms[i] = vec2<f32>(mean, 1.0 / sqrt(total / f32(p.k) + p.epsilon)); // the same on every lane
        }
    }
    for (var block = lane; block < p.blocks; block += LANES) {
        if (M == 1u) {
            // A row's elements stay in registers, and the columns follow one another.
            var x = array<vec4<f32>, 8>();
            var total = vec4<f32>();
            for (var q = 0u; q < 8u; q += 1u) {
                x[q] = x4(row, block * 8u + q, norms[0].x, norms[0].y);
                total += x[q];
            }
            let all = (total.x + total.y) + (total.z + total.w);
            for (var j = 0u; j < N; j += 1u) {
                let w = block_of(bases[j], block);
                var first = vec4<f32>();
                var second = vec4<f32>();
                for (var q = 0u; q < 4u; q += 1u) {
                    first = fma(x[q], w.levels[q], first);
                    second = fma(x[4u + q], w.levels[4u + q], second);
                }
                sums[0][j] += block_product(w, first, second, all);
            }
        } else {
            // Four elements of every row at a time: their levels and their normalisation serve all rows, and few are in
            // registers.
            var w = array<Block, N>();
            for (var j = 0u; j < N; j += 1u) {
                w[j] = block_of(bases[j], block);
            }
            var totals = array<f32, M>();
            var firsts = array<array<f32, N>, M>();
            var seconds = array<array<f32, N>, M>();
            for (var q = 0u; q < 8u; q += 1u) {
                for (var i = 0u; i < M; i += 1u) {
                    let x = x4(min(row + i, p.m - 1u), block * 8u + q, norms[i].x, norms[i].y);
                    totals[i] += (x.x + x.y) + (x.z + x.w);
                    for (var j = 0u; j < N; j += 1u) {
                        if (HALVES && q >= 4u) {
                            seconds[i][j] = chained_dot(x, w[j].levels[q], seconds[i][j]);
                        } else {
                            firsts[i][j] = chained_dot(x, w[j].levels[q], firsts[i][j]);
                        }
                    }
                }
            }
            for (var i = 0u; i < M; i += 1u) {
                for (var j = 0u; j < N; j += 1u) {
                    sums[i][j] += block_sum(w[j], firsts[i][j], seconds[i][j], totals[i]);
                }
            }
        }
    }
    for (var i = 0u; i < M; i += 1u) {
        for (var j = 0u; j < N; j += 1u) {
            parts[(i * N + j) * PITCH + lane] = sums[i][j];
        }
    }
    workgroupBarrier();
    let stored = select(N, N / 2u, SWIGLU);
    for (var o = lane; o < M * stored; o += LANES) {
        let at = o / stored * N + o % stored;
        store(row + o / stored, column + o % stored, lanes_sum(at), lanes_sum(min(at + N / 2u, M * N - 1u)));
    }
}
