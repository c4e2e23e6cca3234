//! The output of every training command, while it runs and at the end.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Shared, output, ranks};
use wgpt::{
    Result,
    error::counted,
    gpu::Gpu,
    interchange::TextCodec,
    io::{atomic, checkpoint},
    train::{
        Settings,
        run::{Event, Sample, StepReport},
        state,
        supervised::{Summary, Supervised, Task},
        trainer::Trainer,
    },
};
use wgpt_server::signals;

/// Becomes true at the first of [`Signals`](signals::Signals). A second signal ends the program immediately; the last
/// checkpoint is complete at any time.
pub(super) fn stop_on_interrupt(promise: &'static str) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    signals::hear(move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(signals::INTERRUPTED);
        }
        output::say(format_args!("\n{promise}; press Ctrl-C again to end at once"));
    });
    stop
}

/// What a run does when it is asked to stop.
pub(super) const SAVES: &str = "finishing this step and saving";

/// Runs a stage to its end with a progress bar.
pub(super) async fn run<T: Task>(shared: &Shared, gpu: &Gpu, stage: &mut Supervised<'_, T>) -> Result<Summary> {
    let bar = output::bar(stage.settings.schedule.steps, shared.quiet);
    bar.set_position(stage.trainer.optimizer.step);
    bar.reset_eta();
    let tokens = stage.task.tokens_per_step(&stage.settings) as f64;
    let (quiet, group) = (shared.quiet, stage.trainer.group());
    let summary = stage
        .run(|event| match event {
            Event::Compiling => bar.set_message("compiling kernels"),
            Event::Tuning(class, index, count) => bar.set_message(format!("tuning {}/{count}: {class}", index + 1)),
            Event::Step(progress) => {
                let StepReport { step, seconds, numbers } = progress;
                let more = numbers.metrics.iter().take(2).map(|(name, value)| format!(", {} {value:.3}", named(name)));
                let (more, rate) = (more.collect::<String>(), tokens / seconds);
                bar.set_message(format!("loss {:.4}{more}, {rate:.0} tokens/s", numbers.loss));
                bar.set_position(*step);
                // Without a terminal there is no bar, so an occasional line shows progress.
                if bar.is_hidden() && !quiet && (*step == 1 || step % 100 == 0) {
                    let (loss, ms) = (numbers.loss, seconds * 1e3);
                    output::say(format_args!("step {step}: loss {loss:.4}, {ms:.0} ms"));
                }
            }
            Event::Validating(_) => bar.set_message("validating"),
            Event::Validated(step, found) if !quiet => {
                let more: String =
                    found.metrics.iter().map(|(name, value)| format!(", {} {value:.4}", named(name))).collect();
                bar.suspend(|| output::say(format_args!("step {step}: validation loss {:.4}{more}", found.loss)));
            }
            Event::Sample(step, Sample { text, .. }) if !quiet => {
                let words = format!("--- the model writes, after {} ---\n{text}\n---", counted(step, "step"));
                bar.suspend(|| output::say(words));
            }
            _ => {}
        })
        .await;
    bar.finish_and_clear();
    ranks::keep_error(stage.out, &group, &summary);
    shared.ended(gpu, summary)
}

/// A measure's name in words: `val_accuracy` is "accuracy".
fn named(name: &str) -> String {
    name.trim_start_matches("val_").replace('_', " ")
}

/// A summary on one line.
pub(super) fn words(summary: &Summary) -> String {
    let val = summary.val_loss.map_or(String::new(), |loss| format!(", validation loss {loss:.4}"));
    let stopped = if summary.stopped { " (stopped; go on with --resume)" } else { "" };
    format!(
        "{}: training loss {:.4} -> {:.4}{val}; {:.0} tokens/s, {:.1} ms per step{stopped}",
        counted(summary.step, "step"),
        summary.first_loss,
        summary.train_loss,
        summary.tokens_per_second,
        summary.ms_per_step,
    )
}

/// A trainer, and the lowest validation loss so far: fresh, or the state in which the run in `out` stopped.
pub(super) fn trainer(
    gpu: &Gpu,
    out: &Path,
    settings: &Settings,
    fresh: impl FnOnce() -> Result<Trainer>,
) -> Result<(Trainer, Option<f64>)> {
    if checkpoint::resolve(out).is_err() {
        return Ok((fresh()?, None));
    }
    let (trainer, _, state) = state::resume(gpu, out)?;
    settings.agrees_with(&state.settings)?;
    Ok((trainer, state.best_val_loss))
}

/// Runs a task in the folder `out`, until its end or until `stop`. Returns the task, and the summary unless it was stopped.
pub(super) async fn learn<T: Task>(
    shared: &Shared,
    gpu: &Gpu,
    (out, stop): (&Path, &AtomicBool),
    settings: Settings,
    task: T,
    codec: TextCodec,
    (trainer, best_val_loss): (Trainer, Option<f64>),
) -> Result<(Option<Summary>, T)> {
    atomic::private_folder(out)?;
    let mut stage = Supervised { out, settings, task, codec, trainer, best_val_loss, stop };
    let summary = run(shared, gpu, &mut stage).await?;
    Ok(((!summary.stopped).then_some(summary), stage.task))
}
