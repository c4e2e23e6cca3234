//! Operations on tensors, a file per family. Each checks shapes, dispatches its kernels and, if the tape records,
//! pushes its backward pass right beside the forward one.

pub mod activation;
pub mod attention;
pub mod cross_entropy;
pub mod elementwise;
pub mod embedding;
pub mod gather;
pub mod head;
pub mod head_norm;
pub mod kv;
pub mod linear;
pub mod lora;
pub mod losses;
pub mod matmul;
pub mod norm;
pub mod optimizer;
pub mod packed;
pub mod reduce;
pub mod roofline;
pub mod rope;
pub mod row_sum;
pub mod rows;
pub mod sample;
pub mod softmax;
pub mod token_logprobs;
pub mod tuning;
pub mod weight;

use crate::{Error, Result, tensor::Tensor};

/// The names by which variants can be left unused ([`crate::gpu::Capabilities::unused`]): their own, and the kernel's
/// name in families with several kernels. If no variant of a family is left, its last resort is used all the same.
pub fn variant_names() -> Vec<&'static str> {
    let products = matmul::variants::VARIANTS.iter().flat_map(|spec| [spec.kernel.name, spec.name]);
    let packed = packed::variants::VARIANTS.iter().flat_map(|spec| [spec.kernel.name, spec.name]);
    let attention = attention::variants::VARIANTS.iter().map(|spec| spec.name);
    let others = kv::decode::VARIANTS.iter().map(|spec| spec.name).chain(rows::PLANS.iter().map(|plan| plan.name));
    let mut names = Vec::new();
    for name in products.chain(attention).chain(packed).chain(others) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Refuses operands that an operation cannot work on; `reason` is only built when it is needed.
///
/// # Errors
/// [`Error::Shape`] unless the condition `holds`.
pub fn require(holds: bool, op: &'static str, reason: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::shape(op, reason())) }
}

/// Refuses a tensor, called `name` in the message, whose shape is not `shape`.
///
/// # Errors
/// [`Error::Shape`].
pub fn expect(op: &'static str, name: &str, tensor: &Tensor, shape: &[usize]) -> Result<()> {
    require(tensor.shape() == shape, op, || format!("{name} is {:?}, expected {shape:?}", tensor.shape()))
}
