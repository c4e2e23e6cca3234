// Q4_0 and Q4_1 as d * q + m. Row: a vector of 16 bytes per block of 32 elements (byte j: elements j and j + 16), then
// a word per block (f16 d, f16 m), four in a vector.
// @include "lib/packed_block.wgsl"
const SCALED: bool = true;
const HALVES: bool = false;
const OFFSET: bool = true;

struct Header { pairs: vec4<u32> }

// The data shared by four blocks, from block `group` (a multiple of four) on.
fn header(base: u32, blocks: u32, group: u32) -> Header {
    return Header(weights[base + blocks + group / 4u]);
}

fn unpack(h: Header, base: u32, blocks: u32, group: u32, part: u32) -> Block {
    let quants = weights[base + group];
    let pair = unpack2x16float(h.pairs[part]);
    var levels: array<vec4<f32>, 8>;
    for (var i = 0u; i < 4u; i += 1u) {
        let bytes = vec4<u32>(quants[i]) >> vec4<u32>(0u, 8u, 16u, 24u);
        levels[i] = vec4<f32>(vec4<i32>(bytes & vec4<u32>(15u)));
        levels[4u + i] = vec4<f32>(vec4<i32>((bytes >> vec4<u32>(4u)) & vec4<u32>(15u)));
    }
    return Block(levels, pair.xx, pair.y);
}
