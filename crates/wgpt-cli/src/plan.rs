//! `wgpt plan`

use clap::Args;
use serde::Serialize;

use super::{
    Shared, cache, options,
    output::{self, mib},
    plan_ranks::{self, ForecastArguments, Rank, Ranks},
    ranks,
    recipe::Recipe,
};
use wgpt::{
    Error, Result,
    error::counted,
    gpu::Gpu,
    model::parameters,
    parallel::{Group, Options},
    train::{
        Settings,
        plan::{self, Measured, Plan},
    },
};

/// Predict the memory and time of training from scratch on this adapter
#[derive(Debug, Args)]
#[command(
    after_help = "A step is recorded without running it, which gives its memory to the byte. If that memory is free, the recorded
work is then run in order, over buffers of the same sizes; if not, each kernel is timed alone, and the predicted time is their
sum, without the gaps between them. --check takes a few real steps and shows the error of the prediction. Validation,
samples and checkpoints are not included.
With --ranks the step is one rank's share, and communication is added by the model in docs/several-gpus.md, from measured
or given rates. Under mpirun --check takes real steps with all ranks.

Examples:
  wgpt plan --preset nano-char
  wgpt plan --layers 12 --heads 12 --width 768 --context 1024 --batch 8 --vocabulary 50257 --checkpoint-activations
  wgpt plan --layers 6 --heads 6 --width 384 --context 256 --batch 4 --check
  wgpt plan --layers 12 --heads 12 --width 768 --context 1024 --batch 64 --vocabulary 50257 --ranks 8 --link 12.5
  wgpt plan --layers 12 --heads 12 --width 768 --context 1024 --batch 64 --vocabulary 50257 --ranks 8 --step-ms 100
  mpirun -n 2 wgpt plan --preset nano-char --check"
)]
pub(crate) struct Arguments {
    /// Size of the vocabulary
    #[arg(long, default_value_t = 65)]
    vocabulary: usize,
    #[command(flatten)]
    recipe: Recipe,
    /// Also take real steps, and compare
    #[arg(long)]
    check: bool,
    /// Number of real steps for --check [default: as many as take a few seconds, at least seven]
    #[arg(long, requires = "check")]
    check_steps: Option<usize>,
    #[command(flatten)]
    ranks: ForecastArguments,
}

#[derive(Serialize)]
struct Output {
    #[serde(flatten)]
    plan: Plan,
    adapter: String,
    tokens_per_second: f64,
    steps: u64,
    /// Seconds for all steps.
    total_seconds: f64,
    /// Whether enough memory is available; [`None`] if the adapter does not report it.
    fits: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranks: Option<Ranks>,
    check: Option<Check>,
}

#[derive(Serialize)]
struct Check {
    measured: Measured,
    /// The prediction divided by the measurement, minus 1.
    memory_error: f64,
    time_error: f64,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    arguments.recipe.settings(arguments.vocabulary).validate()?;
    arguments.ranks.validate()?;
    if let (Some(step_ms), Some(count)) = (arguments.ranks.step_ms, arguments.ranks.ranks) {
        return elsewhere(shared, arguments, step_ms, count);
    }
    if arguments.ranks.step_ms.is_some() {
        return Err(Error::Usage("--step-ms is a rank's step: give --ranks as well".to_string()));
    }
    ranks::join(shared, Options::default(), async |shared, group| plan(shared, group, arguments).await).await
}

/// A forecast for ranks with another GPU; no adapter is opened.
fn elsewhere(shared: &Shared, arguments: &Arguments, step_ms: f64, count: usize) -> Result<()> {
    let settings = arguments.ranks.share(&arguments.recipe.settings(arguments.vocabulary), count)?;
    let parameters = parameters::count(&settings.config);
    let host = arguments.ranks.host_link * 1e9;
    let (step, tokens) = (step_ms / 1e3, settings.tokens_per_step());
    let rank = Rank { step, busy: 1.0, tokens, parameters, copies: (host, host), software: false };
    let found = arguments.ranks.forecast(&Group::alone(), count, rank)?;
    shared.result(&found, || plan_ranks::words(&found).join("\n"))
}

async fn plan(shared: &Shared, group: &Group, arguments: &Arguments) -> Result<()> {
    let whole = arguments.recipe.settings(arguments.vocabulary);
    let count = arguments.ranks.count(group);
    let settings = arguments.ranks.share(&whole, count.unwrap_or(1))?;
    let gpu = shared.open().await?;
    let settings = options::on_adapter(shared, &gpu, settings);
    // The first rank measures alone on the machine, while the others wait.
    let measured = match group.is_first() {
        true => Some(measure(shared, &gpu, &settings).await?),
        false => None,
    };
    group.meet()?;
    let many = match (count, &measured) {
        (Some(count), Some((_, _, rank))) => Some(arguments.ranks.forecast(group, count, *rank)?),
        // The other ranks take part in timing messages; their forecasts are not shown.
        (Some(count), None) => Some(arguments.ranks.forecast(group, count, Rank::default())?),
        (None, _) => None,
    };
    let adapter = gpu.description();
    drop(gpu);
    let of_whole = Settings { precision: settings.precision, ..whole };
    let expected = many.as_ref().filter(|_| group.size() > 1).map(|many| many.asked.step_seconds);
    let taken = if group.size() > 1 { &of_whole } else { &settings };
    let real = match arguments.check {
        true => Some(steps(shared, group, taken, arguments.check_steps).await?),
        false => None,
    };
    let Some((plan, fits, _)) = measured else { return Ok(()) };
    let check = real.map(|measured| Check {
        memory_error: plan.memory.held as f64 / measured.held as f64 - 1.0,
        time_error: expected.unwrap_or(plan.seconds) / measured.seconds - 1.0,
        measured,
    });
    let output = Output {
        adapter,
        tokens_per_second: plan.tokens as f64 / plan.seconds,
        steps: settings.schedule.steps,
        total_seconds: plan.seconds * settings.schedule.steps as f64,
        fits,
        ranks: many,
        check,
        plan,
    };
    shared.result(&output, || words(&output))
}

/// A rank's step, whether the adapter has enough memory for it, and the measurements that a forecast needs.
async fn measure(shared: &Shared, gpu: &Gpu, settings: &Settings) -> Result<(Plan, Option<bool>, Rank)> {
    let bar = output::bar(1, shared.quiet);
    let report = |what: &str, index: usize, count: usize| {
        bar.set_length(count as u64);
        bar.set_position(index as u64);
        bar.set_message(what.to_string());
    };
    let imagined = plan::imagine(gpu, settings, report).await;
    // What the tuner learned is stored even if planning failed.
    cache::save(gpu);
    let imagined = imagined?;
    let fits = gpu.fits(imagined.memory.held).await?;
    let plan = plan::plan(gpu, settings, &imagined, fits == Some(true), report).await;
    shared.close(gpu)?;
    bar.finish_and_clear();
    let plan = plan?;
    let rank = Rank::of(gpu, &plan).await?;
    Ok((plan, fits, rank))
}

/// Takes real steps on a separate device, so that their memory is measured alone; with all ranks, if there are several.
async fn steps(shared: &Shared, group: &Group, settings: &Settings, steps: Option<usize>) -> Result<Measured> {
    let gpu = shared.open().await?;
    // All ranks must use the same number of steps.
    let steps = steps.or((group.size() > 1).then_some(15)).map(|steps| steps.max(1));
    let bar = output::bar(steps.unwrap_or(7) as u64 + 2, shared.quiet);
    let measured = plan::measure(&gpu, group, settings, steps, |step| bar.set_position(step as u64)).await?;
    bar.finish_and_clear();
    Ok(measured)
}

/// A duration in words.
fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds if seconds < 120.0 => format!("{seconds:.1} s"),
        seconds if seconds < 7200.0 => format!("{:.0} minutes", seconds / 60.0),
        seconds => format!("{:.1} hours", seconds / 3600.0),
    }
}

fn words(output: &Output) -> String {
    let Output { plan, .. } = output;
    let memory = plan.memory;
    let room = match output.fits {
        Some(false) => ": the adapter has no room for it",
        _ => "",
    };
    let mut lines = vec![
        format!(
            "{} parameters, {} and {} dispatches a step",
            plan.parameters,
            counted(plan.tokens, "token"),
            plan.dispatches
        ),
        format!(
            "memory: {} of weights, {} of gradients and moments, {} of activations; {} are held in all{room}",
            mib(memory.weights),
            mib(memory.optimizer),
            mib(memory.activations),
            mib(memory.held)
        ),
        format!(
            "time: {} a step{}, {:.0} tokens/s, {} for {}",
            duration(plan.seconds),
            if plan.replayed {
                ""
            } else {
                " (the sum of its kernels timed alone: the memory for a whole step is not free)"
            },
            output.tokens_per_second,
            duration(output.total_seconds),
            counted(output.steps, "step")
        ),
    ];
    lines.push("share of the step, of the roofline, dispatches of".to_string());
    for share in plan.kernels.iter().take(8) {
        let (part, roof) = (100.0 * share.seconds / plan.seconds, 100.0 * share.of_roofline);
        lines.push(format!("{part:>6.1} % {roof:>5.0} % {:>4} x {}", share.dispatches, share.kernel));
    }
    if let Some(ranks) = &output.ranks {
        lines.extend(plan_ranks::words(ranks));
    }
    if let Some(check) = &output.check {
        lines.push(format!(
            "real steps: {} (plan {:+.1} %), {} held (plan {:+.1} %)",
            duration(check.measured.seconds),
            100.0 * check.time_error,
            mib(check.measured.held),
            100.0 * check.memory_error
        ));
    }
    lines.join("\n")
}
