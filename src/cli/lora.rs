//! The options of low-rank adapters, for every command that tunes a model.

use clap::Args;

use crate::{
    Error, Result,
    model::lora::{LoraConfig, Target},
};

/// Whether to train adapters, and which.
#[derive(Clone, Debug, Args)]
pub struct LoraArguments {
    /// Train low-rank adapters of this rank (LoRA) and leave the model's weights as they are, quantised or not
    #[arg(long, value_name = "RANK")]
    lora_rank: Option<usize>,
    /// Adapters are scaled by alpha / rank [default: twice the rank]
    #[arg(long, value_name = "ALPHA", requires = "lora_rank")]
    lora_alpha: Option<f32>,
    /// Layers with an adapter: some of qkv,out,up,down, or all [default: all]
    #[arg(long, value_name = "LAYERS", requires = "lora_rank")]
    lora_targets: Option<String>,
}

impl LoraArguments {
    /// The adapters that were asked for, if any were.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the option.
    pub fn config(&self) -> Result<Option<LoraConfig>> {
        let Some(rank) = self.lora_rank else { return Ok(None) };
        if rank == 0 {
            return Err(Error::Usage("--lora-rank 0: give at least 1".to_string()));
        }
        let alpha = self.lora_alpha.unwrap_or(2.0 * rank as f32);
        let targets = Target::parse(self.lora_targets.as_deref().unwrap_or("all"))?;
        Ok(Some(LoraConfig { rank, alpha, targets }))
    }
}
