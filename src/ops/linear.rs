//! The linear layer, with activation and residual fused into the product, and an optional adapter beside its weight.

use super::{
    activation,
    lora::Adapter,
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
    /// Applies GELU, after the bias and the adapter.
    pub gelu: bool,
    /// Added last: `[.., out]`.
    pub residual: Option<&'a Tensor>,
    /// Added to the product before GELU.
    pub adapter: Option<&'a Adapter>,
}

/// `[residual +] [gelu](x W^T [+ bias] [+ scale x A^T B^T])` for `x [.., in]` and `weight [out, in]`: `[.., out]`.
///
/// f16 activations stay f16, except when a residual, which is f32, is added to them.
///
/// Packed weights are frozen: gradients flow to `x` only. They multiply a few rows as they are; for many rows, or when
/// gradients are needed, they are unpacked temporarily, and again in the backward pass. With an adapter, GELU is a
/// separate dispatch, because the adapter's part is added to the stored product.
///
/// # Errors
/// [`crate::Error::Shape`] when the widths disagree.
pub fn linear(tape: &Tape, x: &Tensor, weight: impl Into<Weight>, fuse: Fuse<'_>) -> Result<Tensor> {
    let weight = weight.into();
    let (rows, width, features) = (x.height(), x.width(), weight.rows());
    require(weight.width() == width, "linear", || {
        format!("x {:?}, the weight [{features}, {}]", x.shape(), weight.width())
    })?;
    require(!(fuse.gelu && fuse.residual.is_some() && fuse.adapter.is_some()), "linear", || {
        "GELU, a residual and an adapter at once".to_string()
    })?;
    if let (Weight::Packed(packed), false) = (&weight, tape.is_recording() || rows > FEW) {
        let gelu = fuse.gelu && fuse.adapter.is_none();
        let activation = if gelu { Activation::Gelu } else { Activation::None };
        let out = product(x, packed, Fused { norm: None, bias: fuse.bias, activation, residual: fuse.residual })?;
        let Some(adapter) = fuse.adapter else { return Ok(out) };
        adapter.add(x, &out)?;
        return if fuse.gelu { activation::gelu(&out) } else { Ok(out) };
    }
    let gpu = tape.gpu();
    let mut shape = x.shape().to_vec();
    shape[x.shape().len() - 1] = features;
    let mut out = Tensor::empty(gpu, &shape, fuse.residual.map_or(x.dtype(), Tensor::dtype))?;
    let fused_gelu =
        if fuse.gelu && fuse.adapter.is_none() { Some(Tensor::empty(gpu, &shape, x.dtype())?) } else { None };
    let epilogue = Epilogue { bias: fuse.bias, gelu: fused_gelu.as_ref(), residual: fuse.residual, accumulate: false };
    matmul(Shape::new(rows, features, width).trans_b(), x, &weight.operand(x)?, &out, epilogue)?;
    let adapter = fuse.adapter.map(|adapter| Ok::<_, crate::Error>((adapter.clone(), adapter.add(x, &out)?)));
    let adapter = adapter.transpose()?;
    // The values before GELU, for its backward pass.
    let before = match &adapter {
        Some(_) if fuse.gelu => {
            let active = activation::gelu(&out)?;
            Some(std::mem::replace(&mut out, active))
        }
        _ => fused_gelu,
    };

    let need_weight = weight.tracked(tape);
    let leaves = fuse.adapter.iter().flat_map(|adapter| [&adapter.a, &adapter.b]);
    let inputs: Vec<_> =
        [x].into_iter().chain(&need_weight).chain(fuse.bias).chain(fuse.residual).chain(leaves).collect();
    let tracked = |tensor: &Tensor| tape.tracks(tensor).then(|| tensor.clone());
    let (need_x, need_leaves) = (tape.tracks(x), fuse.adapter.is_some_and(|adapter| tape.tracks(&adapter.a)));
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
        if let Some((adapter, down)) = adapter {
            adapter.backward(gradients, &x, &down, &inner, (need_leaves, need_x))?;
        }
        if need_x {
            let (slot, accumulate) = gradients.slot(&x)?;
            let epilogue = Epilogue { accumulate, ..Epilogue::default() };
            matmul(Shape::new(rows, width, features), &inner, &weight.operand(&x)?, &slot, epilogue)?;
        }
        drop(inner);
        // Given away last, because everything above still reads it.
        need_residual.map_or(Ok(()), |residual| gradients.give(&residual, gradient))
    });
    Ok(out)
}
