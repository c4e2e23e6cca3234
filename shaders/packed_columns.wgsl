// packed_columns: few rows times packed weights, as in decoding; see lib/packed.wgsl. A subgroup of exactly 8 lanes
// computes 8 N columns for M rows: a lane unpacks blocks of its own columns, and broadcasts pass four elements of x per lane
// to all lanes. One load of x serves 8 N columns. Overwrites.
// @include "lib/packed.wgsl"
// @include format = "lib/weights_q4.wgsl"
const M: u32 = 1u; // at most 8
const N: u32 = 4u; // columns per lane, 2 or 4; SWIGLU: counts gates and their partners, even

// The product of a block and the 32 inputs that the lanes hold; `total` is their sum. Lanes of a broadcast must be constants.
fn product(x: vec4<f32>, total: f32, block: Block) -> f32 {
    var first = subgroupBroadcast(x, 0u) * block.levels[0];
    first = fma(subgroupBroadcast(x, 1u), block.levels[1], first);
    first = fma(subgroupBroadcast(x, 2u), block.levels[2], first);
    first = fma(subgroupBroadcast(x, 3u), block.levels[3], first);
    var second = subgroupBroadcast(x, 4u) * block.levels[4];
    second = fma(subgroupBroadcast(x, 5u), block.levels[5], second);
    second = fma(subgroupBroadcast(x, 6u), block.levels[6], second);
    second = fma(subgroupBroadcast(x, 7u), block.levels[7], second);
    return block_product(block, first, second, total);
}

var<private> sums: array<array<f32, N>, M>;
var<private> headers: array<Header, N>;
var<private> bases: array<u32, N>;
var<private> means: array<f32, M>;
var<private> rstds: array<f32, M>;
var<private> x: array<vec4<f32>, M>;
var<private> totals: array<f32, M>;

fn add_column(j: u32, group: u32, part: u32) {
    let w = unpack(headers[j], bases[j], p.blocks, group, part);
    // Two loops, because compilers do not unroll very long ones, and then the sums do not stay in registers.
    for (var i = 0u; i < min(M, 4u); i += 1u) {
        sums[i][j] += product(x[i], totals[i], w);
    }
    for (var i = 4u; i < M; i += 1u) {
        sums[i][j] += product(x[i], totals[i], w);
    }
}

fn add_block(row: u32, lane: u32, group: u32, part: u32) {
    for (var i = 0u; i < M; i += 1u) {
        x[i] = x4(min(row + i, p.m - 1u), group * 8u + lane, means[i], rstds[i]);
        if (OFFSET) {
            totals[i] = subgroupAdd((x[i].x + x[i].y) + (x[i].z + x[i].w));
        }
    }
    // No loop, for the same reason.
    add_column(0u, group, part);
    add_column(1u, group, part);
    if (N > 2u) {
        add_column(min(2u, N - 1u), group, part);
        add_column(min(3u, N - 1u), group, part);
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
    // With many rows, the data shared by four blocks is little of the work, and four times the code takes long to compile.
    for (; M <= 4u && block + 4u <= p.blocks; block += 4u) {
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
