//! `wgpt pretrain`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Shared, training};
use crate::{
    Error, Result,
    gpu::Gpu,
    interchange::Language,
    io::{atomic, checkpoint},
    model::{Config, Gpt, config::Positions},
    optim::{AdamW, Schedule},
    text::{Corpus, Tokenizer, shards, tokenizer::END_OF_TEXT},
    train::{Settings, pretrain::Pretrain, run, stage::Stage, trainer::Trainer},
};

/// Text for a first run without flags; see scripts/data.
pub(super) const SHAKESPEARE: &str = include_str!("../../data/shakespeare.txt");

/// Train a new model on plain text
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wgpt pretrain                                   learn Shakespeare; five minutes without a GPU
  wgpt pretrain --data book.txt --preset nano-char
  wgpt pretrain --data texts/ --tokenizer bpe --family llama --layers 6 --heads 6 --width 384 --context 256
  wgpt pretrain --data shakespeare.txt --out runs/shakespeare --resume")]
pub(crate) struct Arguments {
    /// UTF-8 text file, or folder of .txt files [default: eight plays of Shakespeare]
    #[arg(long, value_name = "FILE|DIR")]
    data: Option<PathBuf>,
    /// Folder of the run [default: runs/ and the data's name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// char, bpe (trained on the text), or a tokenizer.json
    #[arg(long, default_value = "char", value_name = "char|bpe|PATH")]
    tokenizer: String,
    /// Tokens of a trained bpe tokenizer
    #[arg(long, default_value_t = 4096)]
    vocabulary: usize,
    /// A known recipe; other options change it
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// Family of the model
    #[arg(long, value_enum)]
    family: Option<Family>,
    /// Transformer blocks
    #[arg(long)]
    layers: Option<usize>,
    /// Attention heads
    #[arg(long)]
    heads: Option<usize>,
    /// Key and value heads [default: as many as heads]
    #[arg(long)]
    kv_heads: Option<usize>,
    /// Width of the residual stream
    #[arg(long)]
    width: Option<usize>,
    /// Tokens per window
    #[arg(long)]
    context: Option<usize>,
    /// How positions enter [default: the family's]
    #[arg(long, value_enum)]
    positions: Option<PositionArgument>,
    /// Biases in linear layers and norms
    #[arg(long)]
    bias: Option<bool>,
    /// The head shares the embedding's weight [default: the family's]
    #[arg(long)]
    tied: Option<bool>,
    /// Windows per micro-batch
    #[arg(long)]
    batch: Option<usize>,
    /// Micro-batches per step
    #[arg(long, default_value_t = 1)]
    accumulate: usize,
    /// Steps
    #[arg(long)]
    steps: Option<u64>,
    /// Highest learning rate
    #[arg(long)]
    lr: Option<f32>,
    /// Last learning rate [default: a tenth of --lr]
    #[arg(long)]
    min_lr: Option<f32>,
    /// Steps of warm-up
    #[arg(long)]
    warmup: Option<u64>,
    /// Decay of AdamW's second moment
    #[arg(long, default_value_t = 0.99)]
    beta2: f32,
    /// Weight decay
    #[arg(long, default_value_t = 0.1)]
    weight_decay: f32,
    /// Largest gradient norm; 0 for no limit
    #[arg(long, default_value_t = 1.0)]
    clip: f32,
    /// Probability of dropping an activation
    #[arg(long, default_value_t = 0.0)]
    dropout: f32,
    /// Seed of weights, batches and masks
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Share of the text held out, from its end
    #[arg(long, default_value_t = 0.1)]
    val_fraction: f64,
    /// Batches per validation
    #[arg(long, default_value_t = 200)]
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
    /// Tokens per sample at each validation; 0 for none
    #[arg(long, default_value_t = 160)]
    sample_tokens: usize,
    /// Go on from the newest checkpoint in --out
    #[arg(long)]
    resume: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// nanoGPT's CPU setting: 4 layers, 4 heads, width 128, context 64, batch 12, 2000 steps
    NanoChar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Family {
    /// Learned positions, LayerNorm, GELU
    Gpt2,
    /// Rotary positions, RMSNorm, SwiGLU
    Llama,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PositionArgument {
    Learned,
    Sinusoidal,
    Rotary,
}

impl Arguments {
    fn out(&self) -> PathBuf {
        let stem = self.data.as_deref().and_then(Path::file_stem);
        let name = || stem.map_or_else(|| "shakespeare".into(), |stem| stem.to_string_lossy().into_owned());
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(name()))
    }

    /// The text to learn from; without one the built-in text, written into the run's folder.
    fn text(&self, out: &Path) -> Result<PathBuf> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let path = out.join("shakespeare.txt");
        if !path.exists() {
            std::fs::create_dir_all(out).map_err(Error::io(out, "create"))?;
            atomic::write(&path, SHAKESPEARE.as_bytes())?;
        }
        Ok(path)
    }

    /// The preset (nano-char unless another is named) with what the user changed.
    fn settings(&self, vocabulary: usize) -> Settings {
        let (context, heads) = (self.context.unwrap_or(64), self.heads.unwrap_or(4));
        let (layers, width) = (self.layers.unwrap_or(4), self.width.unwrap_or(128));
        let mut config = match self.family.unwrap_or(Family::Gpt2) {
            Family::Gpt2 => Config { bias: false, ..Config::gpt2(vocabulary, context, layers, heads, width) },
            Family::Llama => Config::llama(vocabulary, context, layers, heads, width),
        };
        config.kv_heads = self.kv_heads.unwrap_or(heads);
        config.bias = self.bias.unwrap_or(config.bias);
        config.tied = self.tied.unwrap_or(config.tied);
        config.positions = match self.positions {
            None => config.positions,
            Some(PositionArgument::Learned) => Positions::Learned,
            Some(PositionArgument::Sinusoidal) => Positions::Sinusoidal,
            Some(PositionArgument::Rotary) => Positions::Rotary,
        };
        let recipe = Settings::recipe(config);
        let (lr, steps) = (self.lr.unwrap_or(recipe.schedule.lr), self.steps.unwrap_or(recipe.schedule.steps));
        Settings {
            batch: self.batch.unwrap_or(recipe.batch),
            accumulate: self.accumulate,
            schedule: Schedule {
                lr,
                min_lr: self.min_lr.unwrap_or(lr / 10.0),
                warmup: self.warmup.unwrap_or_else(|| recipe.schedule.warmup.min(steps / 10)),
                steps,
                ..recipe.schedule
            },
            optimizer: AdamW {
                beta2: self.beta2,
                weight_decay: self.weight_decay,
                clip: self.clip,
                ..recipe.optimizer
            },
            dropout: self.dropout,
            seed: self.seed,
            val_fraction: self.val_fraction,
            val_batches: self.val_batches,
            val_every: self.val_every.unwrap_or_else(|| steps.div_ceil(4).max(1)),
            save_every: self.save_every,
            keep: self.keep,
            checkpoint_activations: self.checkpoint_activations,
            sample_tokens: self.sample_tokens,
            ..recipe
        }
    }

    fn make_tokenizer(&self, shared: &Shared, data: &Path) -> Result<Tokenizer> {
        match self.tokenizer.as_str() {
            "char" => Tokenizer::chars_of(Corpus::open(data)?.texts()?.iter().map(|text| text.text)),
            "bpe" => {
                shared.say(format_args!("training a byte-level BPE tokenizer of {} tokens", self.vocabulary));
                let corpus = Corpus::open(data)?;
                let texts: Vec<_> = corpus.texts()?.iter().map(|text| text.text).collect();
                Tokenizer::train_bpe(texts.into_iter(), self.vocabulary, &[END_OF_TEXT])
            }
            path => Tokenizer::load(Path::new(path)),
        }
    }

    /// A trainer, its tokenizer and settings: new, or where the run in `out` stopped.
    fn trainer(
        &self,
        shared: &Shared,
        gpu: &Gpu,
        data: &Path,
        out: &Path,
    ) -> Result<(Trainer, Tokenizer, Settings, Option<f64>)> {
        if self.resume {
            let (trainer, language, state) = run::resume(gpu, out)?;
            let tokenizer = language.tokenizer;
            let settings = self.settings(tokenizer.vocab_size());
            settings.agrees_with(&state.settings)?;
            shared.say(format_args!("resuming {} after step {}", out.display(), state.step));
            return Ok((trainer, tokenizer, settings, state.best_val_loss));
        }
        if checkpoint::resolve(out).is_ok() {
            let reason = "already holds a run; add --resume to go on with it, or choose another --out".to_string();
            return Err(Error::checkpoint(out, reason));
        }
        let tokenizer = self.make_tokenizer(shared, data)?;
        let settings = self.settings(tokenizer.vocab_size());
        settings.validate()?;
        let model = Gpt::new(gpu, &settings.config, settings.seed)?;
        Ok((Trainer::new(gpu, model, &settings)?, tokenizer, settings, None))
    }
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    // Everything that can be wrong with the input is found before a GPU is opened or a file written.
    arguments.settings(1).validate()?;
    let out = arguments.out();
    let data = arguments.text(&out)?;
    Corpus::open(&data)?.texts()?;
    let gpu = shared.open().await?;
    let (trainer, tokenizer, settings, best_val_loss) = arguments.trainer(shared, &gpu, &data, &out)?;
    std::fs::create_dir_all(&out).map_err(Error::io(&out, "create"))?;
    let split = shards::prepare(&data, &tokenizer, &out, settings.val_fraction, &mut |_, _| {})?;
    split.check_window(settings.context)?;
    shared.say(format_args!(
        "{} parameters, {} training and {} validation tokens of {}, {} steps of {} tokens -> {}",
        trainer.model.size(),
        split.train.len(),
        split.val.len(),
        settings.config.vocabulary,
        settings.schedule.steps,
        settings.tokens_per_step(),
        out.display()
    ));

    let (task, language) = (Pretrain { split }, Language::plain(tokenizer));
    let stop = training::stop_on_interrupt();
    let mut stage = Stage { out: &out, settings, task, language, trainer, best_val_loss, stop: &stop };
    let summary = training::run(shared, &gpu, &mut stage).await?;
    shared.result(&summary, || {
        format!(
            "{}\nthe run is in {}: checkpoint, metrics.jsonl, loss.svg\ntry: wgpt generate --model {} --prompt 'The'",
            training::words(&summary),
            out.display(),
            out.display()
        )
    })
}
