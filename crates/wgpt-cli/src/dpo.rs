//! `wgpt dpo`

use clap::Args;
use serde::Serialize;

use super::{
    Shared,
    options::{Defaults, TuneArguments},
    output,
    preferences::{Left, Source},
    ranks, training,
};
use wgpt::{
    Result,
    error::counted,
    interchange::{self, TextCodec},
    io::atomic,
    parallel::Group,
    train::{
        Settings, coordination,
        dpo::Dpo,
        settings::StageSettings,
        supervised::{Summary, Supervised, Task},
    },
};

/// Train a model on preferences, without a reward model (direct preference optimisation)
#[derive(Debug, Args)]
#[command(
    after_help = "Each line of --data is one preference; a prompt is a text or a list of {\"role\", \"content\"}:
  {\"prompt\": \"Hi\", \"chosen\": \"Hello! How can I help?\", \"rejected\": \"What.\"}
or another form that wgpt feedback import reads. The loss compares the answers' log-probabilities with those of the initial
model: with --lora-rank that is the model without its adapters, otherwise they are computed once and stored in the run. It
starts at ln 2 = 0.6931. A reward is beta (log pi - log ref); the margin is the chosen answer's minus the rejected one's.
Prompts are held out with all their pairs; accuracy on them is reported with its 95 % interval (Wilson).

Examples:
  wgpt dpo --model runs/talker --data preferences.jsonl --out runs/polite
  wgpt dpo --model model.gguf --feedback feedback.sqlite --out runs/polite --lora-rank 8 --batch 2
  wgpt feedback export --format pairs --out pairs.jsonl && wgpt dpo --model runs/talker --data - < pairs.jsonl
  wgpt dpo --data preferences.jsonl --out runs/polite --resume
  wgpt chat runs/polite"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    tune: TuneArguments,
    #[command(flatten)]
    source: Source,
    /// How strongly to stay close to the reference: lower values let the model move further
    #[arg(long, default_value_t = 0.1)]
    beta: f32,
    /// Number of passes over the preferences
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Pairs per micro-batch
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Highest learning rate [default: 1e-6, with adapters 2e-5]
    #[arg(long)]
    lr: Option<f32>,
    /// Share of the prompts to hold out
    #[arg(long, default_value_t = 0.1)]
    val_fraction: f64,
}

#[derive(Serialize)]
struct Output {
    #[serde(flatten)]
    summary: Summary,
    pairs: usize,
    held_out_pairs: usize,
    truncated: usize,
    #[serde(flatten)]
    left: Left,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    ranks::run_on_ranks(shared, &arguments.tune.ranks, async |shared, group| train(shared, group, arguments).await)
        .await
}

async fn train(shared: &Shared, group: &Group, arguments: &Arguments) -> Result<()> {
    let Arguments { tune, source, beta, epochs, batch, lr, val_fraction } = arguments;
    let out = tune.out(source.path());
    let base = tune.base(&out)?;
    // All errors in the input are found before a GPU is opened or a file written.
    let config = interchange::open(&base)?.config().clone();
    let recipe = Settings { stage: StageSettings::Dpo { beta: *beta }, ..Settings::dpo(config.clone(), tune.lora()?) };
    let own = Defaults { batch: *batch, lr: *lr, val_fraction: *val_fraction, epochs: *epochs };
    let settings = tune.settings(&config, recipe, &own)?;
    let codec = TextCodec::open(&base)?;
    let (pairs, left) = source.load(shared, &codec, settings.context + 1)?;
    let (fingerprint, truncated, answers) = (pairs.fingerprint(), pairs.truncated, pairs.answer_tokens());
    let mut task = Dpo::new(pairs, &settings, codec.conventions.stops.clone())?;
    let steps = tune.steps.unwrap_or_else(|| task.steps(&settings, *epochs));
    let settings = tune.schedule(settings, steps, fingerprint)?;
    let (pairs, held_out_pairs) = task.sizes();

    let gpu = shared.open().await?;
    let (mut trainer, best_val_loss) = tune.trainer(shared, &gpu, &base, &settings)?;
    trainer.join(group)?;
    atomic::private_folder(&out)?;
    shared.say(format_args!(
        "{} parameters, {} to learn from and {held_out_pairs} held out, {} of answers, {} of {} -> {}",
        trainer.model.size(),
        counted(pairs, "pair"),
        counted(answers, "token"),
        counted(steps, "step"),
        counted(settings.batch * settings.accumulate, "pair"),
        out.display()
    ));
    match (settings.lora.is_some(), tune.resume) {
        // A model with adapters contains its own reference.
        (true, _) => {}
        (false, true) => task.recall(&out)?,
        (false, false) => {
            let bar = output::bar((pairs + held_out_pairs) as u64, shared.quiet);
            let tuned = |class: &str, index: usize, count: usize| {
                bar.set_message(format!("tuning {}/{count}: {class}", index + 1));
            };
            coordination::tune(&gpu, group, async || task.rehearse(&mut trainer, &settings), tuned).await?;
            bar.set_message("pairs by the reference");
            if group.is_first() {
                task.remember(&trainer, &settings, &out, |done| bar.set_position(done as u64)).await?;
            }
            // The other ranks read what the first one wrote.
            group.meet()?;
            if !group.is_first() {
                task.recall(&out)?;
            }
            bar.finish_and_clear();
        }
    }
    let stop = training::stop_on_interrupt(training::SAVES);
    let mut stage = Supervised { out: &out, settings, task, codec, trainer, best_val_loss, stop: &stop };
    let summary = training::run(shared, &gpu, &mut stage).await?;
    let output = Output { summary, pairs, held_out_pairs, truncated, left };
    shared.result(&output, || {
        let number = |name: &str| output.summary.validation.get(name).and_then(serde_json::Value::as_f64);
        let held_out = match ["val_accuracy", "val_accuracy_low", "val_accuracy_high", "val_margin"].map(number) {
            [Some(accuracy), Some(low), Some(high), Some(margin)] => format!(
                "\nheld out: the chosen answer has the greater reward in {:.1} % of the pairs ({:.1} to {:.1}), \
                 margin {margin:.4}",
                accuracy * 100.0,
                low * 100.0,
                high * 100.0
            ),
            _ => String::new(),
        };
        format!(
            "{}{held_out}\nthe run is in {}: checkpoint, metrics.jsonl, loss.svg\ntry: wgpt chat {}",
            training::words(&output.summary),
            out.display(),
            out.display()
        )
    })
}
