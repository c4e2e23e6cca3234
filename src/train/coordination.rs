//! What the ranks of a job do together besides training steps.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};

use crate::{
    Error, Result,
    gpu::Gpu,
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

/// Calls `rehearse`, which compiles the kernels, and lets the tuner choose variants. All ranks whose adapter is like
/// the first rank's adopt its choices: the choices are made only once, and equal kernels round alike.
///
/// # Errors
/// Returns the errors of `rehearse` and of the driver, and [`Error::Rank`].
pub async fn tune(
    gpu: &Gpu,
    group: &Group,
    mut rehearse: impl AsyncFnMut() -> Result<()>,
    mut report: impl FnMut(&str, usize, usize),
) -> Result<()> {
    if group.is_first() {
        rehearse().await?;
        tuning::answer(gpu, &mut report).await?;
    }
    if group.size() == 1 {
        return Ok(());
    }
    let own = json!({ "adapter": gpu.tuner().adapter(), "choices": gpu.tuner().choices() });
    let first = group.from_first(own.to_string().into_bytes())?;
    if !group.is_first() {
        let first: Value = serde_json::from_slice(&first).map_err(Error::json("the choices of rank 0"))?;
        if first["adapter"] == gpu.tuner().adapter() {
            gpu.tuner().adopt(serde_json::from_value(first["choices"].clone()).unwrap_or_default());
        }
        rehearse().await?;
        tuning::answer(gpu, report).await?;
    }
    group.meet()
}
