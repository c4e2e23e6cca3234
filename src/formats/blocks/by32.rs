//! Blocks of 32 elements: one or two f16 per block, then 4, 5 or 8 bits per element.
//!
//! Element j < 16 is in the lower half of byte j, element j + 16 in its upper half. The fifth bits of Q5_0 and Q5_1 are
//! one u32, bit j for element j.

use super::half_at;

/// f16 d, 32 i8: `d * q`.
pub(super) fn q8_0(bytes: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(bytes, 0);
    for (out, &q) in out.iter_mut().zip(&bytes[2..]) {
        *out = f32::from(q as i8) * d;
    }
}

/// f16 d, 16 bytes: `d * (q - 8)`.
pub(super) fn q4_0(bytes: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(bytes, 0);
    nibbles(0, &bytes[2..], out, |q| (f32::from(q) - 8.0) * d);
}

/// f16 d, f16 m, 16 bytes: `d * q + m`.
pub(super) fn q4_1(bytes: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half_at(bytes, 0), half_at(bytes, 2));
    nibbles(0, &bytes[4..], out, |q| f32::from(q) * d + m);
}

/// f16 d, u32 of fifth bits, 16 bytes: `d * (q - 16)`.
pub(super) fn q5_0(bytes: &[u8; 22], out: &mut [f32; 32]) {
    let d = half_at(bytes, 0);
    nibbles(fifth_bits(bytes, 2), &bytes[6..], out, |q| (f32::from(q) - 16.0) * d);
}

/// f16 d, f16 m, u32 of fifth bits, 16 bytes: `d * q + m`.
pub(super) fn q5_1(bytes: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half_at(bytes, 0), half_at(bytes, 2));
    nibbles(fifth_bits(bytes, 4), &bytes[8..], out, |q| f32::from(q) * d + m);
}

fn fifth_bits(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn nibbles(fifth: u32, bytes: &[u8], out: &mut [f32; 32], value: impl Fn(u8) -> f32) {
    let bit = |j: usize| ((fifth >> j & 1) << 4) as u8;
    for (j, byte) in bytes.iter().enumerate() {
        out[j] = value(byte & 15 | bit(j));
        out[j + 16] = value(byte >> 4 | bit(j + 16));
    }
}

/// d = max |x| / 127, halves rounded away from zero.
pub(super) fn to_q8_0(values: &[f32; 32]) -> [u8; 34] {
    let largest = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let d = largest / 127.0;
    let inverse = inverse(d);
    let mut bytes = [0; 34];
    bytes[..2].copy_from_slice(&half::f16::from_f32(d).to_le_bytes());
    for (byte, x) in bytes[2..].iter_mut().zip(values) {
        *byte = (x * inverse).round() as i8 as u8;
    }
    bytes
}

/// m = min x, d = (max x - min x) / 15, halves rounded up.
pub(super) fn to_q4_1(values: &[f32; 32]) -> [u8; 20] {
    let (least, most) = values.iter().fold((f32::MAX, f32::MIN), |(a, b), &x| (a.min(x), b.max(x)));
    let d = (most - least) / 15.0;
    let inverse = inverse(d);
    let level = |x: f32| ((x - least) * inverse + 0.5).min(15.0) as u8;
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&half::f16::from_f32(d).to_le_bytes());
    bytes[2..4].copy_from_slice(&half::f16::from_f32(least).to_le_bytes());
    for (j, byte) in bytes[4..].iter_mut().enumerate() {
        *byte = level(values[j]) | level(values[j + 16]) << 4;
    }
    bytes
}

/// 1 / d, or 0 for a block whose values are all equal.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}
