// Q5_0 and Q5_1 as d * q + m. Row: a vector of lower bits per block as in weights_q4, then a word of fifth bits per
// block (bit j: element j), then a word (f16 d, f16 m) per block; four words in a vector.
// @include "lib/packed_block.wgsl"
const SCALED: bool = true;
const HALVES: bool = false;
const OFFSET: bool = true;

struct Header { fifths: vec4<u32>, pairs: vec4<u32> }

// The data shared by four blocks, from block `group` (a multiple of four) on.
fn header(base: u32, blocks: u32, group: u32) -> Header {
    let at = base + blocks + group / 4u;
    return Header(weights[at], weights[at + (blocks + 3u) / 4u]);
}

fn unpack(h: Header, base: u32, blocks: u32, group: u32, part: u32) -> Block {
    let quants = weights[base + group];
    let pair = unpack2x16float(h.pairs[part]);
    let fifth = vec4<u32>(h.fifths[part]) >> vec4<u32>(0u, 1u, 2u, 3u);
    var levels: array<vec4<f32>, 8>;
    for (var i = 0u; i < 4u; i += 1u) {
        let bytes = vec4<u32>(quants[i]) >> vec4<u32>(0u, 8u, 16u, 24u);
        let low = (bytes & vec4<u32>(15u)) | (((fifth >> vec4<u32>(4u * i)) & vec4<u32>(1u)) << vec4<u32>(4u));
        let high = ((bytes >> vec4<u32>(4u)) & vec4<u32>(15u))
            | (((fifth >> vec4<u32>(4u * i + 16u)) & vec4<u32>(1u)) << vec4<u32>(4u));
        levels[i] = vec4<f32>(vec4<i32>(low));
        levels[4u + i] = vec4<f32>(vec4<i32>(high));
    }
    return Block(levels, pair.xx, pair.y);
}
