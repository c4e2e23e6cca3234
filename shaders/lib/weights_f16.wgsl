// F16. Row: four vectors per 32 elements.
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
    for (var i = 0u; i < 4u; i += 1u) {
        let words = weights[base + 4u * group + i];
        levels[2u * i] = vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
        levels[2u * i + 1u] = vec4<f32>(unpack2x16float(words.z), unpack2x16float(words.w));
    }
    return Block(levels, vec2<f32>(1.0), 0.0);
}
