// matmul_buffered: a tile of TILE_M x TILE_N results per workgroup, 8 x 8 per invocation; operands pass through workgroup
// memory TILE_K deep; while a tile is multiplied, the next is loaded from memory into registers. All loads and stores are
// vec4. For GPUs.
// Needs k, n and (TRANS_A) m to be multiples of 4, and 4 TILE_K (TILE_M + TILE_N) bytes of workgroup memory.
// Overwrites or accumulates, see lib/matmul.wgsl.
// @include "lib/matmul_vec4.wgsl"
const TILE_M: u32 = 128u; // a multiple of 64, like TILE_N
const TILE_N: u32 = 128u;
const TILE_K: u32 = 16u; // a multiple of UNROLL
const UNROLL: u32 = 1u; // steps of k at a time
const COLUMNS: u32 = TILE_N / 8u; // invocations side by side
const WORKGROUP: u32 = COLUMNS * TILE_M / 8u;

// For each k a row of TILE_M / 4 vectors of A, then TILE_N / 4 of B. Lanes access neighbouring vectors: no padding needed.
const A4: u32 = TILE_M / 4u;
const B4: u32 = TILE_N / 4u;
const PITCH: u32 = A4 + B4;
var<workgroup> tiles: array<vec4<f32>, TILE_K * PITCH>;

// A lane fetches blocks of 4 k by 4 rows of A or columns of B: four vectors along whichever dimension is contiguous.
const DEEP: u32 = TILE_K / 4u;
const FETCHES: u32 = DEEP * PITCH / WORKGROUP;
var<private> fetched: array<vec4<f32>, 4u * FETCHES>;
// Where each block's first vector lies in memory, and how many of the three after it are inside.
var<private> begins: array<u32, FETCHES>;
var<private> others: array<u32, FETCHES>;

// Four rows of the tile's upper half, then four of its lower; in each, four columns of its left and four of its right half.
var<private> sums: array<array<vec4<f32>, 2>, 8>;

// Where block number `block` lies: four k, and one vector in the row of PITCH. Eight neighbouring lanes write eight
// neighbouring vectors, and 32 lanes fetch whole segments of memory, whether transposed or not.
struct Block { k: u32, vector: u32 }

fn block_at(block: u32) -> Block {
    return Block(block / 8u % DEEP * 4u, block / (8u * DEEP) * 8u + block % 8u);
}

// Finds this lane's blocks. Rows and columns past the end repeat the last: their sums are not stored.
fn locate(z: u32, row: u32, column: u32, local: u32) {
    for (var slot = 0u; slot < FETCHES; slot += 1u) {
        let at = block_at(slot * WORKGROUP + local);
        if (at.vector < A4) {
            let r = min(row + at.vector * 4u, p.m - select(1u, 4u, TRANS_A));
            begins[slot] = (z * p.a_batch + select(r * p.a_row + at.k, at.k * p.a_row + r, TRANS_A)) / 4u;
            others[slot] = select(p.m - 1u - r, 3u, TRANS_A);
        } else {
            let c = min(column + (at.vector - A4) * 4u, p.n - select(4u, 1u, TRANS_B));
            begins[slot] = (z * p.b_batch + select(at.k * p.b_row + c, c * p.b_row + at.k, TRANS_B)) / 4u;
            others[slot] = select(3u, p.n - 1u - c, TRANS_B);
        }
    }
}

// Fetches this lane's blocks of the tiles that begin at k; zeros from `end` on.
fn fetch(k: u32, end: u32, local: u32) {
    for (var slot = 0u; slot < FETCHES; slot += 1u) {
        let at = block_at(slot * WORKGROUP + local);
        let of_a = at.vector < A4;
        let row = select(p.b_row, p.a_row, of_a) / 4u;
        let along = select(TRANS_B, !TRANS_A, of_a); // k is the contiguous dimension
        let begin = begins[slot] + select(k * row, k / 4u, along);
        let left = end - min(k + at.k, end); // how much of k
        let rows = select(min(left, 4u), select(0u, 4u, left > 0u), along);
        let at0 = select(0u, begin, rows > 0u);
        let at1 = select(0u, begin + min(1u, others[slot]) * row, rows > 1u);
        let at2 = select(0u, begin + min(2u, others[slot]) * row, rows > 2u);
        let at3 = select(0u, begin + min(3u, others[slot]) * row, rows > 3u);
        let f = slot * 4u;
        if (of_a) {
            fetched[f] = vec4<f32>(a[at0]);
            fetched[f + 1u] = vec4<f32>(a[at1]);
            fetched[f + 2u] = vec4<f32>(a[at2]);
            fetched[f + 3u] = vec4<f32>(a[at3]);
        } else {
            fetched[f] = vec4<f32>(b[at0]);
            fetched[f + 1u] = vec4<f32>(b[at1]);
            fetched[f + 2u] = vec4<f32>(b[at2]);
            fetched[f + 3u] = vec4<f32>(b[at3]);
        }
        for (var i = 0u; i < 4u; i += 1u) {
            fetched[f + i] = select(vec4<f32>(), fetched[f + i], rows > i);
        }
    }
}

// Writes a fetched block to four consecutive k; what was fetched along k is transposed.
fn put(slot: u32, to: u32, turn: bool) {
    let x = slot * 4u;
    var turned = mat4x4<f32>(fetched[x], fetched[x + 1u], fetched[x + 2u], fetched[x + 3u]);
    if (turn) {
        turned = transpose(turned);
    }
    tiles[to] = turned[0];
    tiles[to + PITCH] = turned[1];
    tiles[to + 2u * PITCH] = turned[2];
    tiles[to + 3u * PITCH] = turned[3];
}

// Writes what was fetched, k-major.
fn keep(local: u32) {
    for (var slot = 0u; slot < FETCHES; slot += 1u) {
        let at = block_at(slot * WORKGROUP + local);
        let to = at.k * PITCH + at.vector;
        if (TRANS_A == TRANS_B) {
            if (at.vector < A4) {
                put(slot, to, !TRANS_A);
            } else {
                put(slot, to, TRANS_B);
            }
        } else {
            put(slot, to, TRANS_B);
        }
    }
}

// Called with constants, because arrays with an index that is not constant do not stay in registers.
fn add_row(i: u32, left: f32, right0: vec4<f32>, right1: vec4<f32>) {
    sums[i][0] = fma(vec4<f32>(left), right0, sums[i][0]);
    sums[i][1] = fma(vec4<f32>(left), right1, sums[i][1]);
}

fn multiply(x: u32, y: u32) {
    // Two loops, because compilers unroll the inner one only if it is short.
    for (var row = 0u; row < TILE_K * PITCH; row += UNROLL * PITCH) {
        for (var kk = 0u; kk < UNROLL; kk += 1u) {
            let at = row + kk * PITCH;
            let upper = tiles[at + y];
            let lower = tiles[at + A4 / 2u + y];
            let right0 = tiles[at + A4 + x];
            let right1 = tiles[at + A4 + B4 / 2u + x];
            add_row(0u, upper.x, right0, right1);
            add_row(1u, upper.y, right0, right1);
            add_row(2u, upper.z, right0, right1);
            add_row(3u, upper.w, right0, right1);
            add_row(4u, lower.x, right0, right1);
            add_row(5u, lower.y, right0, right1);
            add_row(6u, lower.z, right0, right1);
            add_row(7u, lower.w, right0, right1);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let part = part_of(group.z);
    let row = group.y * TILE_M;
    let column = group.x * TILE_N;
    // 32 lanes are arranged 8 by 4, so that together they read few vectors.
    let x = local / 32u % (COLUMNS / 8u) * 8u + local % 8u;
    let y = local / 32u / (COLUMNS / 8u) * 4u + local / 8u % 4u;
    for (var i = 0u; i < 8u; i += 1u) {
        sums[i][0] = vec4<f32>();
        sums[i][1] = vec4<f32>();
    }
    locate(part.z, row, column, local);
    fetch(part.begin, part.end, local);
    for (var k = part.begin; k < part.end; k += TILE_K) {
        workgroupBarrier();
        keep(local);
        workgroupBarrier();
        // The last fetch is of nothing.
        fetch(k + TILE_K, part.end, local);
        multiply(x, y);
    }
    for (var i = 0u; i < 8u; i += 1u) {
        let r = row + i / 4u * (TILE_M / 2u) + y * 4u + i % 4u;
        store(group.z, r, column + x * 4u, sums[i][0]);
        store(group.z, r, column + TILE_N / 2u + x * 4u, sums[i][1]);
    }
}
