// matmul_tiled: a tile of TILE_M x TILE_N results per workgroup, M x N per invocation; operands pass through workgroup memory
// TILE_K deep; while a tile is multiplied, the next is loaded from memory into registers. Like matmul_buffered, but for every size:
// memory is loaded and stored by single elements, workgroup memory by vectors. For GPUs.
// Overwrites or accumulates, see lib/matmul.wgsl.
// @include "lib/matmul_scalar.wgsl"
const TILE_M: u32 = 64u; // a multiple of 4 COLUMNS, like TILE_N
const TILE_N: u32 = 64u;
const TILE_K: u32 = 16u;
const M: u32 = 4u; // a multiple of 4, like N
const N: u32 = 4u;
const COLUMNS: u32 = TILE_N / N; // invocations side by side
const ROWS: u32 = TILE_M / M;
const WORKGROUP: u32 = COLUMNS * ROWS;

// For each k a row of TILE_M / 4 vectors of A, then TILE_N / 4 of B, then a vector of padding: lanes that write along k are in
// different banks.
const A4: u32 = TILE_M / 4u;
const B4: u32 = TILE_N / 4u;
const PITCH: u32 = A4 + B4 + 1u;
var<workgroup> tiles: array<vec4<f32>, TILE_K * PITCH>;

// The vectors of the next tiles that a lane fetches: four rows of A, or four columns of B, at one k.
const FETCH_A: u32 = A4 * TILE_K / WORKGROUP;
const FETCH_B: u32 = B4 * TILE_K / WORKGROUP;
var<private> next_a: array<vec4<f32>, FETCH_A>;
var<private> next_b: array<vec4<f32>, FETCH_B>;

// M rows: fours of them, ROWS vectors apart; in each, N columns likewise.
var<private> sums: array<array<vec4<f32>, N / 4u>, M>;

// Where vector number `i` of a tile of `side` vectors lies: its place in the row, and k. Neighbouring lanes fetch neighbouring
// words: along k where that is how the operand is stored.
fn vector_at(i: u32, side: u32, along: bool) -> vec2<u32> {
    return select(vec2<u32>(i % side, i / side), vec2<u32>(i / TILE_K, i % TILE_K), along);
}

// Fetches the tiles at A[row.., k..] and B[k.., column..]. Rows and columns past the end repeat the last, as nothing computed
// from them is stored; from `end` on there are zeros.
fn fetch(z: u32, row: u32, column: u32, k: u32, end: u32, local: u32) {
    for (var i = 0u; i < FETCH_A; i += 1u) {
        let at = vector_at(i * WORKGROUP + local, A4, !TRANS_A);
        let kk = min(k + at.y, p.k - 1u);
        let r = row + at.x * 4u;
        let last = p.m - 1u;
        let x = vec4<f32>(load_a(z, min(r, last), kk), load_a(z, min(r + 1u, last), kk), load_a(z, min(r + 2u, last), kk),
            load_a(z, min(r + 3u, last), kk));
        next_a[i] = select(vec4<f32>(), x, k + at.y < end);
    }
    for (var i = 0u; i < FETCH_B; i += 1u) {
        let at = vector_at(i * WORKGROUP + local, B4, TRANS_B);
        let kk = min(k + at.y, p.k - 1u);
        let c = column + at.x * 4u;
        let last = p.n - 1u;
        let x = vec4<f32>(load_b(z, kk, min(c, last)), load_b(z, kk, min(c + 1u, last)), load_b(z, kk, min(c + 2u, last)),
            load_b(z, kk, min(c + 3u, last)));
        next_b[i] = select(vec4<f32>(), x, k + at.y < end);
    }
}

// Writes what was fetched, k-major.
fn keep(local: u32) {
    for (var i = 0u; i < FETCH_A; i += 1u) {
        let at = vector_at(i * WORKGROUP + local, A4, !TRANS_A);
        tiles[at.y * PITCH + at.x] = next_a[i];
    }
    for (var i = 0u; i < FETCH_B; i += 1u) {
        let at = vector_at(i * WORKGROUP + local, B4, TRANS_B);
        tiles[at.y * PITCH + A4 + at.x] = next_b[i];
    }
}

fn multiply(x: u32, y: u32) {
    for (var kk = 0u; kk < TILE_K; kk += 1u) {
        let at = kk * PITCH;
        var right = array<vec4<f32>, N / 4u>();
        for (var j = 0u; j < N / 4u; j += 1u) {
            right[j] = tiles[at + A4 + x + j * COLUMNS];
        }
        for (var i = 0u; i < M / 4u; i += 1u) {
            let left = tiles[at + y + i * ROWS];
            for (var j = 0u; j < N / 4u; j += 1u) {
                sums[i * 4u][j] = fma(left.xxxx, right[j], sums[i * 4u][j]);
                sums[i * 4u + 1u][j] = fma(left.yyyy, right[j], sums[i * 4u + 1u][j]);
                sums[i * 4u + 2u][j] = fma(left.zzzz, right[j], sums[i * 4u + 2u][j]);
                sums[i * 4u + 3u][j] = fma(left.wwww, right[j], sums[i * 4u + 3u][j]);
            }
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let part = part_of(group.z);
    let row = group.y * TILE_M;
    let column = group.x * TILE_N;
    let x = local % COLUMNS;
    let y = local / COLUMNS;
    for (var i = 0u; i < M; i += 1u) {
        for (var j = 0u; j < N / 4u; j += 1u) {
            sums[i][j] = vec4<f32>();
        }
    }
    fetch(part.z, row, column, part.begin, part.end, local);
    for (var k = part.begin; k < part.end; k += TILE_K) {
        workgroupBarrier();
        keep(local);
        workgroupBarrier();
        // The last fetch is of nothing.
        fetch(part.z, row, column, k + TILE_K, part.end, local);
        multiply(x, y);
    }
    for (var i = 0u; i < M; i += 1u) {
        let r = row + i / 4u * (4u * ROWS) + y * 4u + i % 4u;
        for (var j = 0u; j < N / 4u; j += 1u) {
            let c = column + j * (4u * COLUMNS) + x * 4u;
            store(group.z, r, c, sums[i][j].x);
            store(group.z, r, c + 1u, sums[i][j].y);
            store(group.z, r, c + 2u, sums[i][j].z);
            store(group.z, r, c + 3u, sums[i][j].w);
        }
    }
}
