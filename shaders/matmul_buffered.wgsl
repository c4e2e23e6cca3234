// matmul_buffered: a tile of TILE_M x TILE_N results per workgroup, 8 x 8 per invocation; operands pass through workgroup
// memory TILE_K deep in two buffers: while one is multiplied, the next tile is loaded from memory into registers, so a
// step has one barrier and no wait. All loads and stores are vec4. For GPUs.
// Needs k, n and (TRANS_A) m to be multiples of 4, and 8 TILE_K (TILE_M + TILE_N) bytes of workgroup memory.
// Overwrites or accumulates, see lib/matmul.wgsl.
// @include "lib/matmul_vec4.wgsl"
const TILE_M: u32 = 128u; // a multiple of 64, like TILE_N
const TILE_N: u32 = 128u;
const TILE_K: u32 = 8u;
const COLUMNS: u32 = TILE_N / 8u; // invocations side by side
const WORKGROUP: u32 = COLUMNS * TILE_M / 8u;

// For each k a row of TILE_M / 4 vectors of A, then TILE_N / 4 of B. Lanes access neighbouring vectors: no padding needed.
const A4: u32 = TILE_M / 4u;
const B4: u32 = TILE_N / 4u;
const PITCH: u32 = A4 + B4;
var<workgroup> tiles: array<vec4<f32>, 2u * TILE_K * PITCH>;

// A lane fetches blocks of 4 k by 4 rows of A or columns of B: four vectors along whichever dimension is contiguous.
const BLOCKS: u32 = TILE_K / 4u * PITCH;
const FETCHES: u32 = (BLOCKS + WORKGROUP - 1u) / WORKGROUP;
var<private> fetched: array<vec4<f32>, 4u * FETCHES>;

// Four rows of the tile's upper half, then four of its lower; in each, four columns of its left and four of its right half.
var<private> sums: array<array<vec4<f32>, 2>, 8>;

// Where block number `block` lies: four k, and one vector in the row of PITCH. Eight neighbouring lanes write eight
// neighbouring vectors, and 32 lanes fetch whole segments of memory, whether transposed or not.
struct Block { k: u32, vector: u32 }

fn block_at(block: u32) -> Block {
    let deep = TILE_K / 4u;
    return Block(block / 8u % deep * 4u, block / (8u * deep) * 8u + block % 8u);
}

// The block's four vectors of A at row `row`.. and k, in registers; zeros outside.
fn fetch_a(slot: u32, z: u32, row: u32, k: u32, end: u32) {
    for (var i = 0u; i < 4u; i += 1u) {
        let r = select(row + i, row, TRANS_A);
        let kk = select(k, k + i, TRANS_A);
        var value = vec4<f32>();
        if (r < p.m && kk < end) {
            value = vec4<f32>(a[(z * p.a_batch + select(r * p.a_row + kk, kk * p.a_row + r, TRANS_A)) / 4u]);
        }
        fetched[slot * 4u + i] = value;
    }
}

// The same for B at column `column`.. and k.
fn fetch_b(slot: u32, z: u32, column: u32, k: u32, end: u32) {
    for (var i = 0u; i < 4u; i += 1u) {
        let c = select(column, column + i, TRANS_B);
        let kk = select(k + i, k, TRANS_B);
        var value = vec4<f32>();
        if (c < p.n && kk < end) {
            value = vec4<f32>(b[(z * p.b_batch + select(kk * p.b_row + c, c * p.b_row + kk, TRANS_B)) / 4u]);
        }
        fetched[slot * 4u + i] = value;
    }
}

// Fetches this lane's blocks of the tiles that begin at k.
fn fetch(z: u32, row: u32, column: u32, k: u32, end: u32, local: u32) {
    for (var slot = 0u; slot < FETCHES; slot += 1u) {
        let block = slot * WORKGROUP + local;
        let at = block_at(block);
        if (block < BLOCKS) {
            if (at.vector < A4) {
                fetch_a(slot, z, row + at.vector * 4u, k + at.k, end);
            } else {
                fetch_b(slot, z, column + (at.vector - A4) * 4u, k + at.k, end);
            }
        }
    }
}

// Writes them to a buffer, k-major; what was fetched along k is transposed.
fn keep(buffer: u32, local: u32) {
    for (var slot = 0u; slot < FETCHES; slot += 1u) {
        let block = slot * WORKGROUP + local;
        let at = block_at(block);
        if (block < BLOCKS) {
            var turned = mat4x4<f32>(
                fetched[slot * 4u], fetched[slot * 4u + 1u], fetched[slot * 4u + 2u], fetched[slot * 4u + 3u]);
            if (select(TRANS_B, !TRANS_A, at.vector < A4)) {
                turned = transpose(turned);
            }
            let to = (buffer * TILE_K + at.k) * PITCH + at.vector;
            tiles[to] = turned[0];
            tiles[to + PITCH] = turned[1];
            tiles[to + 2u * PITCH] = turned[2];
            tiles[to + 3u * PITCH] = turned[3];
        }
    }
}

// Called with constants, because arrays with an index that is not constant do not stay in registers.
fn add_row(i: u32, left: f32, right0: vec4<f32>, right1: vec4<f32>) {
    sums[i][0] = fma(vec4<f32>(left), right0, sums[i][0]);
    sums[i][1] = fma(vec4<f32>(left), right1, sums[i][1]);
}

fn multiply(buffer: u32, x: u32, y: u32) {
    for (var kk = 0u; kk < TILE_K; kk += 1u) {
        let at = (buffer * TILE_K + kk) * PITCH;
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
    fetch(part.z, row, column, part.begin, part.end, local);
    keep(0u, local);
    workgroupBarrier();
    var buffer = 0u;
    for (var k = part.begin; k < part.end; k += TILE_K) {
        let more = k + TILE_K < part.end;
        if (more) {
            fetch(part.z, row, column, k + TILE_K, part.end, local);
        }
        multiply(buffer, x, y);
        buffer = 1u - buffer;
        if (more) {
            keep(buffer, local);
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 8u; i += 1u) {
        let r = row + i / 4u * (TILE_M / 2u) + y * 4u + i % 4u;
        store(group.z, r, column + x * 4u, sums[i][0]);
        store(group.z, r, column + TILE_N / 2u + x * 4u, sums[i][1]);
    }
}
