//! What training from scratch will cost on this adapter, found out before it begins. A step is recorded on an imagined
//! device, which counts memory with the pool that a run uses and notes every operation. The notes are then replayed for
//! real, in order, over buffers like the step's own; and each distinct dispatch is timed by itself, which gives the
//! kernels' shares.

use web_time::Instant;

use super::{Settings, cpu_share::CpuUsage, trainer::Trainer};
use crate::{
    Result,
    gpu::{
        Gpu,
        imagine::{Ledger, Scratch, Work},
        race::median,
        readback::Readback,
        replay::Replay,
    },
    model::Gpt,
    ops::{
        roofline::{self, Roofs},
        tuning,
    },
    parallel::Group,
    random,
    text::batches::Batch,
};

/// Bytes of GPU memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Weights.
    pub weights: u64,
    /// Gradients and the optimizer's two moments.
    pub optimizer: u64,
    /// Activations and everything else that lives within a step, at their largest.
    pub activations: u64,
    /// All of the above: the most that is in use at once.
    pub peak: u64,
    /// What the pool holds, including free buffers of other sizes.
    pub held: u64,
}

/// A kernel's share in a step.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Share {
    /// The kernel's variant.
    pub kernel: String,
    /// Dispatches per step.
    pub dispatches: u64,
    /// Seconds per step.
    pub seconds: f64,
    /// Floating-point operations of products per step.
    pub flop: f64,
    /// Bytes that it reads and writes per step if every buffer is transferred once.
    pub bytes: f64,
    /// The share of the roofline: the least time that the adapter's rates allow for the multiply-adds or the bytes,
    /// divided by `seconds`. Above 1 where caches hold what is read.
    pub of_roofline: f64,
}

/// What a step costs.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Plan {
    /// Number of trained parameters.
    pub parameters: usize,
    /// GPU memory.
    pub memory: Memory,
    /// Tokens per step.
    pub tokens: usize,
    /// Dispatches per step.
    pub dispatches: u64,
    /// Seconds per step.
    pub seconds: f64,
    /// Whether `seconds` is the time of a replayed step, not the sum of its dispatches timed one by one.
    pub replayed: bool,
    /// The share of the machine's cores that replayed steps used; `None` where they were not replayed or the system
    /// does not report it.
    pub busy: Option<f64>,
    /// The sum of the dispatches timed one by one, without what happens between them.
    pub alone_seconds: f64,
    /// The adapter's roofs, measured alongside.
    pub roofs: Roofs,
    /// Seconds by kernel, slowest first: each kernel's share when dispatches are timed one by one.
    pub kernels: Vec<Share>,
}

/// What a step was measured to cost.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Measured {
    /// The most bytes that were in use at once.
    pub peak: u64,
    /// Bytes that the pool held.
    pub held: u64,
    /// Seconds per step: the lower quartile, as in a plan.
    pub seconds: f64,
    /// Number of steps that were timed.
    pub steps: usize,
}

/// Minimum seconds spent on one dispatch in a round of timing.
const PART: f64 = 0.01;
/// Number of rounds over all dispatches; the medians are used, so that a disturbance in one round does not matter.
const ROUNDS: usize = 7;
/// Number of rounds for a dispatch that by itself takes longer than `PART`. One that takes longer than [`SINGLE`] is timed once.
const LONG_ROUNDS: usize = 3;
/// Seconds from which a dispatch hardly varies from one time to the next: the machine's other work evens out over them.
const SINGLE: f64 = 2.0;

/// A batch of the sizes that `settings` train on.
fn batch(settings: &Settings, stream: u64) -> Batch {
    let (rows, context, vocabulary) = (settings.batch, settings.context, settings.config.vocabulary as u64);
    let ids = |stream| {
        (0..(rows * context) as u64)
            .map(|i| random::below(settings.common.seed, stream, i, vocabulary) as u32)
            .collect()
    };
    Batch { inputs: ids(2 * stream), targets: ids(2 * stream + 1), starts: None, rows, context }
}

fn batches(settings: &Settings) -> Vec<Batch> {
    (0..settings.accumulate as u64).map(|stream| batch(settings, stream)).collect()
}

/// A step recorded on an imagined device.
pub struct Imagined {
    /// Number of trained parameters.
    pub parameters: usize,
    /// GPU memory.
    pub memory: Memory,
    ledger: Ledger,
}

fn note(gpu: &Gpu, settings: &Settings) -> Result<Imagined> {
    let imagined = gpu.imagine();
    let live = || imagined.memory().0;
    let model = Gpt::new(&imagined, &settings.config, settings.common.seed)?;
    let (parameters, weights) = (model.size(), live());
    let mut trainer = Trainer::new(&imagined, model, settings)?;
    let optimizer = live() - weights;
    let batches = batches(settings);
    // As in a run: the pool is warm after the first step, and the numbers of a step are read while the next is under
    // way.
    let mut last = None;
    for _ in 0..3 {
        imagined.ledger().map(|mut ledger| ledger.take(true));
        last = Some(trainer.step(&batches)?);
    }
    drop(last);
    gpu.tuner().ask(imagined.tuner().open());
    let (_, peak, held) = imagined.memory();
    let memory = Memory { weights, optimizer, activations: peak.saturating_sub(weights + optimizer), peak, held };
    let ledger = imagined.ledger().map(|mut ledger| ledger.take(false)).unwrap_or_default();
    Ok(Imagined { parameters, memory, ledger })
}

/// Seconds for choosing variants. A large model's products take seconds each in software.
const TUNING: f64 = 30.0;

/// Records a step of `settings` on an imagined device: its memory, and its work with the variants that the tuner
/// chooses. `report` is called with what is being tuned, its index and the total.
///
/// # Errors
/// [`crate::Error::TooLarge`] for sizes over the adapter's limits, [`crate::Error::OutOfMemory`] when not even its
/// largest operation fits, and the driver's errors.
pub async fn imagine(gpu: &Gpu, settings: &Settings, report: impl FnMut(&str, usize, usize)) -> Result<Imagined> {
    note(gpu, settings)?;
    tuning::answer(gpu, Some(TUNING), report).await?;
    // Again, with the variants that were chosen.
    note(gpu, settings)
}

/// Takes a step only to find out which choices it needs from the tuner.
pub fn rehearse(gpu: &Gpu, model: Gpt, settings: &Settings) -> Result<()> {
    Trainer::new(gpu, model, settings)?.step(&batches(settings)).map(|_| ())
}

/// Plans a step of `settings`. `report` is called with what is being timed, its index and the total. With `replay` the
/// whole step is run for real, in as much memory as it was imagined with, which must be available; otherwise only its
/// dispatches are run, one by one.
///
/// # Errors
/// Same as [`imagine`].
pub async fn plan(
    gpu: &Gpu,
    settings: &Settings,
    imagined: &Imagined,
    replay: bool,
    mut report: impl FnMut(&str, usize, usize),
) -> Result<Plan> {
    let works = &imagined.ledger.works;
    let (mut steps, mut busy) = (Vec::new(), None::<f64>);
    if replay {
        let (seconds, share) = time_steps(gpu, &imagined.ledger, |step, all| report("step", step, all)).await?;
        steps.extend(seconds);
        busy = busy.into_iter().chain(share).reduce(f64::max);
    }
    let mut scratch = Scratch::new(gpu, works, imagined.memory.held)?;
    let roofs = Roofs::measure(gpu).await?;
    let times = time(gpu, works, &mut scratch, &mut report).await?;
    let mut kernels: Vec<Share> = Vec::new();
    for (work, seconds) in works.iter().zip(times) {
        let kernel = work.variant.to_string();
        let place = kernels.iter().position(|share| share.kernel == kernel).unwrap_or_else(|| {
            kernels.push(Share { kernel, dispatches: 0, seconds: 0.0, flop: 0.0, bytes: 0.0, of_roofline: 0.0 });
            kernels.len() - 1
        });
        let (share, count) = (&mut kernels[place], work.count as f64);
        share.dispatches += work.count;
        share.seconds += seconds * count;
        share.flop += roofline::flop(work) * count;
        share.bytes += work.bytes(gpu)? as f64 * count;
        share.of_roofline = roofs.least(share.flop, share.bytes) / share.seconds;
    }
    drop(scratch);
    gpu.trim();
    if replay && !steps.iter().any(|seconds| *seconds > LONG_STEP) {
        let (seconds, share) = time_steps(gpu, &imagined.ledger, |step, all| report("step", step, all)).await?;
        steps.extend(seconds);
        busy = busy.into_iter().chain(share).reduce(f64::max);
    }
    let alone_seconds: f64 = kernels.iter().map(|share| share.seconds).sum();
    // Other work on the machine only makes steps longer, for seconds at a time: hence the lower quartile of two
    // stretches.
    steps.sort_by(f64::total_cmp);
    let seconds = steps.get(steps.len() / 4).copied().unwrap_or(alone_seconds);
    kernels.iter_mut().for_each(|share| share.seconds *= seconds / alone_seconds);
    kernels.sort_by(|left, right| right.seconds.total_cmp(&left.seconds));
    Ok(Plan {
        parameters: imagined.parameters,
        memory: imagined.memory,
        tokens: settings.batch * settings.accumulate * settings.context,
        dispatches: works.iter().map(|work| work.count).sum(),
        seconds,
        replayed: replay,
        busy,
        alone_seconds,
        roofs,
        kernels,
    })
}

/// Maximum number of timed replayed steps, and the seconds after which a few are enough.
const STEPS: usize = 13;
const STEPS_SECONDS: f64 = 2.0;
/// Seconds from which one step is enough.
const LONG_STEP: f64 = 20.0;
/// Minimum number of real steps.
const LEAST_STEPS: usize = 7;

/// Seconds per step, and the share of the cores used: each step is recorded while the one before is under way, as in a
/// run. Steps that take so long that recording them does not matter run one after the other.
async fn time_steps(
    gpu: &Gpu,
    ledger: &Ledger,
    mut report: impl FnMut(usize, usize),
) -> Result<(Vec<f64>, Option<f64>)> {
    report(0, STEPS + 2);
    let replay = Replay::new(gpu, ledger).await?;
    // The first step compiles, and is not counted.
    let begin = Instant::now();
    finish(replay.run()?).await?;
    let first = Instant::now();
    let usage = CpuUsage::start();
    let mut seconds = Vec::with_capacity(STEPS);
    if (first - begin).as_secs_f64() > LONG_STEP {
        report(1, 2);
        finish(replay.run()?).await?;
        seconds.push(first.elapsed().as_secs_f64());
    } else {
        // Neither is the next, whose recording no other step hides.
        report(1, STEPS + 2);
        let next = replay.run()?;
        let mut last = replay.run()?;
        finish(next).await?;
        let start = Instant::now();
        let mut end = start;
        for step in 0..STEPS {
            report(step + 2, STEPS + 2);
            finish(std::mem::replace(&mut last, replay.run()?)).await?;
            let now = Instant::now();
            seconds.push((now - end).as_secs_f64());
            end = now;
            if seconds.len() > 1 && (now - start).as_secs_f64() > STEPS_SECONDS {
                break;
            }
        }
    }
    let busy = usage.busy();
    drop(replay);
    gpu.finish().await?;
    gpu.trim();
    Ok((seconds, busy))
}

/// Waits for a step.
async fn finish(step: Vec<Readback>) -> Result<()> {
    for readback in step {
        readback.bytes().await?;
    }
    Ok(())
}

/// Seconds per dispatch, each timed among repetitions of itself, in rounds over all dispatches.
async fn time(
    gpu: &Gpu,
    works: &[Work],
    scratch: &mut Scratch,
    report: &mut impl FnMut(&str, usize, usize),
) -> Result<Vec<f64>> {
    // How often a dispatch is repeated in a round, and in how many rounds.
    let mut repeats = Vec::with_capacity(works.len());
    let mut rounds = vec![Vec::with_capacity(ROUNDS); works.len()];
    for (index, work) in works.iter().enumerate() {
        report(&work.variant.to_string(), index, works.len() * (1 + ROUNDS));
        let once = gpu.time(1, 1, || work.run(gpu, scratch)).await?;
        repeats.push(match once {
            once if once > SINGLE => {
                rounds[index].push(once);
                (1, 0)
            }
            once if once > PART => (1, LONG_ROUNDS),
            once => ((PART / once.max(1e-9)).clamp(1.0, 256.0) as usize, ROUNDS),
        });
    }
    for round in 0..ROUNDS {
        for (index, work) in works.iter().enumerate() {
            let (repeats, most) = repeats[index];
            if round >= most {
                continue;
            }
            report(&work.variant.to_string(), (1 + round) * works.len() + index, works.len() * (1 + ROUNDS));
            let start = Instant::now();
            (0..repeats).try_for_each(|_| work.run(gpu, scratch))?;
            gpu.finish().await?;
            rounds[index].push(start.elapsed().as_secs_f64() / repeats as f64);
        }
    }
    Ok(rounds.iter_mut().map(|seconds| median(seconds)).collect())
}

/// Takes real steps of `settings` as a run does, after two that compile and fill the pool: `steps` of them, or as many
/// as fit into a few seconds; together with the other ranks of `group`, which must take as many. `gpu` should be fresh,
/// because all of its memory is counted.
///
/// # Errors
/// Returns the driver's errors.
pub async fn measure(
    gpu: &Gpu,
    group: &Group,
    settings: &Settings,
    steps: Option<usize>,
    mut report: impl FnMut(usize),
) -> Result<Measured> {
    let model = Gpt::new(gpu, &settings.config, settings.common.seed)?;
    let mut trainer = Trainer::new(gpu, model, settings)?;
    trainer.join(group)?;
    let batches = batches(settings);
    let mut ends: Vec<Instant> = Vec::new();
    let mut last = trainer.step(&batches)?;
    // The first two ends do not count: one step that compiles, and one that was recorded meanwhile.
    let enough = |ends: &[Instant]| match (steps, ends) {
        (Some(steps), ends) => ends.len() >= steps + 2,
        (None, &[_, first, .., end]) => {
            ends.len() > LEAST_STEPS + 1 && (end - first).as_secs_f64() > 2.0 * STEPS_SECONDS
        }
        _ => false,
    };
    while !enough(&ends) {
        report(ends.len());
        // The numbers of a step are read while the next is under way.
        let next = trainer.step(&batches)?;
        std::mem::replace(&mut last, next).outcome().await?;
        ends.push(Instant::now());
    }
    last.outcome().await?;
    let mut seconds: Vec<_> = ends.windows(2).skip(1).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    let (_, peak, held) = gpu.memory();
    Ok(Measured { peak, held, seconds: seconds[seconds.len() / 4], steps: seconds.len() })
}
