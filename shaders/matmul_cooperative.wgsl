// matmul_cooperative: products of SIZE x SIZE matrices by a subgroup's matrix unit, operands in f16, sums in f32. Each of
// DOWN x ACROSS subgroups computes 2 by 4 such blocks. In workgroup memory both operands lie along k, TILE_K deep, however
// they are stored; the next tile is loaded into registers meanwhile. An f32 operand is rounded to f16. Needs k, n and
// (TRANS_A) m to be multiples of 4. Overwrites or accumulates, see lib/matmul.wgsl.
enable wgpu_cooperative_matrix;
diagnostic(off, derivative_uniformity); // naga assumes that a function's arguments differ between lanes
// @include "lib/matmul_vec4.wgsl"
const SIZE: u32 = 16u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;

const DOWN: u32 = 2u;
const ACROSS: u32 = 2u;
// The most lanes that a subgroup has on the adapter, and whether a driver may give it fewer. A workgroup then has more
// subgroups than blocks to share out, and those without any only help to load.
const LANES: u32 = 32u;
const FEWER: bool = false;
const WORKGROUP: u32 = LANES * DOWN * ACROSS;
const TILE_M: u32 = DOWN * 2u * SIZE;
const TILE_N: u32 = ACROSS * 4u * SIZE;
const TILE_K: u32 = 32u;

// Rows of A and columns of B. Eight more elements in each spread those of a block over the banks.
const PITCH: u32 = TILE_K + 8u;
// Scalars, because Metal cannot load matrices from vectors.
var<workgroup> tile_a: array<f16, PITCH * TILE_M>;
var<workgroup> tile_b: array<f16, PITCH * TILE_N>;
// One block for each subgroup: the elements of matrices cannot be accessed, so sums reach the epilogue through memory.
var<workgroup> blocks: array<f32, DOWN * ACROSS * SIZE * SIZE>;

// The vectors of the next tiles that a lane has fetched: along k as stored, or (A transposed, B not) across it.
const FETCH_A: u32 = TILE_M * TILE_K / 4u / WORKGROUP;
const FETCH_B: u32 = TILE_N * TILE_K / 4u / WORKGROUP;
var<private> next_a: array<a_element, FETCH_A>;
var<private> next_b: array<b_element, FETCH_B>;
// Where they were in the tile at k = 0, and where those across k are at its end; and where the lane's first goes in a tile:
// row or column, and k.
var<private> from_a: array<u32, FETCH_A>;
var<private> from_b: array<u32, FETCH_B>;
var<private> last_a: u32;
var<private> last_b: u32;
var<private> to_a: vec2<u32>;
var<private> to_b: vec2<u32>;
// From one vector of a lane to its next.
const STEP_A: vec2<u32> = select(vec2<u32>(4u * WORKGROUP / TILE_K, 0u), vec2<u32>(0u, 4u * WORKGROUP / TILE_M), TRANS_A);
const STEP_B: vec2<u32> = select(vec2<u32>(0u, 4u * WORKGROUP / TILE_N), vec2<u32>(4u * WORKGROUP / TILE_K, 0u), TRANS_B);

// Where a lane's first vector goes in a tile of `side` rows or columns.
fn first_of(local: u32, side: u32, across: bool) -> vec2<u32> {
    if (across) {
        return vec2<u32>(local % (side / 4u) * 4u, local / (side / 4u));
    }
    return vec2<u32>(local / (TILE_K / 4u), local % (TILE_K / 4u) * 4u);
}

// Finds a lane's vectors in the tiles A[row.., ..] and B[.., column..]. Rows and columns outside repeat the last, as nothing
// that is computed from them is stored.
fn aim(part: Part, row: u32, column: u32, local: u32) {
    to_a = first_of(local, TILE_M, TRANS_A);
    to_b = first_of(local, TILE_N, !TRANS_B);
    for (var i = 0u; i < FETCH_A; i += 1u) {
        let to = to_a + i * STEP_A;
        let r = min(row + to.x, p.m - select(1u, 4u, TRANS_A));
        from_a[i] = (part.z * p.a_batch + select(r * p.a_row, to.y * p.a_row + r, TRANS_A)) / 4u;
        last_a = (part.z * p.a_batch + (part.end - 1u) * p.a_row + r) / 4u;
    }
    for (var i = 0u; i < FETCH_B; i += 1u) {
        let to = to_b + i * STEP_B;
        let c = min(column + to.x, p.n - select(4u, 1u, TRANS_B));
        from_b[i] = (part.z * p.b_batch + select(to.y * p.b_row + c, c * p.b_row, TRANS_B)) / 4u;
        last_b = (part.z * p.b_batch + (part.end - 1u) * p.b_row + c) / 4u;
    }
}

// Fetches the tiles at k. What is past the end repeats the last: a load under a condition would be waited for at once.
fn fetch(k: u32, end: u32) {
    for (var i = 0u; i < FETCH_A; i += 1u) {
        if (TRANS_A) {
            next_a[i] = a[min(from_a[i] + k * (p.a_row / 4u), last_a)];
        } else {
            next_a[i] = a[from_a[i] + min(k + to_a.y, end - 4u) / 4u];
        }
    }
    for (var i = 0u; i < FETCH_B; i += 1u) {
        if (TRANS_B) {
            next_b[i] = b[from_b[i] + min(k + to_b.y, end - 4u) / 4u];
        } else {
            next_b[i] = b[min(from_b[i] + k * (p.b_row / 4u), last_b)];
        }
    }
}

// Writes the fetched vectors to the tiles, those of A past the end as zeros. In B they may stay what they are, elements that
// the sum has already: where one is not finite, neither is the sum.
fn keep(k: u32, end: u32) {
    for (var i = 0u; i < FETCH_A; i += 1u) {
        let to = to_a + i * STEP_A;
        let x = vec4<f16>(select(a_element(), next_a[i], k + to.y < end));
        let at = to.x * PITCH + to.y;
        let step = select(1u, PITCH, TRANS_A);
        tile_a[at] = x.x;
        tile_a[at + step] = x.y;
        tile_a[at + 2u * step] = x.z;
        tile_a[at + 3u * step] = x.w;
    }
    for (var i = 0u; i < FETCH_B; i += 1u) {
        let to = to_b + i * STEP_B;
        let x = vec4<f16>(next_b[i]);
        let at = to.x * PITCH + to.y;
        let step = select(PITCH, 1u, TRANS_B);
        tile_b[at] = x.x;
        tile_b[at + step] = x.y;
        tile_b[at + 2u * step] = x.z;
        tile_b[at + 3u * step] = x.w;
    }
}

// The block of A's tile at row and k.
fn left(row: u32, k: u32) -> Left {
    let at = row * PITCH + k;
    return coopLoadT<Left>(&tile_a[at], PITCH);
}

// The block of B's tile at k and column.
fn right(k: u32, column: u32) -> Right {
    let at = column * PITCH + k;
    return coopLoad<Right>(&tile_b[at], PITCH);
}

// A lane's place: whether its subgroup has blocks to compute, where it has room in `blocks`, the lane's number in it, and of
// how many.
struct Place { busy: bool, block: u32, lane: u32, lanes: u32 }

// Stores a block of sums, the first of which is at row and column of the result.
fn finish(sums: Sum, z: u32, row: u32, column: u32, place: Place) {
    if (place.busy) {
        coopStoreT(sums, &blocks[place.block], SIZE);
    }
    workgroupBarrier();
    if (place.busy) {
        for (var i = place.lane * 4u; i < SIZE * SIZE; i += place.lanes * 4u) {
            let at = place.block + i;
            let four = vec4<f32>(blocks[at], blocks[at + 1u], blocks[at + 2u], blocks[at + 3u]);
            store(z, row + i / SIZE, column + i % SIZE, four);
        }
    }
    workgroupBarrier();
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) lanes: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let part = part_of(group.z);
    let row = group.y * TILE_M;
    let column = group.x * TILE_N;
    // Where this subgroup's blocks begin in the tile.
    let down = subgroup / ACROSS * 2u * SIZE;
    let across = subgroup % ACROSS * 4u * SIZE;
    let place = Place(!FEWER || subgroup < DOWN * ACROSS, subgroup * SIZE * SIZE, lane, lanes);

    for (var i = local; i < DOWN * ACROSS * SIZE * SIZE; i += WORKGROUP) {
        blocks[i] = 0.0;
    }
    workgroupBarrier();
    // Row by row, and by name: the sums of a matrix unit stay in registers only if no index is computed.
    let zeros = select(0u, place.block, place.busy);
    var s00 = coopLoadT<Sum>(&blocks[zeros], SIZE);
    var s01 = s00;
    var s02 = s00;
    var s03 = s00;
    var s10 = s00;
    var s11 = s00;
    var s12 = s00;
    var s13 = s00;
    aim(part, row, column, local);
    fetch(part.begin, part.end);
    var k = part.begin;
    loop {
        workgroupBarrier();
        keep(k, part.end);
        workgroupBarrier();
        fetch(k + TILE_K, part.end);
        if (place.busy) {
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
        continuing {
            k += TILE_K;
            // At the end, because compilers then copy no sums.
            break if k >= part.end;
        }
    }

    let r = row + down;
    let c = column + across;
    finish(s00, group.z, r, c, place);
    finish(s01, group.z, r, c + SIZE, place);
    finish(s02, group.z, r, c + 2u * SIZE, place);
    finish(s03, group.z, r, c + 3u * SIZE, place);
    finish(s10, group.z, r + SIZE, c, place);
    finish(s11, group.z, r + SIZE, c + SIZE, place);
    finish(s12, group.z, r + SIZE, c + 2u * SIZE, place);
    finish(s13, group.z, r + SIZE, c + 3u * SIZE, place);
}
