//! Blocks of 256 elements ("K"): small integer scales for parts of the block, multiplied by one or two f16 for the
//! whole.

use super::half_at;

/// The 6-bit scales and offsets of the 8 parts of a Q4_K or Q5_K block, packed into 12 bytes.
///
/// Parts 0 to 3 are the lower 6 bits of bytes j and j + 4. Parts 4 to 7 have their lower 4 bits in byte j + 4 and their
/// upper 2 bits at the top of bytes j - 4 and j.
pub(super) fn unpack_scales(packed: &[u8], part: usize) -> (u8, u8) {
    if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        let low = packed[part + 4];
        (low & 15 | packed[part - 4] >> 6 << 4, low >> 4 | packed[part] >> 6 << 4)
    }
}

/// The inverse of [`unpack_scales`] for all parts.
pub(super) fn pack_scales(scales: &[(u8, u8); 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for part in 0..4 {
        let (scale, offset) = scales[part];
        let (scale_high, offset_high) = scales[part + 4];
        packed[part] = scale | scale_high >> 4 << 6;
        packed[part + 4] = offset | offset_high >> 4 << 6;
        packed[part + 8] = scale_high & 15 | (offset_high & 15) << 4;
    }
    packed
}

/// f16 d, f16 dmin, 12 bytes of scales, 128 bytes: `d * scale * q - dmin * min`.
///
/// Each 32 bytes hold two parts, the first in the lower halves of the bytes.
pub(super) fn q4k(bytes: &[u8; 144], out: &mut [f32; 256]) {
    scaled(bytes, out, |part, j| {
        let byte = bytes[16 + part / 2 * 32 + j];
        if part % 2 == 0 { byte & 15 } else { byte >> 4 }
    });
}

/// f16 d, f16 dmin, 12 bytes of scales, 32 bytes of fifth bits (bit `part` of byte j), 128 bytes as in Q4_K.
pub(super) fn q5k(bytes: &[u8; 176], out: &mut [f32; 256]) {
    scaled(bytes, out, |part, j| {
        let byte = bytes[48 + part / 2 * 32 + j];
        let low = if part % 2 == 0 { byte & 15 } else { byte >> 4 };
        low | (bytes[16 + j] >> part & 1) << 4
    });
}

fn scaled(bytes: &[u8], out: &mut [f32; 256], level: impl Fn(usize, usize) -> u8) {
    let (d, dmin) = (half_at(bytes, 0), half_at(bytes, 2));
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = unpack_scales(&bytes[4..16], part);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        for (j, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(level(part, j)) - min;
        }
    }
}

/// 128 bytes of lower 4 bits, 64 bytes of upper 2 bits, 16 scales of i8, f16 d: `d * scale * (q - 32)`.
///
/// Each half of the block (128 elements in four quarters of 32) has 64 bytes of lower bits, with quarters 0 and 1 in
/// the lower halves of the bytes and 2 and 3 in the upper halves, and 32 bytes of upper bits, two for each quarter.
pub(super) fn q6k(bytes: &[u8; 210], out: &mut [f32; 256]) {
    let (lower, upper, scales) = (&bytes[..128], &bytes[128..192], &bytes[192..208]);
    let d = half_at(bytes, 208);
    for (i, out) in out.iter_mut().enumerate() {
        let (half, quarter, j) = (i / 128, i / 32 % 4, i % 32);
        let low = lower[64 * half + 32 * (quarter % 2) + j] >> (4 * (quarter / 2)) & 15;
        let high = upper[32 * half + j] >> (2 * quarter) & 3;
        let scale = d * f32::from(scales[i / 16] as i8);
        *out = scale * (f32::from(low | high << 4) - 32.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_unpacked_as_they_were_packed() {
        let scales: [(u8, u8); 8] = std::array::from_fn(|j| ((j * 9) as u8, (63 - 7 * j) as u8));
        let packed = pack_scales(&scales);
        for (part, &pair) in scales.iter().enumerate() {
            assert_eq!(unpack_scales(&packed, part), pair);
        }
    }
}
