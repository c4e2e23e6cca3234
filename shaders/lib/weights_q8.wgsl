// Q8_0: d * q. Row: two vectors of i8 per block of 32 elements, then a word per block (f16 d, 0), four in a vector.
// @include "lib/packed_block.wgsl"
const SCALED: bool = true;
const HALVES: bool = false;
const OFFSET: bool = false;

struct Header { pairs: vec4<u32> }

// The data shared by four blocks, from block `group` (a multiple of four) on.
fn header(base: u32, blocks: u32, group: u32) -> Header {
    return Header(weights[base + 2u * blocks + group / 4u]);
}

fn signed_bytes(word: u32) -> vec4<f32> {
    let high = vec4<i32>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u));
    return vec4<f32>(high >> vec4<u32>(24u));
}

fn unpack(h: Header, base: u32, blocks: u32, group: u32, part: u32) -> Block {
    let d = unpack2x16float(h.pairs[part]).x;
    let first = weights[base + 2u * group];
    let second = weights[base + 2u * group + 1u];
    var levels: array<vec4<f32>, 8>;
    for (var i = 0u; i < 4u; i += 1u) {
        levels[i] = signed_bytes(first[i]);
        levels[4u + i] = signed_bytes(second[i]);
    }
    return Block(levels, vec2<f32>(d), 0.0);
}
