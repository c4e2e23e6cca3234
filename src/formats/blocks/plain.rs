//! Formats without blocks.

use half::slice::HalfFloatSliceExt;

// Values are read in native byte order; files are little-endian.
const _: () = assert!(cfg!(target_endian = "little"));

pub(super) fn f32(bytes: &[u8], out: &mut [f32]) {
    bytemuck::cast_slice_mut(out).copy_from_slice(bytes);
}

pub(super) fn f16(bytes: &[u8], out: &mut [f32]) {
    // The slice conversion uses vector instructions, but needs aligned values.
    match bytemuck::try_cast_slice::<u8, half::f16>(bytes) {
        Ok(halves) => halves.convert_to_f32_slice(out),
        Err(_) => pairs(bytes, out, |pair| half::f16::from_le_bytes(pair).to_f32()),
    }
}

pub(super) fn bf16(bytes: &[u8], out: &mut [f32]) {
    pairs(bytes, out, |[low, high]| f32::from_bits(u32::from_le_bytes([0, 0, low, high])));
}

fn pairs(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; 2]) -> f32) {
    for (out, &pair) in out.iter_mut().zip(bytes.as_chunks().0) {
        *out = value(pair);
    }
}
