//! Counter-based random numbers: a value is a pure function of (seed, stream, counter).
//!
//! There is no hidden state, so any value can be drawn again, in any order and from any thread: a resumed run sees the
//! same batches, and weights are the same whatever order they are filled in. Every function uses only integer
//! arithmetic and the operations IEEE 754 rounds exactly (`+ - * /`, `sqrt`), never the platform's `ln` or `cos`, so
//! the bits are the same on every machine.

use std::f64::consts::{FRAC_PI_2, LN_2, SQRT_2};

/// 2^64 divided by the golden ratio, the step of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014, in Stafford's variant 13): every input bit flips each
/// output bit with probability one half.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64 random bits: element `counter` of the SplitMix64 sequence that starts at a hash of `seed` and `stream`.
pub const fn bits(seed: u64, stream: u64, counter: u64) -> u64 {
    let key = mix(mix(seed.wrapping_add(GOLDEN)) ^ mix(stream.wrapping_mul(GOLDEN)));
    mix(key.wrapping_add(counter.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// Uniform in [0, 1), a multiple of 2^-53.
pub fn uniform(seed: u64, stream: u64, counter: u64) -> f64 {
    to_unit(bits(seed, stream, counter))
}

/// Uniform in `0..n` (multiply and shift; the bias is below n / 2^64). 0 when `n` is 0.
pub fn below(seed: u64, stream: u64, counter: u64, n: u64) -> u64 {
    ((u128::from(bits(seed, stream, counter)) * u128::from(n)) >> 64) as u64
}

/// Puts `items` into a random order (Fisher-Yates) that is a function of seed, stream and round.
pub fn shuffle<T>(items: &mut [T], seed: u64, stream: u64, round: u64) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(seed, stream, round << 32 | i as u64, i as u64 + 1) as usize);
    }
}

/// Standard normal (Box-Muller): `sqrt(-2 ln u) cos(2 pi v)`.
pub fn normal(seed: u64, stream: u64, counter: u64) -> f32 {
    let first = bits(seed, stream, counter);
    // 1 - u is in (0, 1], where the logarithm is finite; v needs its own bits.
    let radius = (-2.0 * ln(1.0 - to_unit(first))).sqrt();
    (radius * cos_turns(to_unit(mix(first ^ GOLDEN)))) as f32
}

fn to_unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// Natural logarithm of a positive normal number, to about 1e-16: `x = m 2^e` with m in [sqrt(1/2), sqrt 2), then
/// `ln m = 2 artanh(s)` with `s = (m - 1) / (m + 1)`, |s| < 0.172.
fn ln(x: f64) -> f64 {
    let mut exponent = ((x.to_bits() >> 52) & 0x7ff) as i64 - 1023;
    let mut mantissa = f64::from_bits((x.to_bits() & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa > SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = (0..11).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    exponent as f64 * LN_2 + 2.0 * s * series
}

/// cos(2 pi v) for v in [0, 1), by Taylor series within an eighth of a turn.
fn cos_turns(v: f64) -> f64 {
    let quarters = (v * 4.0 + 0.5) as u32;
    let x = (v * 4.0 - f64::from(quarters)) * FRAC_PI_2;
    let square = x * x;
    // 1 - x^2/(a(a+1)) (1 - x^2/((a+2)(a+3)) (...)): from the last factor inwards.
    let nested = |from: u32| {
        (0..8).rev().fold(1.0, |sum, k| {
            let a = f64::from(from + 2 * k);
            1.0 - square / (a * (a + 1.0)) * sum
        })
    };
    match quarters % 4 {
        0 => nested(1),
        1 => -x * nested(2),
        2 => -nested(1),
        _ => x * nested(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bits_never_change() {
        // Changing these changes every initialisation and every batch of every recorded run.
        assert_eq!(bits(0, 0, 0), 0x568a_9b0b_1a2c_05ec);
        assert_eq!(bits(1337, 2, 3), 0x971f_a487_08fd_c3fe);
        assert_eq!(normal(1337, 2, 3).to_bits(), 0x3efd_4a43);
    }

    #[test]
    fn own_functions_agree_with_the_platform() {
        for i in 0..20_000 {
            let u = uniform(1, 0, i);
            let x = 1.0 - u;
            assert!((ln(x) - x.ln()).abs() <= 4e-16 * (1.0 + x.ln().abs()), "ln {x}");
            assert!((cos_turns(u) - (std::f64::consts::TAU * u).cos()).abs() < 2e-15, "cos {u}");
        }
        assert_eq!(ln(1.0), 0.0);
        assert!((ln(f64::EPSILON / 2.0) + 53.0 * LN_2).abs() < 1e-14);
    }

    #[test]
    fn moments_of_the_distributions() {
        let n = 200_000;
        let (mut mean, mut square, mut fourth) = (0.0, 0.0, 0.0);
        for i in 0..n {
            let x = f64::from(normal(7, 1, i));
            mean += x / n as f64;
            square += x * x / n as f64;
            fourth += x.powi(4) / n as f64;
        }
        assert!(mean.abs() < 0.01 && (square - 1.0).abs() < 0.015 && (fourth - 3.0).abs() < 0.1);
        let mut counts = [0u32; 10];
        (0..100_000).for_each(|i| counts[below(7, 2, i, 10) as usize] += 1);
        assert!(counts.iter().all(|c| c.abs_diff(10_000) < 400), "{counts:?}");
    }

    #[test]
    fn neighbouring_seeds_streams_and_counters_are_independent() {
        let flips = |a: u64, b: u64| (a ^ b).count_ones() as f64;
        let n = 4_000;
        for other in [|i| bits(i + 1, 5, 9), |i| bits(i, 6, 9), |i| bits(i, 5, 10)] {
            let mean: f64 = (0..n).map(|i| flips(bits(i, 5, 9), other(i))).sum::<f64>() / n as f64;
            assert!((mean - 32.0).abs() < 0.3, "{mean}");
        }
    }
}
