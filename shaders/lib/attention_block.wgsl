// Attention by blocks, as in FlashAttention-2 (Dao 2023): a workgroup owns ROWS rows of one side (queries, or keys where it
// computes their gradients) and loops over the other side's rows, the COLUMNS of the block of scores. A lane computes
// scores of four rows, then, from the weights of all columns, some vectors of those rows' results: what it keeps in
// registers does not grow with the width of a head. For GPUs: barriers must be cheap, and any subgroup size will do.
// Files that include this one define source(), which reads the tensors, and KEPT.
// @include "lib/attention.wgsl"
// @include "lib/attention_segments.wgsl"
const ROWS: u32 = 4u;
const COLUMNS: u32 = 32u;
// Vectors of each row that are in workgroup memory at once while scores are computed.
const DEPTH: u32 = 8u;
// Columns that are there at once while results are computed, a multiple of UNROLLED.
const SLICE: u32 = 16u;
// Iterations of the innermost loops that are written out. More of them take more registers than some GPUs have.
const UNROLLED: u32 = 4u;

const ROWS4: u32 = ROWS / 4u;
const COLUMNS4: u32 = COLUMNS / 4u;
// Lanes that share four rows: lane is GROUPS * r + c, with rows 4 r..4 r + 4, columns c, c + GROUPS, ..., and vectors c,
// c + GROUPS, ... of the results. What neighbouring lanes read in workgroup memory lies side by side, or is the same.
const GROUPS: u32 = WORKGROUP / ROWS4;
const PER_LANE: u32 = COLUMNS / GROUPS; // a multiple of four
const VECTORS: u32 = (D4 + GROUPS - 1u) / GROUPS;

// Vector i has the scores of a lane's four rows with its column i.
alias Scores = array<vec4<f32>, PER_LANE>;
// Vector 4 v + i is the lane's vector v of its row i.
alias Sums = array<vec4<f32>, 4u * VECTORS>;

// Workgroup memory holds the weights, ROWS4 vectors for each column and one that keeps lanes in different banks; after them
// a slice of the columns, WIDE vectors each. While scores are computed it holds lines: for each element of a head, that
// element of all rows, then of all columns. They take the place of both or, with KEPT, leave the weights alone.
const PITCH: u32 = ROWS4 + 1u;
const WIDE: u32 = GROUPS * VECTORS;
const WIDE_AT: u32 = COLUMNS * PITCH;
const LINE: u32 = ROWS4 + COLUMNS4;
const LINES_AT: u32 = select(0u, WIDE_AT, KEPT);
var<workgroup> memory: array<vec4<f32>, max(LINES_AT + 4u * DEPTH * LINE, WIDE_AT + SLICE * WIDE)>;

// Rows of queries, keys or values in qkv, or of the gradients of the output: those of one head, from `first` on.
struct Side { which: u32, head: u32, first: u32 }
const QKV: u32 = 0u;
const GRAD: u32 = 1u;

// Where row `row` of sequence z begins; rows past the end repeat the last.
fn row_at(side: Side, z: u32, row: u32) -> u32 {
    let t = min(side.first + row, p.context - 1u);
    if (side.which == QKV) {
        return qkv_at(z, t, side.head);
    }
    return out_at(z, t, side.head);
}

// A lane's column i.
fn column_of(i: u32, c: u32) -> u32 {
    return i * GROUPS + c;
}

// A lane's weights of its column i.
fn weight_at(i: u32, r: u32, c: u32) -> u32 {
    return column_of(i, c) * PITCH + r;
}

// The positions of four rows from `first` on, and the same before the end.
fn four_from(first: u32) -> vec4<u32> {
    return vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
}

fn inside(t: vec4<u32>) -> vec4<u32> {
    return min(t, vec4<u32>(p.context - 1u));
}

// The first keys that four queries see, and whether they see key j.
fn starts_of(z: u32, t: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(start_of(z, t.x), start_of(z, t.y), start_of(z, t.z), start_of(z, t.w));
}

fn seen(t: vec4<u32>, begins: vec4<u32>, j: u32) -> vec4<bool> {
    return (vec4<u32>(j) <= t) & (vec4<bool>(!SEGMENTS) | (vec4<u32>(j) >= begins));
}

// Whether query t, which sees keys from `start` on, sees four keys.
fn seen_by(t: u32, start: u32, j: vec4<u32>) -> vec4<bool> {
    return (j <= vec4<u32>(t)) & (vec4<bool>(!SEGMENTS) | (j >= vec4<u32>(start)));
}

// Vector k of rows row, row + stride, .. + 3 stride, turned into the lines: vector `to` of four lines.
fn turn(side: Side, z: u32, row: u32, stride: u32, k: u32, line: u32, to: u32) {
    let turned = transpose(mat4x4<f32>(
        source(side.which, row_at(side, z, row) + k),
        source(side.which, row_at(side, z, row + stride) + k),
        source(side.which, row_at(side, z, row + 2u * stride) + k),
        source(side.which, row_at(side, z, row + 3u * stride) + k)));
    let at = LINES_AT + line * LINE + to;
    memory[at] = turned[0];
    memory[at + LINE] = turned[1];
    memory[at + 2u * LINE] = turned[2];
    memory[at + 3u * LINE] = turned[3];
}

// Which of `vectors` vectors a lane turns, and how deep it lies: neighbouring lanes write neighbouring vectors, and eight
// by four lanes read whole segments of memory.
fn share(i: u32, vectors: u32) -> vec2<u32> {
    let near = min(8u, vectors);
    return vec2<u32>(i / (near * DEPTH) * near + i % near, i / near % DEPTH);
}

// Adds the products of rows and columns to a lane's scores. Afterwards other lanes may still read the lines.
fn multiply(z: u32, rows: Side, columns: Side, lane: u32, scores: ptr<function, Scores>) {
    let r = lane / GROUPS;
    let c = lane % GROUPS;
    for (var k = 0u; k < p.vectors; k += DEPTH) {
        let depth = min(DEPTH, p.vectors - k);
        workgroupBarrier();
        for (var n = 0u; n < ROWS4 * DEPTH; n += WORKGROUP) {
            let mine = share(n + lane, ROWS4);
            if ((ROWS4 * DEPTH % WORKGROUP == 0u || n + lane < ROWS4 * DEPTH) && mine.y < depth) {
                turn(rows, z, 4u * mine.x, 1u, k + mine.y, 4u * mine.y, mine.x);
            }
        }
        for (var n = 0u; n < COLUMNS4 * DEPTH; n += WORKGROUP) {
            let mine = share(n + lane, COLUMNS4);
            if ((COLUMNS4 * DEPTH % WORKGROUP == 0u || n + lane < COLUMNS4 * DEPTH) && mine.y < depth) {
                let column = column_of(mine.x / GROUPS * 4u, mine.x % GROUPS);
                turn(columns, z, column, GROUPS, k + mine.y, 4u * mine.y, ROWS4 + mine.x);
            }
        }
        workgroupBarrier();
        for (var d = 0u; d < 4u * depth; d += UNROLLED) {
            for (var u = 0u; u < UNROLLED; u += 1u) {
                let line = LINES_AT + (d + u) * LINE;
                let left = memory[line + r];
                for (var n = 0u; n < PER_LANE / 4u; n += 1u) {
                    let right = memory[line + ROWS4 + n * GROUPS + c];
                    (*scores)[4u * n] = fma(left, vec4<f32>(right.x), (*scores)[4u * n]);
                    (*scores)[4u * n + 1u] = fma(left, vec4<f32>(right.y), (*scores)[4u * n + 1u]);
                    (*scores)[4u * n + 2u] = fma(left, vec4<f32>(right.z), (*scores)[4u * n + 2u]);
                    (*scores)[4u * n + 3u] = fma(left, vec4<f32>(right.w), (*scores)[4u * n + 3u]);
                }
            }
        }
    }
}

// Adds the products of the weights and the columns, as far as these are before `end`, to a lane's sums. The lanes have
// written their weights, and are past a barrier since the lines were read.
fn accumulate(z: u32, columns: Side, end: u32, lane: u32, sums: ptr<function, Sums>) {
    let r = lane / GROUPS;
    let c = lane % GROUPS;
    let count = min(COLUMNS, end - columns.first);
    for (var first = 0u; first < count; first += SLICE) {
        if (first > 0u) {
            workgroupBarrier();
        }
        for (var n = 0u; n < SLICE * D4; n += WORKGROUP) {
            let i = n + lane;
            if (SLICE * D4 % WORKGROUP == 0u || i < SLICE * D4) {
                let x = source(columns.which, row_at(columns, z, first + i / D4) + i % D4);
                memory[WIDE_AT + i / D4 * WIDE + i % D4] = x;
            }
        }
        workgroupBarrier();
        for (var j = 0u; j < min(SLICE, count - first); j += UNROLLED) {
            for (var u = 0u; u < UNROLLED; u += 1u) {
                let weight = memory[(first + j + u) * PITCH + r];
                for (var v = 0u; v < VECTORS; v += 1u) {
                    let x = memory[WIDE_AT + (j + u) * WIDE + v * GROUPS + c];
                    (*sums)[4u * v] = fma(vec4<f32>(weight.x), x, (*sums)[4u * v]);
                    (*sums)[4u * v + 1u] = fma(vec4<f32>(weight.y), x, (*sums)[4u * v + 1u]);
                    (*sums)[4u * v + 2u] = fma(vec4<f32>(weight.z), x, (*sums)[4u * v + 2u]);
                    (*sums)[4u * v + 3u] = fma(vec4<f32>(weight.w), x, (*sums)[4u * v + 3u]);
                }
            }
        }
    }
}
