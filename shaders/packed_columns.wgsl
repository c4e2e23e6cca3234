// packed_columns: few rows times packed weights, as in decoding; see lib/packed.wgsl. A subgroup of exactly 8 lanes
// computes 8 N columns for M rows: a lane unpacks blocks of its own columns, and four elements of x per lane reach all of
// them by broadcasts. One load of x serves 8 N columns. Overwrites.
// @include "lib/packed.wgsl"
// @include format = "lib/weights_q4.wgsl"
const M: u32 = 1u;
const N: u32 = 4u; // columns per lane; SWIGLU: gates and their partners together, even

// The 32 elements of a block against those of x; called with constants, because lanes of a broadcast must be.
fn dot8(x: vec4<f32>, w: array<vec4<f32>, 8>) -> f32 {
    var sum = vec4<f32>();
    sum = fma(subgroupBroadcast(x, 0u), w[0], sum);
    sum = fma(subgroupBroadcast(x, 1u), w[1], sum);
    sum = fma(subgroupBroadcast(x, 2u), w[2], sum);
    sum = fma(subgroupBroadcast(x, 3u), w[3], sum);
    sum = fma(subgroupBroadcast(x, 4u), w[4], sum);
    sum = fma(subgroupBroadcast(x, 5u), w[5], sum);
    sum = fma(subgroupBroadcast(x, 6u), w[6], sum);
    sum = fma(subgroupBroadcast(x, 7u), w[7], sum);
    return (sum.x + sum.y) + (sum.z + sum.w);
}

var<private> sums: array<array<f32, N>, M>;
var<private> headers: array<Header, N>;
var<private> bases: array<u32, N>;
var<private> means: array<f32, M>;
var<private> rstds: array<f32, M>;

fn add_block(row: u32, lane: u32, group: u32, part: u32) {
    var x: array<vec4<f32>, M>;
    for (var i = 0u; i < M; i += 1u) {
        x[i] = x4(min(row + i, p.m - 1u), group * 8u + lane, means[i], rstds[i]);
    }
    for (var j = 0u; j < N; j += 1u) {
        let w = unpack(headers[j], bases[j], p.blocks, group, part);
        for (var i = 0u; i < M; i += 1u) {
            sums[i][j] += dot8(x[i], w);
        }
    }
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let row = group.y * M;
    let width = select(8u * N, 4u * N, SWIGLU);
    let column = group.x * width + lane;
    for (var j = 0u; j < N; j += 1u) {
        // SWIGLU: the second half of a lane's columns are the partners of the first. Columns past the end repeat the last.
        var wanted = min(column + 8u * j, p.n - 1u);
        if (SWIGLU && j >= N / 2u) {
            wanted = p.n + min(column + 8u * (j - N / 2u), p.n - 1u);
        }
        bases[j] = wanted * p.row_quads;
    }
    for (var i = 0u; i < M; i += 1u) {
        for (var j = 0u; j < N; j += 1u) {
            sums[i][j] = 0.0;
        }
        means[i] = 0.0;
        rstds[i] = 1.0;
        if (NORM) {
            let at = min(row + i, p.m - 1u) * (p.k / 4u);
            var sum = vec4<f32>();
            if (CENTER) {
                for (var k = lane; k < p.k / 4u; k += 8u) {
                    sum += a[at + k];
                }
                means[i] = subgroupAdd((sum.x + sum.y) + (sum.z + sum.w)) / f32(p.k);
            }
            var squares = vec4<f32>();
            for (var k = lane; k < p.k / 4u; k += 8u) {
                let d = a[at + k] - means[i];
                squares = fma(d, d, squares);
            }
            let total = subgroupAdd((squares.x + squares.y) + (squares.z + squares.w));
            rstds[i] = 1.0 / sqrt(total / f32(p.k) + p.epsilon);
        }
    }
    var block = 0u;
    for (; block + 4u <= p.blocks; block += 4u) {
        for (var j = 0u; j < N; j += 1u) {
            headers[j] = header(bases[j], p.blocks, block);
        }
        add_block(row, lane, block, 0u);
        add_block(row, lane, block + 1u, 1u);
        add_block(row, lane, block + 2u, 2u);
        add_block(row, lane, block + 3u, 3u);
    }
    for (; block < p.blocks; block += 1u) {
        for (var j = 0u; j < N; j += 1u) {
            headers[j] = header(bases[j], p.blocks, block & 0xfffffffcu);
        }
        add_block(row, lane, block, block & 3u);
    }
    for (var i = 0u; i < M; i += 1u) {
        for (var j = 0u; j < N; j += 1u) {
            if (SWIGLU && j >= N / 2u) {
                continue;
            }
            store(row + i, column + 8u * j, sums[i][j], sums[i][min(j + N / 2u, N - 1u)]);
        }
    }
}
