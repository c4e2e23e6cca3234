// matmul_cooperative: products of SIZE x SIZE matrices by a subgroup's matrix unit, operands in f16, sums in f32. Each
// subgroup (of exactly 32 lanes; ACROSS subgroups side by side, DOWN below each other) computes 2 by 4 such blocks; operands
// pass through workgroup memory TILE_K deep, laid out as in memory, while the next tile is loaded into registers. An f32
// operand is rounded to f16. Needs k, n and (TRANS_A) m to be multiples of 4. Overwrites or accumulates, see lib/matmul.wgsl.
enable wgpu_cooperative_matrix;
diagnostic(off, derivative_uniformity); // naga assumes that a function's arguments differ between lanes
// @include "lib/matmul_vec4.wgsl"
const SIZE: u32 = 16u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;

const DOWN: u32 = 2u;
const ACROSS: u32 = 2u;
const WORKGROUP: u32 = 32u * DOWN * ACROSS;
const TILE_M: u32 = DOWN * 2u * SIZE;
const TILE_N: u32 = ACROSS * 4u * SIZE;
const TILE_K: u32 = 32u;

// Rows of A's tile are rows of A as stored; likewise for B. Eight more elements per row spread the rows of a block over the
// banks.
const ROW_A: u32 = select(TILE_K, TILE_M, TRANS_A);
const ROW_B: u32 = select(TILE_N, TILE_K, TRANS_B);
const PITCH_A: u32 = ROW_A + 8u;
const PITCH_B: u32 = ROW_B + 8u;
// Scalars, because matrices cannot be loaded from vectors.
var<workgroup> tile_a: array<f16, PITCH_A * select(TILE_M, TILE_K, TRANS_A)>;
var<workgroup> tile_b: array<f16, PITCH_B * select(TILE_K, TILE_N, TRANS_B)>;
// One block for each subgroup: the elements of matrices cannot be accessed, so sums reach the epilogue through memory.
var<workgroup> blocks: array<f32, DOWN * ACROSS * SIZE * SIZE>;

// The vectors of the next tiles that a lane has fetched.
const FETCH_A: u32 = TILE_M * TILE_K / 4u / WORKGROUP;
const FETCH_B: u32 = TILE_N * TILE_K / 4u / WORKGROUP;
var<private> next_a: array<vec4<f16>, FETCH_A>;
var<private> next_b: array<vec4<f16>, FETCH_B>;

// Fetches the tiles of A[row.., k..] and B[k.., column..]; zeros outside.
fn fetch(z: u32, row: u32, column: u32, k: u32, end: u32, local: u32) {
    for (var i = 0u; i < FETCH_A; i += 1u) {
        let v = (i * WORKGROUP + local) * 4u;
        let r = row + select(v / ROW_A, v % ROW_A, TRANS_A);
        let kk = k + select(v % ROW_A, v / ROW_A, TRANS_A);
        next_a[i] = vec4<f16>();
        if (r < p.m && kk < end) {
            next_a[i] = vec4<f16>(a[(z * p.a_batch + select(r * p.a_row + kk, kk * p.a_row + r, TRANS_A)) / 4u]);
        }
    }
    for (var i = 0u; i < FETCH_B; i += 1u) {
        let v = (i * WORKGROUP + local) * 4u;
        let c = column + select(v % ROW_B, v / ROW_B, TRANS_B);
        let kk = k + select(v / ROW_B, v % ROW_B, TRANS_B);
        next_b[i] = vec4<f16>();
        if (c < p.n && kk < end) {
            next_b[i] = vec4<f16>(b[(z * p.b_batch + select(kk * p.b_row + c, c * p.b_row + kk, TRANS_B)) / 4u]);
        }
    }
}

// Writes the fetched vectors to the tiles.
fn keep(local: u32) {
    for (var i = 0u; i < FETCH_A; i += 1u) {
        let v = (i * WORKGROUP + local) * 4u;
        let to = v / ROW_A * PITCH_A + v % ROW_A;
        tile_a[to] = next_a[i].x;
        tile_a[to + 1u] = next_a[i].y;
        tile_a[to + 2u] = next_a[i].z;
        tile_a[to + 3u] = next_a[i].w;
    }
    for (var i = 0u; i < FETCH_B; i += 1u) {
        let v = (i * WORKGROUP + local) * 4u;
        let to = v / ROW_B * PITCH_B + v % ROW_B;
        tile_b[to] = next_b[i].x;
        tile_b[to + 1u] = next_b[i].y;
        tile_b[to + 2u] = next_b[i].z;
        tile_b[to + 3u] = next_b[i].w;
    }
}

// The block of A's tile at row and k.
fn left(row: u32, k: u32) -> Left {
    if (TRANS_A) {
        let at = k * PITCH_A + row;
        return coopLoad<Left>(&tile_a[at], PITCH_A);
    }
    let at = row * PITCH_A + k;
    return coopLoadT<Left>(&tile_a[at], PITCH_A);
}

// The block of B's tile at k and column.
fn right(k: u32, column: u32) -> Right {
    if (TRANS_B) {
        let at = column * PITCH_B + k;
        return coopLoad<Right>(&tile_b[at], PITCH_B);
    }
    let at = k * PITCH_B + column;
    return coopLoadT<Right>(&tile_b[at], PITCH_B);
}

// Stores the sums in this subgroup's block, the first of which is at row and column of the result.
fn finish(z: u32, row: u32, column: u32, block: u32, lane: u32) {
    workgroupBarrier();
    for (var i = lane * 4u; i < SIZE * SIZE; i += 128u) {
        let sums = vec4<f32>(blocks[block + i], blocks[block + i + 1u], blocks[block + i + 2u], blocks[block + i + 3u]);
        store(z, row + i / SIZE, column + i % SIZE, sums);
    }
    workgroupBarrier();
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let part = part_of(group.z);
    let row = group.y * TILE_M;
    let column = group.x * TILE_N;
    // Where this subgroup's blocks begin in the tile.
    let down = subgroup / ACROSS * 2u * SIZE;
    let across = subgroup % ACROSS * 4u * SIZE;
    let block = subgroup * SIZE * SIZE;

    for (var i = lane; i < SIZE * SIZE; i += 32u) {
        blocks[block + i] = 0.0;
    }
    workgroupBarrier();
    // Row by row, and by name: the sums of a matrix unit stay in registers only if no index is computed.
    var s00 = coopLoadT<Sum>(&blocks[block], SIZE);
    var s01 = s00;
    var s02 = s00;
    var s03 = s00;
    var s10 = s00;
    var s11 = s00;
    var s12 = s00;
    var s13 = s00;
    fetch(part.z, row, column, part.begin, part.end, local);
    for (var k = part.begin; k < part.end; k += TILE_K) {
        workgroupBarrier();
        keep(local);
        workgroupBarrier();
        fetch(part.z, row, column, k + TILE_K, part.end, local);
        for (var kk = 0u; kk < TILE_K; kk += SIZE) {
            let a0 = left(down, kk);
            let a1 = left(down + SIZE, kk);
            let b0 = right(kk, across);
            let b1 = right(kk, across + SIZE);
            let b2 = right(kk, across + 2u * SIZE);
            let b3 = right(kk, across + 3u * SIZE);
            s00 = coopMultiplyAdd(a0, b0, s00);
            s01 = coopMultiplyAdd(a0, b1, s01);
            s02 = coopMultiplyAdd(a0, b2, s02);
            s03 = coopMultiplyAdd(a0, b3, s03);
            s10 = coopMultiplyAdd(a1, b0, s10);
            s11 = coopMultiplyAdd(a1, b1, s11);
            s12 = coopMultiplyAdd(a1, b2, s12);
            s13 = coopMultiplyAdd(a1, b3, s13);
        }
    }
    let r = row + down;
    let c = column + across;
    coopStoreT(s00, &blocks[block], SIZE);
    finish(group.z, r, c, block, lane);
    coopStoreT(s01, &blocks[block], SIZE);
    finish(group.z, r, c + SIZE, block, lane);
    coopStoreT(s02, &blocks[block], SIZE);
    finish(group.z, r, c + 2u * SIZE, block, lane);
    coopStoreT(s03, &blocks[block], SIZE);
    finish(group.z, r, c + 3u * SIZE, block, lane);
    coopStoreT(s10, &blocks[block], SIZE);
    finish(group.z, r + SIZE, c, block, lane);
    coopStoreT(s11, &blocks[block], SIZE);
    finish(group.z, r + SIZE, c + SIZE, block, lane);
    coopStoreT(s12, &blocks[block], SIZE);
    finish(group.z, r + SIZE, c + 2u * SIZE, block, lane);
    coopStoreT(s13, &blocks[block], SIZE);
    finish(group.z, r + SIZE, c + 3u * SIZE, block, lane);
}
