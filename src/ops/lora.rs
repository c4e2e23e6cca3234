//! Low-rank adapters, added to a linear layer's product (Hu et al. 2021, "LoRA").
//!
//! `y += scale B (A x)` with `A [rank, in]`, `B [out, rank]` and `scale = alpha / rank`. Only A and B are trained, so
//! the layer's weight may be packed.

use super::{
    matmul::{Epilogue, Shape, matmul},
    require,
};
use crate::{Result, tape::Gradients, tensor::Tensor};

/// The adapter of one linear layer.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// `[rank, in]`
    pub a: Tensor,
    /// `[out, rank]`
    pub b: Tensor,
    /// alpha / rank.
    pub scale: f32,
}

impl Adapter {
    fn rank(&self) -> usize {
        self.a.shape()[0]
    }

    /// Adds `scale x A^T B^T` to `out [.., out]` for `x [.., in]`; returns `scale x A^T [rows, rank]`, which the
    /// backward pass needs.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the widths disagree.
    pub fn add(&self, x: &Tensor, out: &Tensor) -> Result<Tensor> {
        let (rows, width, features, rank) = (x.height(), x.width(), out.width(), self.rank());
        require(self.a.width() == width && self.b.shape() == [features, rank], "lora", || {
            let (a, b) = (self.a.shape(), self.b.shape());
            format!("A {a:?} and B {b:?} for x {:?} and outputs {:?}", x.shape(), out.shape())
        })?;
        let inner = Tensor::empty_f32(x.gpu(), &[rows, rank])?;
        matmul(Shape::new(rows, rank, width).trans_b(), x, &self.a, &inner, Epilogue::default())?;
        let inner = scaled(&inner, self.scale)?;
        let epilogue = Epilogue { accumulate: true, ..Epilogue::default() };
        matmul(Shape::new(rows, features, rank).trans_b(), &inner, &self.b, out, epilogue)?;
        Ok(inner)
    }

    /// Computes the gradients of A and B (if `need_leaves`) and the adapter's part of the gradient of `x` (if `need_x`) from
    /// the gradient of the layer's sums, `gradient [.., out]`, and what [`Adapter::add`] returned, `inner [rows, rank]`.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn backward(
        &self,
        gradients: &mut Gradients,
        x: &Tensor,
        inner: &Tensor,
        gradient: &Tensor,
        (need_leaves, need_x): (bool, bool),
    ) -> Result<()> {
        let (rows, width, features, rank) = (x.height(), x.width(), gradient.width(), self.rank());
        let mut into = |leaf: &Tensor, shape: Shape, left: &Tensor, right: &Tensor| {
            let (slot, accumulate) = gradients.slot(leaf)?;
            matmul(shape, left, right, &slot, Epilogue { accumulate, ..Epilogue::default() })
        };
        if need_leaves {
            into(&self.b, Shape::new(features, rank, rows).trans_a(), gradient, inner)?;
        }
        let grad_inner = Tensor::empty_f32(x.gpu(), &[rows, rank])?;
        matmul(Shape::new(rows, rank, features), gradient, &self.b, &grad_inner, Epilogue::default())?;
        let grad_inner = scaled(&grad_inner, self.scale)?;
        if need_leaves {
            into(&self.a, Shape::new(rank, width, rows).trans_a(), &grad_inner, x)?;
        }
        if need_x {
            into(x, Shape::new(rows, width, rank), &grad_inner, &self.a)?;
        }
        Ok(())
    }
}

fn scaled(x: &Tensor, factor: f32) -> Result<Tensor> {
    let out = Tensor::empty_f32(x.gpu(), x.shape())?;
    x.scale_into(&out, factor, false)?;
    Ok(out)
}
