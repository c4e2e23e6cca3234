//! The linear layer, with its activation and residual fused into the product.

use super::{
    activation, expect,
    matmul::{Epilogue, Shape, matmul},
    reduce,
};
use crate::{Result, tape::Tape, tensor::Tensor};

/// What is fused into a linear layer.
#[derive(Clone, Copy, Default)]
pub struct Fuse<'a> {
    /// `[out]`
    pub bias: Option<&'a Tensor>,
    /// GELU after the bias.
    pub gelu: bool,
    /// Added last: `[.., out]`.
    pub residual: Option<&'a Tensor>,
}

/// `[residual +] [gelu](x W^T [+ bias])` for `x [.., in]` and `weight [out, in]`: `[.., out]`.
///
/// # Errors
/// [`crate::Error::Shape`] when the widths disagree.
pub fn linear(tape: &Tape, x: &Tensor, weight: &Tensor, fuse: Fuse<'_>) -> Result<Tensor> {
    let (rows, width) = (x.height(), x.width());
    let features = weight.shape()[0];
    expect("linear", "the weight", weight, &[features, width])?;
    let gpu = tape.gpu();
    let mut shape = x.shape().to_vec();
    shape[x.shape().len() - 1] = features;
    let out = Tensor::empty_f32(gpu, &shape)?;
    let before = if fuse.gelu { Some(Tensor::empty_f32(gpu, &shape)?) } else { None };
    let epilogue = Epilogue { bias: fuse.bias, gelu: before.as_ref(), residual: fuse.residual, accumulate: false };
    matmul(Shape::new(rows, features, width).trans_b(), x, weight, &out, epilogue)?;

    let inputs: Vec<_> = [x, weight].into_iter().chain(fuse.bias).chain(fuse.residual).collect();
    let tracked = |tensor: &Tensor| tape.tracks(tensor).then(|| tensor.clone());
    let (need_x, need_weight) = (tape.tracks(x), tape.tracks(weight));
    let (need_bias, need_residual) = (fuse.bias.and_then(tracked), fuse.residual.and_then(tracked));
    let (x, weight) = (x.clone(), weight.clone());
    tape.push(&inputs, &out, move |gradients, gradient| {
        let inner = match &before {
            Some(before) => activation::gelu_backward(before, &gradient)?,
            None => gradient.clone(),
        };
        if let Some(bias) = need_bias {
            let (slot, accumulate) = gradients.slot(&bias)?;
            reduce::column_sum(&inner, &slot, accumulate)?;
        }
        if need_weight {
            let (slot, accumulate) = gradients.slot(&weight)?;
            let epilogue = Epilogue { accumulate, ..Epilogue::default() };
            matmul(Shape::new(features, width, rows).trans_a(), &inner, &x, &slot, epilogue)?;
        }
        if need_x {
            let (slot, accumulate) = gradients.slot(&x)?;
            let epilogue = Epilogue { accumulate, ..Epilogue::default() };
            matmul(Shape::new(rows, width, features), &inner, &weight, &slot, epilogue)?;
        }
        drop(inner);
        // Given away last: everything above still reads it.
        need_residual.map_or(Ok(()), |residual| gradients.give(&residual, gradient))
    });
    Ok(out)
}
