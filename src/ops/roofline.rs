//! The adapter's roof for arithmetic, to hold kernels against.

use crate::{Result, binds, gpu::Gpu, kernels, params, tensor::Tensor};

kernels! {
    /// Chains of multiply-adds.
    FMA_RATE = "fma_rate";
}

const GROUPS: usize = 256;
const LANES: usize = 64;
const ROUNDS: usize = 4096;
/// Multiply-adds of a round count twice.
const FLOP_PER_ROUND: usize = 64;

/// Multiply-adds in registers, as many as the adapter can do at once.
pub struct MultiplyAdds(Tensor);

impl MultiplyAdds {
    /// FLOP of one [`MultiplyAdds::run`].
    pub const FLOP: u64 = (GROUPS * LANES * FLOP_PER_ROUND * ROUNDS) as u64;

    /// Makes room for its result.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self(Tensor::empty_f32(gpu, &[GROUPS * LANES])?))
    }

    /// Records one dispatch.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn run(&self) -> Result<()> {
        let params = params![rounds: ROUNDS, factor: 0.5f32];
        self.0.gpu().run(&FMA_RATE.plain(), binds![out: self.0.bind()], params, [GROUPS as u32, 1, 1])
    }
}
