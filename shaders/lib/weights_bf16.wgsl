// BF16. Row: four vectors per 32 elements.
// @include "lib/packed_block.wgsl"
const SCALED: bool = false;
const HALVES: bool = false;
const OFFSET: bool = false;

struct Header { unused: u32 }

fn header(base: u32, blocks: u32, group: u32) -> Header {
    return Header(0u);
}

fn halves(low: u32, high: u32) -> vec4<f32> {
    let words = vec4<u32>(low << 16u, low & 0xffff0000u, high << 16u, high & 0xffff0000u);
    return bitcast<vec4<f32>>(words);
}

fn unpack(h: Header, base: u32, blocks: u32, group: u32, part: u32) -> Block {
    var levels: array<vec4<f32>, 8>;
    for (var i = 0u; i < 4u; i += 1u) {
        let words = weights[base + 4u * group + i];
        levels[2u * i] = halves(words.x, words.y);
        levels[2u * i + 1u] = halves(words.z, words.w);
    }
    return Block(levels, vec2<f32>(1.0), 0.0);
}
