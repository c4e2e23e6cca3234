//! Finds out where numbers that are not finite begin: in a weight, or in a computation with weights that are finite.
//!
//! A computation that failed is run again while its device watches what every dispatch writes:
//! [`broken_weight`] first, then [`watch`], the computation, and [`origin`].

use crate::{
    Error, Result,
    error::Origin,
    gpu::{Gpu, watch::FirstNotFinite},
    ops::{packed::rows::unpack, weight::Weight},
    tensor::{DType, Tensor},
};

/// Rows of a packed matrix that are unpacked at a time.
const ROWS: usize = 1024;

/// The buffers of a weight.
fn tensors(weight: &Weight) -> Vec<&Tensor> {
    match weight {
        Weight::Plain(plain) => vec![plain],
        Weight::Mixed { master, half } => vec![master, half],
        Weight::Packed(packed) => packed.pieces().iter().map(|piece| &piece.words).collect(),
    }
}

/// The first of `weights` that holds a number that is not finite.
///
/// # Errors
/// Returns the driver's errors.
pub async fn broken_weight(gpu: &Gpu, weights: &[(String, Weight)]) -> Result<Option<String>> {
    gpu.watch_numbers(Vec::new())?;
    // The watch ends even if this fails.
    let checked = check(gpu, weights);
    let found = gpu.first_not_finite().await?;
    checked?;
    Ok(found.map(|found| found.part))
}

fn check(gpu: &Gpu, weights: &[(String, Weight)]) -> Result<()> {
    for (name, weight) in weights {
        gpu.watch_part(|| name.clone(), false);
        match weight {
            Weight::Packed(packed) => {
                for first in (0..packed.rows()).step_by(ROWS) {
                    // What is unpacked is checked as all results are.
                    unpack(packed, first, ROWS.min(packed.rows() - first))?;
                }
            }
            _ => {
                for tensor in tensors(weight) {
                    for piece in tensor.flat_pieces()? {
                        gpu.watch_buffer(piece.bind(), piece.dtype() == DType::F16)?;
                    }
                }
            }
        }
        gpu.submit()?;
    }
    Ok(())
}

/// Begins to watch a computation; places in it are described by the names of `weights`.
///
/// # Errors
/// Returns the driver's errors.
pub fn watch(gpu: &Gpu, weights: &[(String, Weight)]) -> Result<()> {
    let named = |(name, weight): &(String, Weight)| {
        let ranges: Vec<_> = tensors(weight).into_iter().map(|tensor| tensor.bind().into()).collect();
        ranges.into_iter().map(|range| (name.clone(), range)).collect::<Vec<_>>()
    };
    gpu.watch_numbers(weights.iter().flat_map(named).collect())
}

/// Ends the watch of a computation that was recorded, or failed with `result`.
///
/// # Errors
/// Returns the driver's errors, and the error that the computation failed with.
pub async fn origin(gpu: &Gpu, result: Result<()>) -> Result<Origin> {
    let found = gpu.first_not_finite().await?;
    match result {
        Ok(()) | Err(Error::NotNumbers { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(match found {
        Some(FirstNotFinite { kernel, after, part }) => Origin::Computed { kernel, after, part },
        None => Origin::Vanished,
    })
}
