// matmul_broadcast: a register block of 32 rows by N * 8 columns per subgroup of exactly 8 lanes, four k at a time; no
// workgroup memory. Each lane loads other rows of A, and broadcasts give every row to all lanes: one load serves eight
// rows. All loads and stores are vec4, along whichever dimension is contiguous, so no operand is packed first.
// Needs k, n and (TRANS_A) m to be multiples of 4. Overwrites or accumulates, see lib/matmul.wgsl.
// @include "lib/matmul_vec4.wgsl"
const N: u32 = 8u; // columns per lane, a multiple of 4
const SUBGROUPS: u32 = 1u;

@compute @workgroup_size(SUBGROUPS * 8u)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(local_invocation_index) local: u32,
) {
    let row = group.y * 32u;
    // A lane owns the columns column + 32 * q + 0..4 for q in 0..N / 4.
    let column = (group.x * SUBGROUPS + local / 8u) * 8u * N + lane * 4u;
    var sums: array<array<vec4<f32>, N / 4u>, 32>;
    for (var i = 0u; i < 32u; i += 1u) {
        for (var q = 0u; q < N / 4u; q += 1u) {
            sums[i][q] = vec4<f32>();
        }
    }
    // Rows and columns past the end repeat the last ones and are not stored.
    var left_at: array<u32, 4>;
    for (var i = 0u; i < 4u; i += 1u) {
        let at = select(min(row + i * 8u + lane, p.m - 1u) * p.a_row, i * p.a_row + min(row + lane * 4u, p.m - 4u), TRANS_A);
        left_at[i] = (group.z * p.a_batch + at) / 4u;
    }
    var right_at: array<u32, N>;
    for (var j = 0u; j < N; j += 1u) {
        if (TRANS_B) {
            right_at[j] = (group.z * p.b_batch + min(column + j / 4u * 32u + j % 4u, p.n - 1u) * p.b_row) / 4u;
        } else {
            right_at[j] = (group.z * p.b_batch + min(column + j / 4u * 32u, p.n - 4u) + j % 4u * p.b_row) / 4u;
        }
    }
    let left_step = select(1u, p.a_row, TRANS_A);
    let right_step = select(p.b_row, 1u, TRANS_B);

    for (var k = 0u; k < p.k / 4u; k += 1u) {
        // left[i] holds four k of row i * 8 + lane, or (TRANS_A) rows lane * 4 + 0..4 at k * 4 + i.
        var left: array<vec4<f32>, 4>;
        for (var i = 0u; i < 4u; i += 1u) {
            left[i] = a[left_at[i] + k * left_step];
        }
        // right[q * 4 + i] holds four columns at k * 4 + i, or (TRANS_B) four k of column q * 32 + i.
        var right: array<vec4<f32>, N>;
        for (var j = 0u; j < N; j += 1u) {
            right[j] = b[right_at[j] + k * right_step];
        }
        for (var kk = 0u; kk < 4u; kk += 1u) {
            for (var i = 0u; i < 4u; i += 1u) {
                var mine = left[i][kk];
                if (TRANS_A) {
                    mine = left[kk][i];
                }
                let l0 = subgroupBroadcast(mine, 0u);
                let l1 = subgroupBroadcast(mine, 1u);
                let l2 = subgroupBroadcast(mine, 2u);
                let l3 = subgroupBroadcast(mine, 3u);
                let l4 = subgroupBroadcast(mine, 4u);
                let l5 = subgroupBroadcast(mine, 5u);
                let l6 = subgroupBroadcast(mine, 6u);
                let l7 = subgroupBroadcast(mine, 7u);
                for (var q = 0u; q < N / 4u; q += 1u) {
                    var r = right[q * 4u + kk];
                    if (TRANS_B) {
                        let c = q * 4u;
                        r = vec4<f32>(right[c][kk], right[c + 1u][kk], right[c + 2u][kk], right[c + 3u][kk]);
                    }
                    sums[i * 8u][q] = fma(vec4(l0), r, sums[i * 8u][q]);
                    sums[i * 8u + 1u][q] = fma(vec4(l1), r, sums[i * 8u + 1u][q]);
                    sums[i * 8u + 2u][q] = fma(vec4(l2), r, sums[i * 8u + 2u][q]);
                    sums[i * 8u + 3u][q] = fma(vec4(l3), r, sums[i * 8u + 3u][q]);
                    sums[i * 8u + 4u][q] = fma(vec4(l4), r, sums[i * 8u + 4u][q]);
                    sums[i * 8u + 5u][q] = fma(vec4(l5), r, sums[i * 8u + 5u][q]);
                    sums[i * 8u + 6u][q] = fma(vec4(l6), r, sums[i * 8u + 6u][q]);
                    sums[i * 8u + 7u][q] = fma(vec4(l7), r, sums[i * 8u + 7u][q]);
                }
            }
        }
    }
    for (var i = 0u; i < 32u; i += 1u) {
        let r = row + select(i, i % 8u * 4u + i / 8u, TRANS_A);
        for (var q = 0u; q < N / 4u; q += 1u) {
            store4(group.z, r, column + q * 32u, sums[i][q]);
        }
    }
}
