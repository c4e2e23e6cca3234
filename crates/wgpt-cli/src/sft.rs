//! `wgpt sft`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{
    Shared,
    options::{self, Defaults, PrecisionArgument, TuneArguments},
    output, ranks, training,
};
use wgpt::{
    Result,
    error::counted,
    interchange::{self, TextCodec},
    io::atomic,
    parallel::Group,
    text::conversations::Found,
    train::{
        Settings,
        sft::{Data, Sft},
        supervised::{Summary, Supervised},
    },
};

/// Fine-tune a model on example conversations
#[derive(Debug, Args)]
#[command(after_help = "Each line of the data is one conversation:
  {\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": \"Hello!\"}]}
Roles are system (first message only), user and assistant. The loss covers the assistant's messages and the token that ends
them. Conversations are packed into rows of --context tokens and do not attend to each other. Lines that cannot be used are
left out, counted and explained. With --lora-rank only adapters are trained, over unchanged weights, quantised or not: the
run holds only the adapters, wgpt chat loads their base from where it was, and wgpt merge makes one model of both.

Examples:
  wgpt sft --model runs/shakespeare --data chats.jsonl --out runs/talker
  wgpt sft --model model.gguf --data chats.jsonl --epochs 2 --lr 2e-5 --context 512
  wgpt sft --model model.gguf --data chats.jsonl --out runs/tuned --lora-rank 8 --batch 2 --context 256
  wgpt sft --data chats.jsonl --out runs/talker --resume
  wgpt chat runs/talker")]
pub(crate) struct Arguments {
    #[command(flatten)]
    tune: TuneArguments,
    /// Conversations: JSON lines, a JSON list or a Parquet table
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Number of passes over the conversations
    #[arg(long, default_value_t = 3)]
    epochs: usize,
    /// Rows per micro-batch
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Highest learning rate [default: 5e-5, with adapters 2e-4]
    #[arg(long)]
    lr: Option<f32>,
    /// Share of the conversations to hold out
    #[arg(long, default_value_t = 0.05)]
    val_fraction: f64,
    #[command(flatten)]
    precision: PrecisionArgument,
}

#[derive(Serialize)]
struct Output {
    #[serde(flatten)]
    summary: Summary,
    conversations: usize,
    left_out: Vec<Found>,
    truncated: usize,
    /// Number of tokens in the conversations, and number of those that are trained on.
    tokens: usize,
    learned_tokens: usize,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    ranks::run_on_ranks(shared, &arguments.tune.ranks, async |shared, group| train(shared, group, arguments).await)
        .await
}

async fn train(shared: &Shared, group: &Group, arguments: &Arguments) -> Result<()> {
    let Arguments { tune, epochs, batch, lr, val_fraction, .. } = arguments;
    let out = tune.out(&arguments.data);
    let base = tune.base(&out)?;
    // All errors in the input are found before a GPU is opened or a file written.
    let config = interchange::open(&base)?.config().clone();
    let own = Defaults { batch: *batch, lr: *lr, val_fraction: *val_fraction, epochs: *epochs };
    let recipe = Settings::fine_tuning(config.clone(), tune.lora()?);
    let recipe = Settings { precision: arguments.precision.wanted(), ..recipe };
    let settings = tune.settings(&config, recipe, &own)?;
    let TextCodec { tokenizer, conventions } = TextCodec::open(&base)?;
    let codec = TextCodec { conventions: conventions.taught(&tokenizer)?, tokenizer };
    let bar = output::bar(0, shared.quiet);
    let data = Data::load(&arguments.data, &codec, settings.context, |line| {
        bar.set_message(format!("reading conversations, line {line}"));
    })?;
    bar.finish_and_clear();
    data.remarks().iter().for_each(|remark| shared.say(format_args!("{remark}")));
    let Data { examples, mistakes, truncated } = data;
    let (conversations, tokens, learned_tokens) = (examples.len(), examples.tokens(), examples.said());
    let fingerprint = examples.fingerprint();
    let mut task = Sft::new(examples, &codec, &settings);
    let steps = tune.steps.unwrap_or_else(|| task.steps(&settings, *epochs));
    let settings = tune.schedule(settings, steps, fingerprint)?;

    let gpu = shared.open().await?;
    let settings = options::on_adapter(shared, &gpu, settings);
    let (mut trainer, best_val_loss) = tune.trainer(shared, &gpu, &base, &settings)?;
    trainer.join(group)?;
    atomic::private_folder(&out)?;
    shared.say(format_args!(
        "{} parameters, {} of {}, {learned_tokens} of them to learn, {} of {} of {} -> {}",
        trainer.model.size(),
        counted(conversations, "conversation"),
        counted(tokens, "token"),
        counted(steps, "step"),
        counted(settings.batch * settings.accumulate, "row"),
        settings.context,
        out.display()
    ));
    let stop = training::stop_on_interrupt(training::SAVES);
    let mut stage = Supervised { out: &out, settings, task, codec, trainer, best_val_loss, stop: &stop };
    let summary = training::run(shared, &gpu, &mut stage).await?;
    let (left_out, truncated) = (mistakes.found(), truncated.0);
    let output = Output { summary, conversations, left_out, truncated, tokens, learned_tokens };
    shared.result(&output, || {
        format!(
            "{}\nthe run is in {}: checkpoint, metrics.jsonl, loss.svg\ntry: wgpt chat {}",
            training::words(&output.summary),
            out.display(),
            out.display()
        )
    })
}
