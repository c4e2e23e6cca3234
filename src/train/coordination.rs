//! What the ranks of a job do together beside steps.

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
    /// That of a run at `step`: a new one at the first.
    ///
    /// # Errors
    /// As [`Metrics::create`] and [`Metrics::resume`].
    pub fn open(group: &Group, path: &Path, step: u64) -> Result<Self> {
        let open = || if step == 0 { Metrics::create(path) } else { Metrics::resume(path, step) };
        group.is_first().then(open).transpose().map(Self)
    }

    /// As [`Metrics::append`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, line: &Value) -> Result<()> {
        self.0.as_mut().map_or(Ok(()), |metrics| metrics.append(line))
    }
}

/// Whether any rank wants to stop: a wish of one is heard by all at the same step.
#[must_use]
pub struct Vote(Reply<Vec<f32>>);

impl Vote {
    /// This rank's vote.
    pub fn cast(group: &Group, stop: &AtomicBool) -> Self {
        Self(group.sum(vec![f32::from(stop.load(Ordering::Relaxed))], Wire::F32))
    }

    /// What all ranks say.
    ///
    /// # Errors
    /// [`Error::Rank`].
    pub fn stops(self) -> Result<bool> {
        Ok(self.0.wait()?.iter().any(|votes| *votes > 0.0))
    }
}

/// Makes sure that all ranks are about to do the same: `what` is compared as JSON. All ranks are here when it returns.
///
/// # Errors
/// [`Error::Usage`] naming the first rank that is not; [`Error::Rank`].
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

/// Compiles by `rehearse` and lets the tuner choose. The first rank's choices are those of all ranks with an adapter like its
/// own: they are made once, and equal kernels round alike.
///
/// # Errors
/// Those of `rehearse` and of the driver; [`Error::Rank`].
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
