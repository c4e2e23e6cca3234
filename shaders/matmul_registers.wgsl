// matmul_registers: every invocation keeps an M x N block of the result in registers; no workgroup memory, no barrier.
// Lanes run along the columns: workgroup (x, y, z) computes rows y * M.. and columns x * LANES * N.. of batch z.
// Overwrites or accumulates, see lib/matmul.wgsl.
// @include "lib/matmul_scalar.wgsl"
const M: u32 = 8u;
const N: u32 = 8u;
const LANES: u32 = 8u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let part = part_of(group.z);
    let row = group.y * M;
    let column = group.x * LANES * N + lane;
    var sums: array<array<f32, N>, M>;
    for (var i = 0u; i < M; i += 1u) {
        for (var j = 0u; j < N; j += 1u) {
            sums[i][j] = 0.0;
        }
    }
    for (var k = part.begin; k < part.end; k += 1u) {
        var right = array<f32, N>();
        for (var j = 0u; j < N; j += 1u) {
            right[j] = load_b(part.z, k, min(column + j * LANES, p.n - 1u));
        }
        for (var i = 0u; i < M; i += 1u) {
            let left = load_a(part.z, min(row + i, p.m - 1u), k);
            for (var j = 0u; j < N; j += 1u) {
                sums[i][j] = fma(left, right[j], sums[i][j]);
            }
        }
    }
    for (var i = 0u; i < M; i += 1u) {
        for (var j = 0u; j < N; j += 1u) {
            store(group.z, row + i, column + j * LANES, sums[i][j]);
        }
    }
}
