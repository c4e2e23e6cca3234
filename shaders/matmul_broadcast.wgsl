// matmul_broadcast: a register block of 32 rows by N * 8 columns per subgroup of exactly 8 lanes, four k at a time; no
// workgroup memory. Each lane loads different rows of A, and broadcasts pass every row to all lanes: one load serves eight
// rows. All loads and stores are vec4, along whichever dimension is contiguous, so no operand has to be packed first.
// Needs k, n and (TRANS_A) m to be multiples of 4. Overwrites or accumulates, see lib/matmul.wgsl.
// @include "lib/matmul_vec4.wgsl"
const N: u32 = 8u; // columns per lane, a multiple of 4
const SUBGROUPS: u32 = 1u;

// sums[i][q] are four columns of row i; with TRANS_A, of row i % 8 * 4 + i / 8.
var<private> sums: array<array<vec4<f32>, N / 4u>, 32>;
// left[i] holds four k of row i * 8 + lane, or (TRANS_A) rows lane * 4 + 0..4 at k + i.
var<private> left: array<vec4<f32>, 4>;
// right[q * 4 + i] holds four columns at k + i, or (TRANS_B) four k of column q * 32 + i.
var<private> right: array<vec4<f32>, N>;

// One row of the block, all four k at once: if a sum lives in memory, it is loaded and stored only once for four k.
fn add_row(row: u32, x: vec4<f32>) {
    for (var q = 0u; q < N / 4u; q += 1u) {
        var sum = sums[row][q];
        for (var kk = 0u; kk < 4u; kk += 1u) {
            var r = right[q * 4u + kk];
            if (TRANS_B) {
                let c = q * 4u;
                r = vec4<f32>(right[c][kk], right[c + 1u][kk], right[c + 2u][kk], right[c + 3u][kk]);
            }
            sum = fma(vec4<f32>(x[kk]), r, sum);
        }
        sums[row][q] = sum;
    }
}

// Called with constants, not in a loop: compilers refuse to unroll a loop this long, and arrays with an index that is
// not constant do not stay in registers.
fn add_rows(i: u32) {
    var mine = left[i];
    if (TRANS_A) {
        mine = vec4<f32>(left[0][i], left[1][i], left[2][i], left[3][i]);
    }
    add_row(i * 8u, subgroupBroadcast(mine, 0u));
    add_row(i * 8u + 1u, subgroupBroadcast(mine, 1u));
    add_row(i * 8u + 2u, subgroupBroadcast(mine, 2u));
    add_row(i * 8u + 3u, subgroupBroadcast(mine, 3u));
    add_row(i * 8u + 4u, subgroupBroadcast(mine, 4u));
    add_row(i * 8u + 5u, subgroupBroadcast(mine, 5u));
    add_row(i * 8u + 6u, subgroupBroadcast(mine, 6u));
    add_row(i * 8u + 7u, subgroupBroadcast(mine, 7u));
}

@compute @workgroup_size(SUBGROUPS * 8u)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(local_invocation_index) local: u32,
) {
    let part = part_of(group.z);
    let row = group.y * 32u;
    // A lane owns the columns column + 32 * q + 0..4 for q in 0..N / 4.
    let column = (group.x * SUBGROUPS + local / 8u) * 8u * N + lane * 4u;
    for (var i = 0u; i < 32u; i += 1u) {
        for (var q = 0u; q < N / 4u; q += 1u) {
            sums[i][q] = vec4<f32>();
        }
    }
    // Rows and columns past the end repeat the last ones and are not stored.
    var left_at: array<u32, 4>;
    for (var i = 0u; i < 4u; i += 1u) {
        let at = select(min(row + i * 8u + lane, p.m - 1u) * p.a_row, i * p.a_row + min(row + lane * 4u, p.m - 4u), TRANS_A);
        left_at[i] = (part.z * p.a_batch + at) / 4u;
    }
    var right_at: array<u32, N>;
    for (var j = 0u; j < N; j += 1u) {
        if (TRANS_B) {
            right_at[j] = (part.z * p.b_batch + min(column + j / 4u * 32u + j % 4u, p.n - 1u) * p.b_row) / 4u;
        } else {
            right_at[j] = (part.z * p.b_batch + min(column + j / 4u * 32u, p.n - 4u) + j % 4u * p.b_row) / 4u;
        }
    }
    let left_step = select(1u, p.a_row, TRANS_A);
    let right_step = select(p.b_row, 1u, TRANS_B);

    for (var k = part.begin / 4u; k < part.end / 4u; k += 1u) {
        for (var i = 0u; i < 4u; i += 1u) {
            left[i] = vec4<f32>(a[left_at[i] + k * left_step]);
        }
        for (var j = 0u; j < N; j += 1u) {
            right[j] = vec4<f32>(b[right_at[j] + k * right_step]);
        }
        add_rows(0u);
        add_rows(1u);
        add_rows(2u);
        add_rows(3u);
    }
    for (var i = 0u; i < 32u; i += 1u) {
        let r = row + select(i, i % 8u * 4u + i / 8u, TRANS_A);
        for (var q = 0u; q < N / 4u; q += 1u) {
            store(group.z, r, column + q * 32u, sums[i][q]);
        }
    }
}
