//! Quantisation to Q4_K: a search for the scale and offset of each part that minimise a weighted squared error.
//!
//! The method is that of ggml's reference (`quantize_row_q4_K_ref`). Values x in a part of 32 become `scale * q -
//! offset`, q in 0..=15, offset >= 0. The weight of a value is its magnitude plus the part's root mean square. For each
//! of 21 trial steps around (max - min) / 15, the levels are rounded, then scale and offset are the least-squares
//! solution for these levels; the best trial wins. Scales and offsets are then rounded to 6 bits, and the levels are
//! chosen again for the rounded values.

use super::by256::{pack_scales, unpack_scales};

const PARTS: usize = 8;
const WIDTH: usize = 32;
const TOP: f32 = 15.0;
/// The largest scale or offset that 6 bits can hold.
const MOST: f32 = 63.0;
/// The trials divide the range into 14.0, 14.1, .. 16.0 steps.
const TRIALS: usize = 21;

pub(super) fn to_q4k(values: &[f32; 256]) -> [u8; 144] {
    let parts: &[[f32; WIDTH]; PARTS] = bytemuck::cast_ref(values);
    let fits: [(f32, f32); PARTS] = std::array::from_fn(|part| fit(&parts[part]));
    let largest = fits.iter().fold((0.0f32, 0.0f32), |most, fit| (most.0.max(fit.0), most.1.max(fit.1)));
    let small = |value: f32, most: f32| if most > 0.0 { (MOST / most * value).round_ties_even() as u8 } else { 0 };
    let scales = fits.map(|fit| (small(fit.0, largest.0).min(63), small(fit.1, largest.1).min(63)));

    let packed = pack_scales(&scales);
    let (d, dmin) = (half::f16::from_f32(largest.0 / MOST), half::f16::from_f32(largest.1 / MOST));
    let mut bytes = [0; 144];
    bytes[..2].copy_from_slice(&d.to_le_bytes());
    bytes[2..4].copy_from_slice(&dmin.to_le_bytes());
    bytes[4..16].copy_from_slice(&packed);
    for (part, values) in parts.iter().enumerate() {
        let (scale, offset) = unpack_scales(&packed, part);
        let (scale, offset) = (d.to_f32() * f32::from(scale), dmin.to_f32() * f32::from(offset));
        for (byte, &x) in bytes[16 + part / 2 * WIDTH..].iter_mut().zip(values) {
            // With a scale of 0, all levels mean the same value.
            let level = if scale == 0.0 { 0 } else { nearest((x + offset) / scale) as u8 };
            *byte |= level << (part % 2 * 4);
        }
    }
    bytes
}

fn nearest(level: f32) -> f32 {
    level.round_ties_even().clamp(0.0, TOP)
}

/// The scale and offset (both at least 0) of a part.
fn fit(values: &[f32; WIDTH]) -> (f32, f32) {
    let squares: f32 = values.iter().map(|x| x * x).sum();
    let typical = (squares / WIDTH as f32).sqrt();
    let weights = values.map(|x| typical + x.abs());
    let (least, most) = values.iter().fold((0.0f32, f32::MIN), |(a, b), &x| (a.min(x), b.max(x)));
    // Also covers a range so small that its inverse is not finite.
    if !((TOP + 1.0) / (most - least)).is_finite() || most <= least {
        return (0.0, 0.0 - least);
    }
    let levels = |steps: f32| {
        let inverse = steps / (most - least);
        values.map(|x| nearest(inverse * (x - least)))
    };
    let error = |levels: &[f32; WIDTH], scale: f32, base: f32| -> f32 {
        let each = levels.iter().zip(values).zip(&weights);
        each.map(|((level, x), weight)| weight * (scale * level + base - x).powi(2)).sum()
    };

    let scale = 1.0 / (TOP / (most - least));
    let mut best = (error(&levels(TOP), scale, least), scale, least);
    for trial in 0..TRIALS {
        let levels = levels(-1.0 + 0.1 * trial as f32 + TOP);
        let Some((scale, base)) = least_squares(&levels, values, &weights) else { continue };
        let error = error(&levels, scale, base);
        if error < best.0 {
            best = (error, scale, base);
        }
    }
    (best.1.max(0.0), (-best.2).max(0.0))
}

/// The scale and the base <= 0 that minimise the weighted squares of `scale * level + base - x`.
fn least_squares(levels: &[f32; WIDTH], values: &[f32; WIDTH], weights: &[f32; WIDTH]) -> Option<(f32, f32)> {
    let (mut w, mut x, mut l, mut ll, mut xl) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
    for ((&level, &value), &weight) in levels.iter().zip(values).zip(weights) {
        w += weight;
        x += weight * value;
        l += weight * level;
        ll += weight * level * level;
        xl += weight * level * value;
    }
    let determinant = w * ll - l * l;
    if determinant.is_nan() || determinant <= 0.0 {
        return None;
    }
    let base = (ll * x - l * xl) / determinant;
    Some(if base > 0.0 { (xl / ll, 0.0) } else { ((w * xl - x * l) / determinant, base) })
}
