//! `wgpt pretrain`

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    Shared, options,
    ranks::{self, RankArguments},
    recipe::Recipe,
    training,
};
use wgpt::{
    Error, Result,
    error::counted,
    gpu::Gpu,
    interchange::TextCodec,
    io::{atomic, checkpoint},
    model::Gpt,
    parallel::Group,
    text::{Corpus, Tokenizer, shards, tokenizer::END_OF_TEXT},
    train::{Settings, pretrain::Pretrain, state, supervised::Supervised, trainer::Trainer},
};

/// The text for a first run without options; see scripts/data.
pub(super) use wgpt::assets::SHAKESPEARE;

/// Train a new model on plain text
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wgpt pretrain                                   learn Shakespeare; five minutes without a GPU
  wgpt pretrain --data book.txt --preset nano-char
  wgpt pretrain --data book.txt --precision f16   half the memory for activations, faster where the GPU is
  wgpt pretrain --data texts/ --tokenizer bpe --family llama --layers 6 --heads 6 --width 384 --context 256
  wgpt pretrain --data shakespeare.txt --out runs/shakespeare --resume
  mpirun -n 4 wgpt pretrain --data book.txt       four GPUs (a build with --features mpi)")]
pub(crate) struct Arguments {
    /// Text, or JSON lines or a Parquet table with a "text" each, or folder of such files [default: eight plays of Shakespeare]
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
    #[command(flatten)]
    recipe: Recipe,
    /// Continue from the newest checkpoint in --out
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    ranks: RankArguments,
}

impl Arguments {
    fn out(&self) -> PathBuf {
        let stem = self.data.as_deref().and_then(Path::file_stem);
        let name = || stem.map_or_else(|| "shakespeare".into(), |stem| stem.to_string_lossy().into_owned());
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(name()))
    }

    /// The training text; without --data the built-in text, written into the run's folder.
    fn text(&self, out: &Path) -> Result<PathBuf> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let path = out.join("shakespeare.txt");
        if !path.exists() {
            atomic::private_folder(out)?;
            atomic::write(&path, SHAKESPEARE.as_bytes())?;
        }
        Ok(path)
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

    /// A trainer with its tokenizer and settings: new, or in the state in which the run in `out` stopped.
    fn trainer(
        &self,
        shared: &Shared,
        gpu: &Gpu,
        data: &Path,
        out: &Path,
    ) -> Result<(Trainer, Tokenizer, Settings, Option<f64>)> {
        if self.resume {
            let (trainer, codec, state) = state::resume(gpu, out)?;
            let tokenizer = codec.tokenizer;
            let settings = options::on_adapter(shared, gpu, self.recipe.settings(tokenizer.vocab_size()));
            settings.agrees_with(&state.settings)?;
            shared.say(format_args!("resuming {} after step {}", out.display(), state.step));
            return Ok((trainer, tokenizer, settings, state.best_val_loss));
        }
        if checkpoint::resolve(out).is_ok() {
            let reason = "already holds a run; add --resume to go on with it, or choose another --out".to_string();
            return Err(Error::checkpoint(out, reason));
        }
        let tokenizer = self.make_tokenizer(shared, data)?;
        let settings = options::on_adapter(shared, gpu, self.recipe.settings(tokenizer.vocab_size()));
        settings.validate()?;
        let model = Gpt::new(gpu, &settings.config, settings.common.seed)?;
        Ok((Trainer::new(gpu, model, &settings)?, tokenizer, settings, None))
    }
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    ranks::run_on_ranks(shared, &arguments.ranks, async |shared, group| train(shared, group, arguments).await).await
}

async fn train(shared: &Shared, group: &Group, arguments: &Arguments) -> Result<()> {
    // All errors in the input are found before a GPU is opened or a file written.
    arguments.recipe.settings(1).validate()?;
    let out = arguments.out();
    let data = arguments.text(&out)?;
    if data.exists() && !data.is_file() && !data.is_dir() {
        return Err(Error::data(&data, "it is read several times, which a pipe cannot be; save it to a file first"));
    }
    let corpus = Corpus::open(&data)?;
    corpus.texts()?;
    shared.say_skipped(&corpus);
    drop(corpus);
    let gpu = shared.open().await?;
    let (mut trainer, tokenizer, settings, best_val_loss) = arguments.trainer(shared, &gpu, &data, &out)?;
    trainer.join(group)?;
    atomic::private_folder(&out)?;
    // If the ranks share a file system, the others find what the first one wrote.
    let prepare = || shards::prepare(&data, &tokenizer, &out, settings.val_fraction, &mut |_, _| {});
    let split = group.first_alone(prepare)?;
    split.check_window(settings.context)?;
    shared.say(format_args!(
        "{} parameters, {} training and {} validation tokens of {}, {} of {} -> {}",
        trainer.model.size(),
        split.train.len(),
        split.val.len(),
        settings.config.vocabulary,
        counted(settings.schedule.steps, "step"),
        counted(settings.tokens_per_step(), "token"),
        out.display()
    ));

    let (task, codec) = (Pretrain { split }, TextCodec::plain(tokenizer));
    let stop = training::stop_on_interrupt(training::SAVES);
    let mut stage = Supervised { out: &out, settings, task, codec, trainer, best_val_loss, stop: &stop };
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
