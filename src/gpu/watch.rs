//! Finds the first dispatch that writes a number that is not finite, by a check after each of them. Slow: for finding out
//! why a computation that is run again has failed.

use std::sync::Arc;

use super::{Bind, Constant, Gpu, Storage, imagine::BufferRange, kernel::Pipeline, pool::Purpose, recorder::Recorder};
use crate::{Result, binds, kernels, params};

kernels! {
    /// Notes that words are not finite.
    NOT_FINITE = "not_finite";
}

/// The first dispatch that wrote a number that is not finite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstNotFinite {
    /// The kernel.
    pub kernel: String,
    /// The last of the named buffers that it, or a dispatch before it, was bound to.
    pub after: Option<String>,
    /// The part of the work that was going on, as [`Gpu::watch_part`] was told.
    pub part: String,
}

/// What is being watched.
pub(super) struct Watch {
    /// The number of the first check that found something.
    first: Arc<Storage>,
    /// The checks of buffers of f32 and of f16.
    pipelines: [Arc<Pipeline>; 2],
    names: Vec<(BufferRange, String)>,
    after: Option<String>,
    part: String,
    /// What each check finds, if it is the first to find something.
    checks: Vec<FirstNotFinite>,
}

impl Watch {
    /// Checks everything that a dispatch wrote; it was recorded just now.
    pub fn check(
        &mut self,
        recorder: &mut Recorder,
        gpu: &Gpu,
        pipeline: &Pipeline,
        binds: &[(&str, Bind<'_>)],
    ) -> Result<()> {
        let here = |bind: &Bind<'_>| {
            let holds = |range: &BufferRange| {
                let offset = bind.offset.checked_sub(range.offset);
                range.id == bind.storage.id() && offset.is_some_and(|offset| offset < range.size)
            };
            self.names.iter().find(|(range, _)| holds(range)).map(|(_, name)| name.clone())
        };
        if let Some(name) = binds.iter().find_map(|(_, bind)| here(bind)) {
            self.after = Some(name);
        }
        for binding in pipeline.interface.bindings.iter().filter(|binding| binding.writes) {
            let written = binds.iter().find(|(name, _)| *name == binding.name);
            let (Some((_, bind)), Some(bytes)) = (written, binding.float) else { continue };
            self.check_buffer(recorder, gpu, (&pipeline.label, *bind), bytes == 2)?;
        }
        Ok(())
    }

    fn check_buffer(
        &mut self,
        recorder: &mut Recorder,
        gpu: &Gpu,
        (kernel, x): (&str, Bind<'_>),
        half: bool,
    ) -> Result<()> {
        let (number, count) = (self.checks.len(), (x.size / 4) as usize);
        let (kernel, after, part) = (kernel.to_string(), self.after.clone(), self.part.clone());
        self.checks.push(FirstNotFinite { kernel, after, part });
        let first = Bind { storage: &self.first, offset: 0, size: 4 };
        let params = params![count: count, number: number];
        recorder.dispatch(
            gpu,
            &self.pipelines[usize::from(half)],
            binds![x: x, first: first],
            params,
            gpu.flat_grid(count),
        )
    }
}

impl Gpu {
    /// Begins to check what every dispatch writes. `names` are those of buffers by which places are described, such as
    /// weights. Buffers made from here on begin with zeros, so that unwritten parts are not taken for results.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn watch_numbers(&self, names: Vec<(String, BufferRange)>) -> Result<()> {
        if self.is_imagined() {
            return Ok(());
        }
        let pipeline = |half: bool| self.pipeline(&NOT_FINITE.set("HALF", Constant::from(half)));
        let pipelines = [pipeline(false)?, pipeline(true)?];
        let first = self.allocate(4, Purpose::Compute);
        self.upload(Bind { storage: &first, offset: 0, size: 4 }, &u32::MAX.to_le_bytes());
        let names = names.into_iter().map(|(name, range)| (range, name)).collect();
        let watch = Watch { first, pipelines, names, after: None, part: String::new(), checks: Vec::new() };
        self.recorder().watch = Some(watch);
        Ok(())
    }

    /// Checks the contents of a buffer of f32 or f16, if numbers are watched.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn watch_buffer(&self, bind: Bind<'_>, half: bool) -> Result<()> {
        let mut recorder = self.recorder();
        let Some(mut watch) = recorder.watch.take() else { return Ok(()) };
        let checked = watch.check_buffer(&mut recorder, self, ("", bind), half);
        recorder.watch = Some(watch);
        checked
    }

    /// Names the part of the work that begins, such as the forward pass, if numbers are watched. The names of buffers are
    /// forgotten if `whole`: then the part goes through all of them at once.
    pub fn watch_part(&self, part: impl FnOnce() -> String, whole: bool) {
        if let Some(watch) = self.recorder().watch.as_mut() {
            (watch.part, watch.after) = (part(), None);
            if whole {
                watch.names.clear();
            }
        }
    }

    /// Whether numbers are watched.
    pub fn is_watching(&self) -> bool {
        self.recorder().watch.is_some()
    }

    /// Ends the watch; `None` if everything written was finite.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub async fn first_not_finite(&self) -> Result<Option<FirstNotFinite>> {
        let Some(watch) = self.recorder().watch.take() else { return Ok(None) };
        let number = self.read(Bind { storage: &watch.first, offset: 0, size: 4 }).numbers::<u32>().await?;
        // The checks' bind groups keep buffers alive that nobody will check again.
        self.trim();
        Ok(number.first().and_then(|number| watch.checks.get(*number as usize)).cloned())
    }
}
