//! The linear layer, with its activation and residual fused into the product.

use super::{
    activation,
    matmul::{Epilogue, Shape, matmul},
    packed::product::{Activation, FEW, Fused, product},
    reduce, require,
    weight::Weight,
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
/// Packed weights are frozen: gradients flow to `x` only. They multiply a few rows as they are; for many rows, and where
/// gradients are wanted, they are unpacked for the moment, and again in the backward pass.
///
/// # Errors
/// [`crate::Error::Shape`] when the widths disagree.
pub fn linear(tape: &Tape, x: &Tensor, weight: impl Into<Weight>, fuse: Fuse<'_>) -> Result<Tensor> {
    let weight = weight.into();
    let (rows, width, features) = (x.height(), x.width(), weight.rows());
    require(weight.width() == width, "linear", || {
        format!("x {:?}, the weight [{features}, {}]", x.shape(), weight.width())
    })?;
    if let (Weight::Packed(packed), false) = (&weight, tape.is_recording() || rows > FEW) {
        let activation = if fuse.gelu { Activation::Gelu } else { Activation::None };
        return product(x, packed, Fused { norm: None, bias: fuse.bias, activation, residual: fuse.residual });
    }
    let gpu = tape.gpu();
    let mut shape = x.shape().to_vec();
    shape[x.shape().len() - 1] = features;
    let out = Tensor::empty_f32(gpu, &shape)?;
    let before = if fuse.gelu { Some(Tensor::empty_f32(gpu, &shape)?) } else { None };
    let epilogue = Epilogue { bias: fuse.bias, gelu: before.as_ref(), residual: fuse.residual, accumulate: false };
    matmul(Shape::new(rows, features, width).trans_b(), x, &weight.plain()?, &out, epilogue)?;

    let need_weight = weight.tracked(tape);
    let inputs: Vec<_> = [x].into_iter().chain(&need_weight).chain(fuse.bias).chain(fuse.residual).collect();
    let tracked = |tensor: &Tensor| tape.tracks(tensor).then(|| tensor.clone());
    let need_x = tape.tracks(x);
    let (need_bias, need_residual) = (fuse.bias.and_then(tracked), fuse.residual.and_then(tracked));
    let (x, need_weight) = (x.clone(), need_weight.clone());
    tape.push(&inputs, &out, move |gradients, gradient| {
        let inner = match &before {
            Some(before) => activation::gelu_backward(before, &gradient)?,
            None => gradient.clone(),
        };
        if let Some(bias) = need_bias {
            let (slot, accumulate) = gradients.slot(&bias)?;
            reduce::column_sum(&inner, &slot, accumulate)?;
        }
        if let Some(weight) = need_weight {
            let (slot, accumulate) = gradients.slot(&weight)?;
            let epilogue = Epilogue { accumulate, ..Epilogue::default() };
            matmul(Shape::new(features, width, rows).trans_a(), &inner, &x, &slot, epilogue)?;
        }
        if need_x {
            let (slot, accumulate) = gradients.slot(&x)?;
            let epilogue = Epilogue { accumulate, ..Epilogue::default() };
            matmul(Shape::new(rows, width, features), &inner, &weight.plain()?, &slot, epilogue)?;
        }
        drop(inner);
        // Given away last: everything above still reads it.
        need_residual.map_or(Ok(()), |residual| gradients.give(&residual, gradient))
    });
    Ok(out)
}
