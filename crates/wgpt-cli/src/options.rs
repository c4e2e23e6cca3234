//! Options shared by several commands: sampling, loading a model, fine-tuning a model.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Shared, output, ranks::RankArguments};
use wgpt::{
    Error, Result,
    formats::{Format, gguf::GgufFile, quantise},
    gpu::Gpu,
    infer::sampler::Sampling,
    interchange::{TextCodec, gguf, load},
    io::checkpoint,
    model::{
        Config, Gpt,
        build::Storage,
        lora::{LoraConfig, Target},
    },
    ops::kv::decode,
    optim::{AdamW, Schedule},
    text::{Corpus, DataFile, chat},
    train::{
        Settings,
        settings::{Common, Precision},
        state,
        trainer::Trainer,
    },
};

/// How the next token is sampled.
#[derive(Clone, Debug, Args)]
pub(super) struct SamplingArguments {
    /// Sampling temperature: 0 always takes the best token, higher values are more random
    #[arg(long, default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f32,
    /// Sample from this many best tokens only; 0 for all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Sample from the best tokens that together have this probability
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f32,
    /// Sample from tokens with at least this probability, relative to the best
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Penalise the tokens among the last 64; 1 for no penalty
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    repetition_penalty: f32,
    /// Random seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl SamplingArguments {
    /// The random seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The settings, checked.
    pub fn sampling(&self) -> Result<Sampling> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
        };
        sampling.validate()?;
        Ok(sampling)
    }
}

/// How a model is stored in GPU memory.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct LoadArguments {
    /// Store matrices as F32, F16, BF16, Q8_0, Q4_1 or Q4_K [default: as the file stores them]
    #[arg(long, value_name = "FORMAT")]
    weights: Option<String>,
    /// Store keys and values in half precision: half the memory per token
    #[arg(long)]
    cache_f16: bool,
}

impl LoadArguments {
    /// How the matrices are stored.
    pub fn storage(&self) -> Result<Storage> {
        let Some(name) = &self.weights else { return Ok(Storage::AsStored) };
        let format = Format::from_name(name).filter(|format| quantise(*format, &[]).is_ok());
        let unknown = || Error::Usage(format!("--weights {name}: give F32, F16, BF16, Q8_0, Q4_1 or Q4_K"));
        format.map(Storage::As).ok_or_else(unknown)
    }

    /// The precision of the key-value cache.
    pub fn precision(&self) -> decode::Precision {
        if self.cache_f16 { decode::Precision::Half } else { decode::Precision::Single }
    }
}

/// The chat template, where the model's own is missing or wrong.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct TemplateArgument {
    /// Chat template to use instead of the model's own: a file in Jinja, or chatml, llama3, gemma or zephyr
    #[arg(long, value_name = "FILE|NAME")]
    chat_template: Option<String>,
}

impl TemplateArgument {
    /// Replaces the template of `codec`, if one was given.
    pub fn apply(&self, codec: &mut TextCodec) -> Result<()> {
        let Some(given) = &self.chat_template else { return Ok(()) };
        let template = match chat::named(given) {
            Some(template) => template.to_string(),
            None if Path::new(given).exists() => DataFile::open(Path::new(given))?.text_within(chat::LONGEST as u64)?,
            None => {
                let reason = "no such file; give one, or chatml, llama3, gemma or zephyr";
                return Err(Error::Usage(format!("--chat-template {given}: {reason}")));
            }
        };
        codec.conventions.template = Some(template);
        codec.conventions.chat(&codec.tokenizer).map(drop)
    }
}

impl Shared {
    /// Says which files of a folder of texts are left out.
    pub(super) fn say_skipped(&self, corpus: &Corpus) {
        let names = corpus.skipped().iter().filter_map(|path| Some(path.file_name()?.to_string_lossy()));
        let names: Vec<_> = names.map(|name| output::harmless(&name)).collect();
        if !names.is_empty() {
            let more = if names.len() > 5 { format!(" and {} more", names.len() - 5) } else { String::new() };
            self.say(format_args!(
                "left out, as they are neither texts nor records: {}{more}",
                names[..names.len().min(5)].join(", ")
            ));
        }
    }

    /// The model at `path` and its codec.
    pub(super) fn load(&self, gpu: &Gpu, path: &Path, how: &LoadArguments) -> Result<(Gpt, TextCodec)> {
        let storage = how.storage()?;
        // The tokenizer first: it is small, so problems with it show at once.
        let codec = TextCodec::open(path)?;
        if GgufFile::is_gguf(path)
            && let Some(remark) = gguf::assumed(&GgufFile::open(path)?)
        {
            self.say(format_args!("{}: {remark}", path.display()));
        }
        let bar = output::bar(0, self.quiet);
        bar.set_message("loading");
        let model = load::frozen(gpu, path, storage, |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        Ok((model, codec))
    }
}

/// Full or mixed precision.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct PrecisionArgument {
    /// Precision of activations and of the weights that they are multiplied with; f16 keeps f32 master weights and
    /// scales the loss
    #[arg(long, value_enum, default_value = "f32")]
    precision: Stored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stored {
    F32,
    F16,
}

impl PrecisionArgument {
    /// The requested precision.
    pub fn wanted(self) -> Precision {
        match self.precision {
            Stored::F32 => Precision::F32,
            Stored::F16 => Precision::F16,
        }
    }
}

/// The settings that this adapter can train with; prints a message if they differ from the requested ones.
pub(super) fn on_adapter(shared: &Shared, gpu: &Gpu, settings: Settings) -> Settings {
    settings.on_adapter(gpu.capabilities().f16, || {
        shared.say(format_args!("{} has no f16: training in f32", gpu.description()));
    })
}

/// Whether to train adapters, and with which shape.
#[derive(Clone, Debug, Args)]
pub(super) struct LoraArguments {
    /// Train low-rank adapters of this rank (LoRA) and leave the model's weights as they are, quantised or not
    #[arg(long, value_name = "RANK")]
    lora_rank: Option<usize>,
    /// Adapters are scaled by alpha / rank [default: twice the rank]
    #[arg(long, value_name = "ALPHA", requires = "lora_rank")]
    lora_alpha: Option<f32>,
    /// Layers with an adapter: some of qkv,out,up,down, or all [default: all]
    #[arg(long, value_name = "LAYERS", requires = "lora_rank")]
    lora_targets: Option<String>,
    /// Train adapters in this many of the last blocks only: less time and memory per step [default: in all]
    #[arg(long, value_name = "BLOCKS", requires = "lora_rank")]
    lora_last: Option<usize>,
}

impl LoraArguments {
    /// The configuration of the requested adapters, if any.
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

/// What is fine-tuned, and how.
#[derive(Debug, Args)]
pub(super) struct TuneArguments {
    /// Model to start from: run or checkpoint folder, Hugging Face folder, or GGUF file (not with --resume)
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    pub model: Option<PathBuf>,
    /// Folder of the run [default: runs/ and the data's name]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Steps, instead of --epochs
    #[arg(long)]
    pub steps: Option<u64>,
    /// Micro-batches per step
    #[arg(long, default_value_t = 1)]
    accumulate: usize,
    /// Maximum number of tokens per row [default: the model's context, at most 1024]
    #[arg(long)]
    context: Option<usize>,
    /// Final learning rate [default: a tenth of --lr]
    #[arg(long)]
    min_lr: Option<f32>,
    /// Steps of warm-up [default: a tenth of the steps, at most 100]
    #[arg(long)]
    warmup: Option<u64>,
    /// Weight decay
    #[arg(long, default_value_t = 0.0)]
    weight_decay: f32,
    /// Largest gradient norm; 0 for no limit
    #[arg(long, default_value_t = 1.0)]
    clip: f32,
    /// Probability of dropping an activation
    #[arg(long, default_value_t = 0.0)]
    dropout: f32,
    /// Seed of order, masks and samples
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Maximum number of batches per validation
    #[arg(long, default_value_t = 50)]
    val_batches: usize,
    /// Steps between validations [default: a quarter of the steps]
    #[arg(long)]
    val_every: Option<u64>,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 250)]
    save_every: u64,
    /// Checkpoints kept
    #[arg(long, default_value_t = 1)]
    keep: usize,
    /// Recompute blocks in the backward pass: less memory, more time
    #[arg(long)]
    checkpoint_activations: bool,
    /// Maximum number of tokens in the sample at each validation; 0 for none
    #[arg(long, default_value_t = 80)]
    sample_tokens: usize,
    /// Continue from the newest checkpoint in --out
    #[arg(long)]
    pub resume: bool,
    #[command(flatten)]
    lora: LoraArguments,
    #[command(flatten)]
    pub ranks: RankArguments,
}

/// The options whose defaults depend on the command.
pub(super) struct Defaults {
    pub batch: usize,
    pub lr: Option<f32>,
    pub val_fraction: f64,
    pub epochs: usize,
}

impl TuneArguments {
    /// The configuration of the requested adapters.
    pub fn lora(&self) -> Result<Option<LoraConfig>> {
        self.lora.config()
    }

    /// The run's folder, by default named after `data`.
    pub fn out(&self, data: &Path) -> PathBuf {
        // Standard input has no name.
        let stem = data.file_stem().filter(|stem| *stem != "-");
        let name = stem.map_or_else(|| "tuned".into(), |stem| stem.to_string_lossy().into_owned());
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(name))
    }

    /// What the run in `out` starts from: a model, or the run itself.
    pub fn base(&self, out: &Path) -> Result<PathBuf> {
        if !self.resume && checkpoint::resolve(out).is_ok() {
            let reason = "already holds a run; add --resume to go on with it, or choose another --out";
            return Err(Error::checkpoint(out, reason));
        }
        Ok(match &self.model {
            Some(model) if !self.resume => model.clone(),
            _ => out.to_path_buf(),
        })
    }

    /// The user's settings for a model of this shape, as far as they do not depend on the data. `recipe` has the rest.
    pub fn settings(&self, config: &Config, recipe: Settings, own: &Defaults) -> Result<Settings> {
        let (longest, context) = (config.context, self.context.unwrap_or(recipe.context));
        if context < 2 || context > longest {
            return Err(Error::Usage(format!("--context {context}: give 2 to {longest}, the model's context")));
        }
        if own.epochs == 0 {
            return Err(Error::Usage("--epochs 0: give at least 1".to_string()));
        }
        if !(0.0..1.0).contains(&own.val_fraction) {
            return Err(Error::Usage(format!("--val-fraction {}: give 0 or more and less than 1", own.val_fraction)));
        }
        let lr = own.lr.unwrap_or(recipe.schedule.lr);
        let schedule = Schedule { lr, min_lr: self.min_lr.unwrap_or(lr / 10.0), ..recipe.schedule };
        let settings = Settings {
            batch: own.batch,
            accumulate: self.accumulate,
            context,
            schedule,
            common: Common {
                optimizer: AdamW { weight_decay: self.weight_decay, clip: self.clip, ..recipe.common.optimizer },
                seed: self.seed,
                save_every: self.save_every,
                keep: self.keep,
                checkpoint_activations: self.checkpoint_activations,
            },
            dropout: self.dropout,
            val_fraction: own.val_fraction,
            val_batches: self.val_batches,
            val_every: self.val_every.unwrap_or(1),
            sample_tokens: self.sample_tokens,
            ..recipe
        };
        settings.validate()?;
        Ok(settings)
    }

    /// Sets the number of steps and what depends on it; `data` is a hash of the training data.
    pub fn schedule(&self, settings: Settings, steps: u64, data: u64) -> Result<Settings> {
        let warmup = self.warmup.unwrap_or((steps / 10).min(100));
        let settings = Settings {
            schedule: Schedule { steps, warmup, ..settings.schedule },
            val_every: self.val_every.unwrap_or_else(|| steps.div_ceil(4).max(1)),
            data: Some(format!("{data:016x}")),
            ..settings
        };
        settings.validate()?;
        Ok(settings)
    }

    /// The trainer: the base model's weights (and fresh adapters, if requested), or the state in which the run stopped.
    pub fn trainer(
        &self,
        shared: &Shared,
        gpu: &Gpu,
        base: &Path,
        settings: &Settings,
    ) -> Result<(Trainer, Option<f64>)> {
        if self.resume {
            let (trainer, _, state) = state::resume(gpu, base)?;
            settings.agrees_with(&state.settings)?;
            shared.say(format_args!("resuming {} after step {}", base.display(), state.step));
            return Ok((trainer, state.best_val_loss));
        }
        let bar = output::bar(0, shared.quiet);
        bar.set_message("parameters loaded");
        let model = load::tunable(gpu, base, settings.lora.as_ref(), settings.common.seed, |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        Ok((Trainer::new(gpu, model, settings)?, None))
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
