// The first vector of a Q4_K or Q5_K block of 256 elements: f16 d, f16 dmin, then a 6-bit scale and a 6-bit offset for
// each of its 8 parts. Parts 0 to 3: the lower 6 bits of bytes j and j + 4; parts 4 to 7: 4 bits each in byte j + 4, and
// their upper 2 bits on top of bytes j - 4 and j.
// @include "lib/packed_block.wgsl"
const SCALED: bool = true;
const HALVES: bool = false;
const OFFSET: bool = true;

struct Header { scales: vec4<u32> }

// The factor and the summand of part `part`: (d * scale, -dmin * offset).
fn scale_and_offset(h: Header, part: u32) -> vec2<f32> {
    let shift = 8u * (part & 3u);
    let low = h.scales.y >> shift;
    let middle = h.scales.z >> shift;
    let high = h.scales.w >> shift;
    let upper = part >= 4u;
    let scale = select(low & 63u, (high & 15u) | ((low >> 2u) & 48u), upper);
    let offset = select(middle & 63u, ((high >> 4u) & 15u) | ((middle >> 2u) & 48u), upper);
    let pair = unpack2x16float(h.scales.x);
    return vec2<f32>(pair.x * f32(scale), -(pair.y * f32(offset)));
}
