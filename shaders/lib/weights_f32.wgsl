// F32. Row: eight vectors per 32 elements.
// @include "lib/packed_block.wgsl"
const SCALED: bool = false;
const HALVES: bool = false;
const OFFSET: bool = false;

struct Header { unused: u32 }

fn header(base: u32, blocks: u32, group: u32) -> Header {
    return Header(0u);
}

fn unpack(h: Header, base: u32, blocks: u32, group: u32, part: u32) -> Block {
    var levels: array<vec4<f32>, 8>;
    for (var i = 0u; i < 8u; i += 1u) {
        levels[i] = bitcast<vec4<f32>>(weights[base + 8u * group + i]);
    }
    return Block(levels, vec2<f32>(1.0), 0.0);
}
