//! Low-rank adapters of a model (Hu et al. 2021): the base's weights stay as they are, plain or packed, and only the
//! adapters are trained. Here is their shape; [`Gpt::attach_lora`](super::Gpt::attach_lora) puts them beside a model's
//! layers. The base stays usable: [`Pass::reference`](super::gpt::Pass::reference) leaves the adapters out.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    config::Config,
    parameters::{self, Init, ParameterSpec},
};
use crate::{Error, Result};

/// A kind of linear layer, which every block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Queries, keys and values together: one A for all three.
    Qkv,
    /// The attention's output.
    Out,
    /// The first layer of the MLP (with SwiGLU, gate and up together).
    Up,
    /// The second layer of the MLP.
    Down,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Qkv, Self::Out, Self::Up, Self::Down];

    /// The name as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qkv => "qkv",
            Self::Out => "out",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// The layer's name in a block's parameters.
    pub(super) fn layer(self) -> &'static str {
        match self {
            Self::Qkv => "attention.qkv",
            Self::Out => "attention.out",
            Self::Up => "mlp.up",
            Self::Down => "mlp.down",
        }
    }

    /// Parses a list such as `qkv,out`; `all` means all targets.
    ///
    /// # Errors
    /// [`Error::Config`] naming the unknown target.
    pub fn parse(list: &str) -> Result<Vec<Self>> {
        if list.trim() == "all" {
            return Ok(Self::ALL.to_vec());
        }
        let parse = |name: &str| {
            let found = Self::ALL.into_iter().find(|target| target.name() == name.trim());
            found.ok_or_else(|| Error::Config(format!("LoRA target '{name}': give qkv, out, up, down, or all")))
        };
        let mut targets = list.split(',').map(parse).collect::<Result<Vec<_>>>()?;
        targets.sort_unstable();
        targets.dedup();
        Ok(targets)
    }
}

/// The shape of a model's adapters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    /// Inner dimension.
    pub rank: usize,
    /// An adapter's product is scaled by alpha / rank.
    pub alpha: f32,
    /// The layers that have adapters.
    pub targets: Vec<Target>,
    /// How many of the last blocks have adapters; `None` for all. Blocks before them need no backward pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<usize>,
}

/// The model that adapters were made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its path at the time.
    pub path: PathBuf,
    /// A fingerprint that identifies its weights.
    pub fingerprint: String,
}

/// Adapters: their shape, and the model that they belong to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    /// Rank, alpha, targets.
    #[serde(flatten)]
    pub config: LoraConfig,
    /// The base.
    pub base: Base,
}

impl LoraConfig {
    /// alpha / rank.
    pub fn scale(&self) -> f32 {
        self.alpha / self.rank as f32
    }

    /// Refuses adapters that a model with `config` cannot have.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting and what would do.
    pub fn validate(&self, config: &Config) -> Result<()> {
        if self.rank == 0 || self.rank > config.width {
            let reason = format!("LoRA rank {}: give 1 to {}, the model's width", self.rank, config.width);
            return Err(Error::Config(reason));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(Error::Config(format!("LoRA alpha {}: give a positive number", self.alpha)));
        }
        if self.targets.is_empty() {
            return Err(Error::Config("LoRA without targets: give some of qkv, out, up, down, or all".to_string()));
        }
        let twice = (1..self.targets.len()).find(|index| self.targets[..*index].contains(&self.targets[*index]));
        if let Some(index) = twice {
            return Err(Error::Config(format!("LoRA target '{}' is given twice", self.targets[index].name())));
        }
        if let Some(last) = self.last.filter(|last| *last == 0 || *last > config.layers) {
            let reason = format!("LoRA in the last {last} blocks: give 1 to {}, the model's blocks", config.layers);
            return Err(Error::Config(reason));
        }
        Ok(())
    }

    /// The adapters of a model with `config`, in a fixed order: `blocks.0.attention.qkv.lora_a [rank, in]`, then
    /// `blocks.0.attention.qkv.lora_b [out, rank]`, and so on.
    ///
    /// They are initialised as in peft and loralib: A is uniform within 1 / sqrt(in) (`kaiming_uniform_(a=sqrt(5))`)
    /// and B is 0, so that the model starts out equal to its base.
    pub fn specs(&self, config: &Config) -> Vec<ParameterSpec> {
        let first = config.layers - self.last.unwrap_or(config.layers).min(config.layers);
        let adapter = |spec: ParameterSpec| {
            let name = spec.name.strip_suffix(".weight")?;
            let (block, layer) = name.strip_prefix("blocks.")?.split_once('.')?;
            if block.parse::<usize>().is_ok_and(|block| block < first) {
                return None;
            }
            self.targets.iter().find(|target| target.layer() == layer)?;
            let (features, width) = (spec.shape[0], spec.shape[1]);
            let bound = 1.0 / (width as f32).sqrt();
            let (a, b) = (format!("{name}.lora_a"), format!("{name}.lora_b"));
            Some([
                ParameterSpec { name: a, shape: vec![self.rank, width], init: Init::Uniform(bound) },
                ParameterSpec { name: b, shape: vec![features, self.rank], init: Init::Constant(0.0) },
            ])
        };
        parameters::specs(config).into_iter().filter_map(adapter).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_named_once_and_in_order() {
        assert_eq!(Target::parse("down, qkv,down").unwrap(), [Target::Qkv, Target::Down]);
        assert_eq!(Target::parse("all").unwrap(), Target::ALL);
        assert!(Target::parse("qkv,k").unwrap_err().to_string().contains("'k'"));
    }

    #[test]
    fn adapters_have_the_shapes_of_their_layers() {
        let config = Config { kv_heads: 2, ..Config::llama(65, 16, 2, 4, 32) };
        let lora = LoraConfig { rank: 3, alpha: 6.0, targets: vec![Target::Qkv, Target::Down], last: None };
        let specs = lora.specs(&config);
        let named = |index: usize| (&specs[index].name[..], &specs[index].shape[..]);
        let names = |specs: &[ParameterSpec]| specs.iter().map(|spec| spec.name.clone()).collect::<Vec<_>>();
        assert_eq!(specs.len(), 8);
        assert_eq!(named(0), ("blocks.0.attention.qkv.lora_a", &[3, 32][..]));
        assert_eq!(named(1), ("blocks.0.attention.qkv.lora_b", &[64, 3][..]));
        assert_eq!(named(6), ("blocks.1.mlp.down.lora_a", &[3, config.hidden][..]));
        let a = specs[0].values(1, 1);
        assert!(a.iter().all(|x| x.abs() <= 1.0 / 32f32.sqrt()) && a.iter().any(|x| x.abs() > 0.15));
        let last = LoraConfig { last: Some(1), ..lora.clone() };
        assert_eq!(names(&last.specs(&config)), names(&specs[4..]));
        assert!(LoraConfig { last: Some(3), ..lora.clone() }.validate(&config).is_err());
        assert!(LoraConfig { rank: 33, ..lora.clone() }.validate(&config).is_err());
        let twice = LoraConfig { targets: vec![Target::Up, Target::Qkv, Target::Up], ..lora }.validate(&config);
        assert!(twice.unwrap_err().to_string().contains("'up' is given twice"));
    }
}
