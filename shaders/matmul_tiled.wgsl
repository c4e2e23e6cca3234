// matmul_tiled: a tile of TILE_M x TILE_N results per workgroup; operands pass through workgroup memory TILE_K deep, and
// every invocation keeps M x N results in registers. For GPUs, where a workgroup barrier is cheap.
// Overwrites or accumulates, see lib/matmul.wgsl.
// @include "lib/matmul_scalar.wgsl"
const TILE_M: u32 = 64u;
const TILE_N: u32 = 64u;
const TILE_K: u32 = 16u;
const M: u32 = 4u;
const N: u32 = 4u;
const COLUMNS: u32 = TILE_N / N; // invocations side by side
const ROWS: u32 = TILE_M / M;
const WORKGROUP: u32 = COLUMNS * ROWS;

// Both k-major; one word of padding keeps lanes that write along k in different banks.
const PITCH_A: u32 = TILE_M + 1u;
const PITCH_B: u32 = TILE_N + 1u;
var<workgroup> tile_a: array<f32, PITCH_A * TILE_K>;
var<workgroup> tile_b: array<f32, PITCH_B * TILE_K>;

// Fetches A[row.., k..] into its tile. Neighbouring lanes read neighbouring words; outside the matrix there are zeros.
fn fill_a(z: u32, row: u32, k: u32, local: u32) {
    for (var i = local; i < TILE_M * TILE_K; i += WORKGROUP) {
        let m = select(i / TILE_K, i % TILE_M, TRANS_A);
        let kk = select(i % TILE_K, i / TILE_M, TRANS_A);
        var value = 0.0;
        if (row + m < p.m && k + kk < p.k) {
            value = load_a(z, row + m, k + kk);
        }
        tile_a[kk * PITCH_A + m] = value;
    }
}

// The same for B[k.., column..].
fn fill_b(z: u32, k: u32, column: u32, local: u32) {
    for (var i = local; i < TILE_N * TILE_K; i += WORKGROUP) {
        let n = select(i % TILE_N, i / TILE_K, TRANS_B);
        let kk = select(i / TILE_N, i % TILE_K, TRANS_B);
        var value = 0.0;
        if (k + kk < p.k && column + n < p.n) {
            value = load_b(z, k + kk, column + n);
        }
        tile_b[kk * PITCH_B + n] = value;
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let part = part_of(group.z);
    let row = group.y * TILE_M;
    let column = group.x * TILE_N;
    // An invocation owns rows y + i * ROWS and columns x + j * COLUMNS, so no two lanes read different words of one bank.
    let x = local % COLUMNS;
    let y = local / COLUMNS;
    var sums: array<array<f32, N>, M>;
    for (var i = 0u; i < M; i += 1u) {
        for (var j = 0u; j < N; j += 1u) {
            sums[i][j] = 0.0;
        }
    }
    for (var k = part.begin; k < part.end; k += TILE_K) {
        fill_a(part.z, row, k, local);
        fill_b(part.z, k, column, local);
        workgroupBarrier();
        for (var kk = 0u; kk < TILE_K; kk += 1u) {
            var right = array<f32, N>();
            for (var j = 0u; j < N; j += 1u) {
                right[j] = tile_b[kk * PITCH_B + x + j * COLUMNS];
            }
            for (var i = 0u; i < M; i += 1u) {
                let left = tile_a[kk * PITCH_A + y + i * ROWS];
                for (var j = 0u; j < N; j += 1u) {
                    sums[i][j] = fma(left, right[j], sums[i][j]);
                }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < M; i += 1u) {
        for (var j = 0u; j < N; j += 1u) {
            store(group.z, row + y + i * ROWS, column + x + j * COLUMNS, sums[i][j]);
        }
    }
}
