//! The options of low-rank adapters, for every command that tunes a model.

use clap::Args;

use wgpt::{
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
    /// Adapters in so many of the last blocks only: less time and memory per step [default: in all]
    #[arg(long, value_name = "BLOCKS", requires = "lora_rank")]
    lora_last: Option<usize>,
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
        Ok(Some(LoraConfig { rank, alpha, targets, last: self.lora_last }))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        lora: LoraArguments,
    }

    fn parse(arguments: &[&str]) -> Result<Option<LoraConfig>, String> {
        let all = ["tune"].iter().chain(arguments);
        let program = Program::try_parse_from(all).map_err(|error| error.to_string())?;
        program.lora.config().map_err(|error| error.to_string())
    }

    #[test]
    fn rank_asks_for_adapters_and_the_rest_has_defaults() {
        assert_eq!(parse(&[]), Ok(None));
        let all = LoraConfig { rank: 8, alpha: 16.0, targets: Target::ALL.to_vec(), last: None };
        assert_eq!(parse(&["--lora-rank", "8"]), Ok(Some(all)));
        let some = LoraConfig { rank: 4, alpha: 1.5, targets: vec![Target::Qkv, Target::Out], last: Some(2) };
        let given = ["--lora-rank", "4", "--lora-alpha", "1.5", "--lora-targets", "out,qkv", "--lora-last", "2"];
        assert_eq!(parse(&given), Ok(Some(some)));
        assert!(parse(&["--lora-alpha", "8"]).unwrap_err().contains("--lora-rank"));
        assert!(parse(&["--lora-rank", "0"]).unwrap_err().contains("give at least 1"));
        assert!(parse(&["--lora-rank", "4", "--lora-targets", "head"]).unwrap_err().contains("'head'"));
    }
}
