// matmul_vector: few rows (m <= M), as in decoding: out[m, n] = sum_k A[m, k] * B[n, k] with B stored [n, k] (TRANS_B).
// The lanes of a workgroup split k by fours, so that they read a row of B side by side and once for all rows of A; every
// workgroup computes N columns. The partial sums go to workgroup memory and are added in the order of lanes.
// Needs k to be a multiple of 4. Overwrites or accumulates, see lib/matmul.wgsl.
// @include "lib/matmul_store.wgsl"
// @include "lib/chained_dot.wgsl"
const M: u32 = 1u;
const N: u32 = 8u;
const LANES: u32 = 32u;
const PITCH: u32 = LANES + 1u;

var<workgroup> parts: array<f32, M * N * PITCH>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column = group.x * N;
    var sums = array<array<f32, N>, M>();
    // Rows and columns past the end repeat the last ones and are not stored.
    var left_at: array<u32, M>;
    for (var i = 0u; i < M; i += 1u) {
        left_at[i] = (group.z * p.a_batch + min(i, p.m - 1u) * p.a_row) / 4u;
    }
    var right_at: array<u32, N>;
    for (var j = 0u; j < N; j += 1u) {
        right_at[j] = (group.z * p.b_batch + min(column + j, p.n - 1u) * p.b_row) / 4u;
    }
    for (var k = lane; k < p.k / 4u; k += LANES) {
        var left = array<vec4<f32>, M>();
        for (var i = 0u; i < M; i += 1u) {
            left[i] = vec4<f32>(a[left_at[i] + k]);
        }
        for (var j = 0u; j < N; j += 1u) {
            let right = vec4<f32>(b[right_at[j] + k]);
            for (var i = 0u; i < M; i += 1u) {
                sums[i][j] = chained_dot(left[i], right, sums[i][j]);
            }
        }
    }
    for (var i = 0u; i < M; i += 1u) {
        for (var j = 0u; j < N; j += 1u) {
            parts[(i * N + j) * PITCH + lane] = sums[i][j];
        }
    }
    workgroupBarrier();
    for (var o = lane; o < M * N; o += LANES) {
        var sum = 0.0;
        for (var l = 0u; l < LANES; l += 1u) {
            sum += parts[o * PITCH + l];
        }
        store(group.z, o / N, column + o % N, sum);
    }
}
