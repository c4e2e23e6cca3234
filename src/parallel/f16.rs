//! Packs numbers into half the bytes: f16 with a scale that makes the largest of them 1, so that small gradients
//! survive.

use half::f16;

/// The four bytes of the scale, then two per number.
pub fn pack(values: &[f32]) -> Vec<u8> {
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    // Non-finite values have no scale and are kept as they are: all ranks must see an overflow.
    let scale = if largest.is_finite() && largest > f32::MIN_POSITIVE { largest } else { 1.0 };
    let mut packed = Vec::with_capacity(bytes(values.len()));
    packed.extend(scale.to_le_bytes());
    packed.extend(values.iter().flat_map(|value| f16::from_f32(value / scale).to_le_bytes()));
    packed
}

/// The number of bytes that [`pack`] produces for `count` numbers.
pub fn bytes(count: usize) -> usize {
    4 + 2 * count
}

/// Adds numbers packed by [`pack`] to `sums`.
pub fn add(bytes: &[u8], sums: &mut [f32]) {
    let Some((scale, numbers)) = bytes.split_first_chunk::<4>() else { return };
    let scale = f32::from_le_bytes(*scale);
    for (sum, number) in sums.iter_mut().zip(numbers.chunks_exact(2)) {
        *sum += f16::from_le_bytes([number[0], number[1]]).to_f32() * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_eleven_bits_of_the_largest() {
        let values = [3e-9f32, -1e-9, 0.0, 2.5e-9];
        let mut sums = [1e-9f32, 0.0, 0.0, 0.0];
        add(&pack(&values), &mut sums);
        for (sum, wanted) in sums.iter().zip([4e-9, -1e-9, 0.0, 2.5e-9]) {
            assert!((sum - wanted).abs() <= 3e-9 / 2048.0, "{sum} {wanted}");
        }
        let mut sums = [0.0; 2];
        add(&pack(&[f32::INFINITY, 1.0]), &mut sums);
        assert_eq!(sums, [f32::INFINITY, 1.0]);
        let mut sums = [1.0; 2];
        add(&pack(&[0.0, 0.0]), &mut sums);
        assert_eq!(sums, [1.0; 2]);
    }
}
