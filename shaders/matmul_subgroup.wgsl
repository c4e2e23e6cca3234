// matmul_subgroup: a register block of M rows by N * 8 columns per subgroup of exactly 8 lanes, no workgroup memory.
// Lanes run along the columns. Each lane loads different rows of A; a broadcast then passes every row to all lanes, so one
// load serves eight rows. This pays off where a load costs each lane separately (software adapters).
// Overwrites or accumulates, see lib/matmul.wgsl.
// @include "lib/matmul_scalar.wgsl"
const M: u32 = 16u; // a multiple of 8
const N: u32 = 4u;
const SUBGROUPS: u32 = 1u;

@compute @workgroup_size(SUBGROUPS * 8u)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(local_invocation_index) local: u32,
) {
    let part = part_of(group.z);
    let row = group.y * M;
    let column = (group.x * SUBGROUPS + local / 8u) * 8u * N + lane;
    var sums: array<array<f32, N>, M>;
    for (var i = 0u; i < M; i += 1u) {
        for (var j = 0u; j < N; j += 1u) {
            sums[i][j] = 0.0;
        }
    }
    // Where each lane's loads start and the stride to the next k; rows and columns past the end repeat the last one.
    var left_at: array<u32, M / 8u>;
    for (var i = 0u; i < M / 8u; i += 1u) {
        let r = min(row + i * 8u + lane, p.m - 1u);
        left_at[i] = part.z * p.a_batch + select(r * p.a_row, r, TRANS_A);
    }
    var right_at: array<u32, N>;
    for (var j = 0u; j < N; j += 1u) {
        let c = min(column + j * 8u, p.n - 1u);
        right_at[j] = part.z * p.b_batch + select(c, c * p.b_row, TRANS_B);
    }
    let left_step = select(1u, p.a_row, TRANS_A);
    let right_step = select(p.b_row, 1u, TRANS_B);
    for (var k = part.begin; k < part.end; k += 1u) {
        var right = array<f32, N>();
        for (var j = 0u; j < N; j += 1u) {
            right[j] = f32(b[right_at[j] + k * right_step]);
        }
        for (var i = 0u; i < M / 8u; i += 1u) {
            let left = f32(a[left_at[i] + k * left_step]);
            let l0 = subgroupBroadcast(left, 0u);
            let l1 = subgroupBroadcast(left, 1u);
            let l2 = subgroupBroadcast(left, 2u);
            let l3 = subgroupBroadcast(left, 3u);
            let l4 = subgroupBroadcast(left, 4u);
            let l5 = subgroupBroadcast(left, 5u);
            let l6 = subgroupBroadcast(left, 6u);
            let l7 = subgroupBroadcast(left, 7u);
            for (var j = 0u; j < N; j += 1u) {
                let r = right[j];
                sums[i * 8u][j] = fma(l0, r, sums[i * 8u][j]);
                sums[i * 8u + 1u][j] = fma(l1, r, sums[i * 8u + 1u][j]);
                sums[i * 8u + 2u][j] = fma(l2, r, sums[i * 8u + 2u][j]);
                sums[i * 8u + 3u][j] = fma(l3, r, sums[i * 8u + 3u][j]);
                sums[i * 8u + 4u][j] = fma(l4, r, sums[i * 8u + 4u][j]);
                sums[i * 8u + 5u][j] = fma(l5, r, sums[i * 8u + 5u][j]);
                sums[i * 8u + 6u][j] = fma(l6, r, sums[i * 8u + 6u][j]);
                sums[i * 8u + 7u][j] = fma(l7, r, sums[i * 8u + 7u][j]);
            }
        }
    }
    for (var i = 0u; i < M; i += 1u) {
        for (var j = 0u; j < N; j += 1u) {
            store(group.z, row + i, column + j * 8u, sums[i][j]);
        }
    }
}
