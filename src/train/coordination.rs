//! What the ranks of a job do together besides training steps.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};
use web_time::Instant;

use crate::{
    Error, Result,
    gpu::{Gpu, adapter::on_processor},
    io::metrics::Metrics,
    ops::tuning,
    parallel::{Group, Reply, Wire},
};

/// The log of a run, which the first rank writes.
pub struct Log(Option<Metrics>);

impl Log {
    /// Opens the log of a run at `step`: a new file at step 0, the existing one otherwise.
    ///
    /// # Errors
    /// Same as [`Metrics::create`] and [`Metrics::resume`].
    pub fn open(group: &Group, path: &Path, step: u64) -> Result<Self> {
        let open = || if step == 0 { Metrics::create(path) } else { Metrics::resume(path, step) };
        group.is_first().then(open).transpose().map(Self)
    }

    /// Appends a line as [`Metrics::append`] does; ranks other than the first do nothing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, line: &Value) -> Result<()> {
        self.0.as_mut().map_or(Ok(()), |metrics| metrics.append(line))
    }
}

/// A vote on whether to stop: if any rank wants to, all of them stop at the same step.
#[must_use]
pub struct Vote(Reply<Vec<f32>>);

impl Vote {
    /// Casts this rank's vote.
    pub fn cast(group: &Group, stop: &AtomicBool) -> Self {
        Self(group.sum(vec![f32::from(stop.load(Ordering::Relaxed))], Wire::F32))
    }

    /// Waits for all votes; true if any rank voted to stop.
    ///
    /// # Errors
    /// [`Error::Rank`].
    pub fn stops(self) -> Result<bool> {
        Ok(self.0.wait()?.iter().any(|votes| *votes > 0.0))
    }
}

/// Checks that all ranks are about to do the same thing, by comparing `what` as JSON. When it returns, all ranks have
/// called it.
///
/// # Errors
/// [`Error::Usage`] naming the first rank that differs; [`Error::Rank`].
pub fn agree(group: &Group, what: &impl serde::Serialize) -> Result<()> {
    let own = serde_json::to_vec(what).map_err(Error::json("what the ranks compare"))?;
    let all = group.gather(own).wait()?;
    match all.iter().position(|other| *other != all[0]) {
        None => Ok(()),
        Some(rank) => Err(Error::Usage(format!(
            "rank {rank} was started with other settings or data than rank 0: give all ranks the same command and files"
        ))),
    }
}

/// Seconds that a run may spend on timing variants before its first step: more with a software driver, where everything
/// takes longer.
fn limit(gpu: &Gpu) -> f64 {
    if on_processor(gpu.info()) { 6.0 } else { 4.0 }
}

/// Runs `rehearse` to compile the kernels of a step, spends a few seconds timing variants unless the run continues an
/// earlier one, and settles the choices.
async fn choose(
    gpu: &Gpu,
    rehearse: &mut impl AsyncFnMut() -> Result<()>,
    report: &mut impl FnMut(&str, usize, usize),
) -> Result<()> {
    rehearse().await?;
    // The device may still be busy with the rehearsal, which would distort the times.
    gpu.finish().await?;
    if !gpu.tuner().continues() {
        tuning::answer(gpu, Some(limit(gpu)), report).await?;
    }
    gpu.tuner().settle();
    Ok(())
}

/// Chooses the variants that a run uses to its end. All ranks whose adapter is like the first rank's adopt its choices: the
/// choices are made only once, and equal kernels round alike.
///
/// # Errors
/// Returns the errors of `rehearse` and of the driver, and [`Error::Rank`].
pub async fn tune(
    gpu: &Gpu,
    group: &Group,
    mut rehearse: impl AsyncFnMut() -> Result<()>,
    mut report: impl FnMut(&str, usize, usize),
) -> Result<()> {
    let tuner = gpu.tuner();
    tuner.begin();
    if group.is_first() {
        choose(gpu, &mut rehearse, &mut report).await?;
    }
    if group.size() == 1 {
        return Ok(());
    }
    let own = json!({ "adapter": tuner.adapter(), "choices": tuner.choices() });
    let first = group.from_first(own.to_string().into_bytes())?;
    if !group.is_first() {
        let first: Value = serde_json::from_slice(&first).map_err(Error::json("the choices of rank 0"))?;
        if first["adapter"] == tuner.adapter() {
            tuner.adopt_from_run(serde_json::from_value(first["choices"].clone()).unwrap_or_default());
        }
        choose(gpu, &mut rehearse, &mut report).await?;
    }
    group.meet()
}

/// Answers the tuner's open questions between the steps of a run, for the runs that begin later: so seldom that nobody
/// waits for it.
pub struct Spare {
    start: Instant,
    spent: f64,
}

/// The share of a run's time that may be spent on variants between its steps, and the most seconds.
const SPARE: (f64, f64) = (0.02, 8.0);
/// Seconds that a question is expected to take.
const QUESTION: f64 = 0.5;

impl Spare {
    /// For a run that begins its steps now.
    pub fn begin() -> Self {
        Self { start: Instant::now(), spent: 0.0 }
    }

    /// Whether enough time has passed for another question. With several ranks all would wait for one, so there it never
    /// has.
    pub fn is_due(&self, group: &Group) -> bool {
        let (share, most) = SPARE;
        group.size() == 1 && self.spent < most && self.spent + QUESTION < share * self.start.elapsed().as_secs_f64()
    }

    /// Answers a question.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub async fn answer(&mut self, gpu: &Gpu) -> Result<()> {
        let begun = Instant::now();
        self.spent = match tuning::answer_next(gpu).await {
            Ok(true) => self.spent + begun.elapsed().as_secs_f64(),
            Err(error @ Error::DeviceLost { .. }) => return Err(error),
            // The run goes on without: there may not be enough memory beside it.
            Ok(false) | Err(_) => f64::INFINITY,
        };
        Ok(())
    }
}
