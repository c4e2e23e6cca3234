//! Converts blocks of stored values to f32 and back, with ggml's formulas in ggml's order of operations.

mod by256;
mod by32;
mod q4k;

use half::slice::HalfFloatSliceExt;

use super::Format;
use crate::{Error, Result};

/// Converts whole blocks to f32.
///
/// # Panics
/// If `bytes` does not have exactly the size of `out.len()` elements in whole blocks.
pub fn dequantise(format: Format, bytes: &[u8], out: &mut [f32]) {
    assert!(out.len() % format.block() == 0, "{} elements are no whole blocks of {format}", out.len());
    assert_eq!(bytes.len(), format.row_bytes(out.len()), "bytes of {} elements of {format}", out.len());
    match format {
        Format::F32 => plain_f32(bytes, out),
        Format::F16 => plain_f16(bytes, out),
        Format::BF16 => plain_bf16(bytes, out),
        Format::Q8_0 => each(bytes, out, by32::q8_0),
        Format::Q4_0 => each(bytes, out, by32::q4_0),
        Format::Q4_1 => each(bytes, out, by32::q4_1),
        Format::Q5_0 => each(bytes, out, by32::q5_0),
        Format::Q5_1 => each(bytes, out, by32::q5_1),
        Format::Q4K => each(bytes, out, by256::q4k),
        Format::Q5K => each(bytes, out, by256::q5k),
        Format::Q6K => each(bytes, out, by256::q6k),
    }
}

/// Converts values to F32, F16, BF16 (rounded to nearest even), Q8_0, Q4_1 (rounded as ggml's reference does) or Q4_K
/// (ggml's search for scales and offsets, `q4k.rs`).
///
/// # Errors
/// [`Error::Usage`] for formats that wgpt only reads; [`Error::Shape`] if the number of values is not a multiple of the
/// block size, or if a value that would share a scale is not finite.
pub fn quantise(format: Format, values: &[f32]) -> Result<Vec<u8>> {
    const OP: &str = "quantise";
    if values.len() % format.block() != 0 {
        let reason = format!("{} values are no whole blocks of {} ({format})", values.len(), format.block());
        return Err(Error::shape(OP, reason));
    }
    if format.is_quantised() && !values.iter().all(|x| x.is_finite()) {
        return Err(Error::shape(OP, format!("{format} holds finite values only; these have an infinity or a NaN")));
    }
    let bytes = match format {
        Format::F32 => bytemuck::cast_slice(values).to_vec(),
        Format::F16 => values.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect(),
        Format::BF16 => values.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect(),
        Format::Q8_0 => values.as_chunks().0.iter().flat_map(by32::to_q8_0).collect(),
        Format::Q4_1 => values.as_chunks().0.iter().flat_map(by32::to_q4_1).collect(),
        Format::Q4K => values.as_chunks().0.iter().flat_map(q4k::to_q4k).collect(),
        other => {
            let reason =
                format!("wgpt reads {other} but does not write it; it writes F32, F16, BF16, Q8_0, Q4_1, Q4_K");
            return Err(Error::Usage(reason));
        }
    };
    Ok(bytes)
}

/// Calls `block` for each block of `BYTES` bytes and `WIDTH` elements.
fn each<const BYTES: usize, const WIDTH: usize>(
    bytes: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [f32; WIDTH]),
) {
    for (bytes, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        block(bytes, out);
    }
}

/// The f16 at `bytes[at..at + 2]`.
fn half_at(bytes: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

// Values are read in native byte order; files are little-endian.
const _: () = assert!(cfg!(target_endian = "little"));

fn plain_f32(bytes: &[u8], out: &mut [f32]) {
    bytemuck::cast_slice_mut(out).copy_from_slice(bytes);
}

fn plain_f16(bytes: &[u8], out: &mut [f32]) {
    // The slice conversion uses vector instructions, but needs aligned values.
    match bytemuck::try_cast_slice::<u8, half::f16>(bytes) {
        Ok(halves) => halves.convert_to_f32_slice(out),
        Err(_) => pairs(bytes, out, |pair| half::f16::from_le_bytes(pair).to_f32()),
    }
}

fn plain_bf16(bytes: &[u8], out: &mut [f32]) {
    pairs(bytes, out, |[low, high]| f32::from_bits(u32::from_le_bytes([0, 0, low, high])));
}

fn pairs(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; 2]) -> f32) {
    for (out, &pair) in out.iter_mut().zip(bytes.as_chunks().0) {
        *out = value(pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn gaussian(count: usize) -> Vec<f32> {
        (0..count).map(|i| random::normal(7, 0, i as u64)).collect()
    }

    fn there_and_back(format: Format, values: &[f32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; values.len()];
        dequantise(format, &quantise(format, values).unwrap(), &mut out);
        out
    }

    /// The root of the mean squared error, relative to the values' standard deviation of 1.
    #[test]
    fn errors_are_those_of_the_number_of_bits() {
        let values = gaussian(256 * 64);
        let bounds = [
            (Format::F32, 0.0),
            (Format::F16, 3e-4),
            (Format::BF16, 2.5e-3),
            (Format::Q8_0, 6e-3),
            (Format::Q4_1, 0.09),
            (Format::Q4K, 0.075),
        ];
        for (format, bound) in bounds {
            let back = there_and_back(format, &values);
            let squares: f64 = values.iter().zip(&back).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let error = (squares / values.len() as f64).sqrt();
            assert!(error <= bound, "{format}: {error}");
            assert!(error >= bound / 2.0, "{format}: {error} is too good for the bound {bound}");
        }
    }

    #[test]
    fn zeros_constants_and_tiny_values_stay() {
        for format in [Format::Q8_0, Format::Q4_1, Format::Q4K] {
            assert!(there_and_back(format, &[0.0; 256]).iter().all(|&x| x == 0.0), "{format}");
            for value in [-0.75f32, 0.75, 1e-30] {
                let back = there_and_back(format, &[value; 256]);
                assert!(back.iter().all(|x| (x - value).abs() <= 0.01 * value.abs().max(1e-4)), "{format} {value}");
            }
        }
    }

    #[test]
    fn what_cannot_be_stored_is_an_error() {
        assert!(quantise(Format::Q4K, &[0.0; 255]).is_err());
        assert!(quantise(Format::Q8_0, &[f32::NAN; 32]).is_err());
        assert!(quantise(Format::Q5K, &[0.0; 256]).unwrap_err().to_string().contains("Q5_K"));
    }
}
