// Q6_K: d * scale * (q - 32). Row: fourteen vectors per block of 256 elements: 128 bytes of lower 4 bits, 64 bytes of
// upper 2 bits, 16 scales of i8, then one vector that begins with f16 d. Each half of a block (128 elements in four
// quarters of 32) has 64 bytes of lower bits, with quarters 0 and 1 in the lower halves and 2 and 3 in the upper ones, and
// 32 bytes of upper bits, two bits for each quarter. A scale applies to 16 elements.
// @include "lib/packed_block.wgsl"
const SCALED: bool = true;
const HALVES: bool = true;
const OFFSET: bool = false;

struct Header { scales: vec4<u32>, d: f32 }

// The data shared by four quarters, from quarter `group` (a multiple of four) of the row on.
fn header(base: u32, blocks: u32, group: u32) -> Header {
    let at = base + group / 8u * 14u + 12u;
    return Header(weights[at], unpack2x16float(weights[at + 1u].x).x);
}

fn unpack(h: Header, base: u32, blocks: u32, group: u32, part: u32) -> Block {
    let block = base + group / 8u * 14u;
    let inner = group & 7u;
    let lower = block + inner / 4u * 4u + (inner & 1u) * 2u;
    let upper = block + 8u + inner / 4u * 2u;
    let bytes = vec4<u32>(0u, 8u, 16u, 24u);
    let lower_shift = bytes + vec4<u32>(4u * ((inner & 3u) / 2u));
    let upper_shift = bytes + vec4<u32>(2u * (inner & 3u));
    // Scales 2 * inner and 2 * inner + 1 lie in one half of word inner / 2.
    let pair = h.scales[inner / 2u] >> (16u * (inner & 1u));
    var levels: array<vec4<f32>, 8>;
    for (var half = 0u; half < 2u; half += 1u) {
        let low = weights[lower + half];
        let high = weights[upper + half];
        for (var i = 0u; i < 4u; i += 1u) {
            let q = ((vec4<u32>(low[i]) >> lower_shift) & vec4<u32>(15u))
                | (((vec4<u32>(high[i]) >> upper_shift) & vec4<u32>(3u)) << vec4<u32>(4u));
            levels[4u * half + i] = vec4<f32>(vec4<i32>(q) - vec4<i32>(32));
        }
    }
    let scales = vec2<f32>(vec2<i32>(vec2<u32>(pair) << vec2<u32>(24u, 16u)) >> vec2<u32>(24u));
    return Block(levels, scales * h.d, 0.0);
}
