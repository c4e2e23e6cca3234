//! The adapter's rooflines for arithmetic and memory, and how much of either a dispatch needs.

use crate::{
    Result, binds,
    gpu::{Constant, Gpu, imagine::Work},
    kernels, params,
    tensor::Tensor,
};

kernels! {
    /// Chains of multiply-adds.
    FMA_RATE = "fma_rate";
}

const GROUPS: usize = 256;
const LANES: usize = 64;
const ROUNDS: usize = 4096;
/// Floating-point operations of a round; a multiply-add counts as two.
const FLOP_PER_ROUND: usize = 64;

/// Multiply-adds in registers, enough to occupy the whole adapter.
pub struct MultiplyAdds(Tensor);

impl MultiplyAdds {
    /// FLOP of one [`MultiplyAdds::run`].
    pub const FLOP: u64 = GROUPS as u64 * LANES as u64 * FLOP_PER_ROUND as u64 * ROUNDS as u64;

    /// Allocates memory for the result.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self(Tensor::empty_f32(gpu, &[GROUPS * LANES])?))
    }

    /// What the last dispatch wrote, one number per invocation.
    pub fn result(&self) -> &Tensor {
        &self.0
    }

    /// Records one dispatch.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn run(&self) -> Result<()> {
        let params = params![rounds: ROUNDS, factor: 0.5f32];
        self.0.gpu().run(&FMA_RATE.plain(), binds![out: self.0.bind()], params, [GROUPS as u32, 1, 1])
    }
}

/// The most that the adapter can do.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Roofs {
    /// Floating-point operations per second, for multiply-adds in registers.
    pub flop: f64,
    /// Bytes per second, read and written by a copying kernel.
    pub bytes: f64,
}

/// Bytes of the copied tensor, more than caches hold.
const COPIED: usize = 64 << 20;

impl Roofs {
    /// Measures them; takes about half a second on two processor cores, and next to no time on a GPU.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] and the driver's errors.
    pub async fn measure(gpu: &Gpu) -> Result<Self> {
        let products = MultiplyAdds::new(gpu)?;
        let flop = MultiplyAdds::FLOP as f64 / gpu.time(5, 1, || products.run()).await?;
        let (from, to) = (Tensor::zeros(gpu, &[COPIED / 4])?, Tensor::zeros(gpu, &[COPIED / 4])?);
        let bytes = 2.0 * COPIED as f64 / gpu.time(5, 1, || from.scale_into(&to, 1.0, false)).await?;
        Ok(Self { flop, bytes })
    }

    /// The minimum number of seconds for `flop` operations and `bytes` bytes.
    pub fn least(&self, flop: f64, bytes: f64) -> f64 {
        (flop / self.flop).max(bytes / self.bytes)
    }
}

/// Floating-point operations of the products in one dispatch; 0 for memory-bound kernels. Attention counts only what is
/// below the diagonal.
pub fn flop(work: &Work) -> f64 {
    let param = |name| f64::from(work.param(name).unwrap_or(0));
    let [_, heads, batch] = work.grid.map(f64::from);
    let products = match work.variant.kernel.name {
        "attention_forward" | "attention_block_forward" => 2.0,
        "attention_backward_q" | "attention_block_backward_q" => 3.0,
        // For every query head, although the grid is over key-value heads.
        "attention_backward_kv" | "attention_block_backward_kv" => 4.0 * param("heads") / param("kv_heads").max(1.0),
        _ => return 2.0 * param("batch") * param("m") * param("n") * param("k"),
    };
    let dim = work.variant.constants.iter().find_map(|(name, value)| match value {
        Constant::Uint(fourth) if *name == "D4" => Some(4.0 * f64::from(*fourth)),
        _ => None,
    });
    products * param("context").powi(2) * dim.unwrap_or(0.0) * heads * batch
}
