//! Records commands in order: dispatches, uploads and copies go into one encoder and few submissions, none of which takes long
//! (see `pace`).
//!
//! Invariant: whatever the host writes for a submission goes through the two rings below and is copied inside the
//! encoder. A plain `write_buffer` into a tensor would take effect before work that was recorded earlier.

use std::{collections::VecDeque, sync::Arc};

use web_time::Instant;

use super::{
    Bind, Gpu, Param, Storage, Variant,
    bindings::{BindGroups, pack},
    imagine::Note,
    kernel::Pipeline,
    pace::Pace,
    profile::Profile,
    watch::Watch,
};
use crate::{Error, Result};

/// Bytes that one submission can upload.
const UPLOAD_RING: u64 = 4 << 20;
/// Bytes that one submission's parameters can take where the adapter has no immediates.
const PARAMS_RING: u64 = 1 << 20;

/// Invocations per workgroup of the flat kernels (`lib/index.wgsl`).
const FLAT_GROUP: usize = 64;

/// The open encoder and what belongs to its submission.
pub struct Recorder {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    bound: u32,
    pace: Pace,
    upload: wgpu::Buffer,
    uploads: Vec<u8>,
    params: wgpu::Buffer,
    params_bytes: Vec<u8>,
    epoch: u64,
    /// Whether the open submission copies something out that the host will wait for.
    read: bool,
    /// Submissions that the host may wait for.
    submissions: VecDeque<(u64, wgpu::SubmissionIndex)>,
    last_kernel: String,
    /// Bind groups made so far.
    pub groups: BindGroups,
    /// Time per kernel, while profiling.
    pub profile: Option<Profile>,
    /// Checks of what is written, while numbers are watched.
    pub(super) watch: Option<Watch>,
}

impl Recorder {
    /// An empty recorder with its rings. `software`: whether the adapter is the processor.
    pub fn new(device: &wgpu::Device, software: bool) -> Self {
        let ring = |label, size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
        };
        let (source, target) = (wgpu::BufferUsages::COPY_SRC, wgpu::BufferUsages::COPY_DST);
        Self {
            encoder: None,
            pass: None,
            bound: u32::MAX,
            pace: Pace::new(software),
            upload: ring("upload ring", UPLOAD_RING, source | target),
            uploads: Vec::new(),
            params: ring("parameter ring", PARAMS_RING, wgpu::BufferUsages::UNIFORM | target),
            params_bytes: Vec::new(),
            epoch: 0,
            read: false,
            submissions: VecDeque::new(),
            last_kernel: String::new(),
            groups: BindGroups::default(),
            profile: None,
            watch: None,
        }
    }

    /// The parameter ring, which group 1 binds.
    pub fn params_ring(&self) -> &wgpu::Buffer {
        &self.params
    }

    /// The last kernel recorded, for error messages.
    pub fn last_kernel(&self) -> &str {
        &self.last_kernel
    }

    fn end_pass(&mut self) {
        self.pass = None;
        self.bound = u32::MAX;
    }

    fn encoder(&mut self, gpu: &Gpu) -> &mut wgpu::CommandEncoder {
        self.end_pass();
        self.open(gpu)
    }

    fn open(&mut self, gpu: &Gpu) -> &mut wgpu::CommandEncoder {
        self.encoder.get_or_insert_with(|| gpu.device().create_command_encoder(&Default::default()))
    }

    pub(super) fn dispatch(
        &mut self,
        gpu: &Gpu,
        pipeline: &Pipeline,
        binds: &[(&str, Bind<'_>)],
        params: &[(&str, Param)],
        grid: [u32; 3],
    ) -> Result<()> {
        let group = self.groups.get(gpu.device(), pipeline, binds)?;
        let bytes = pack(pipeline, params)?;
        let groups = grid.iter().map(|&groups| u64::from(groups)).product();
        let bound = binds.iter().map(|(_, bind)| bind.size).sum();
        let expected = self.pace.expect(pipeline.id, groups, bound);
        if self.pace.is_over(&expected) {
            self.submit(gpu);
        }
        self.pace.record(expected);
        let offset = self.params_bytes.len();
        let immediates = pipeline.uniform.is_none();
        if !immediates {
            self.params_bytes.extend_from_slice(&bytes);
            self.params_bytes.resize((offset + bytes.len()).next_multiple_of(256), 0);
        }
        if self.pass.is_none() {
            let timestamps = self.profile.as_mut().and_then(|profile| profile.next(&pipeline.label));
            let pass = self
                .open(gpu)
                .begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: timestamps.as_ref().map(super::profile::Slot::writes),
                })
                .forget_lifetime();
            self.pass = Some(pass);
        }
        let Some(pass) = self.pass.as_mut() else { return Ok(()) };
        if self.bound != pipeline.id {
            pass.set_pipeline(&pipeline.pipeline);
            self.bound = pipeline.id;
        }
        pass.set_bind_group(0, &group, &[]);
        if let Some(uniform) = &pipeline.uniform {
            pass.set_bind_group(1, uniform, &[offset as u32]);
        } else if !bytes.is_empty() {
            pass.set_immediates(0, &bytes);
        }
        pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
        self.last_kernel.clone_from(&pipeline.label);
        if self.profile.is_some() {
            self.end_pass();
        }
        let full = self.params_bytes.len() as u64 + 512 > PARAMS_RING;
        if full || self.profile.as_ref().is_some_and(Profile::is_full) {
            self.submit(gpu);
        }
        Ok(())
    }

    fn upload(&mut self, gpu: &Gpu, target: Bind<'_>, bytes: &[u8]) {
        for (index, chunk) in bytes.chunks(UPLOAD_RING as usize).enumerate() {
            let start = (self.uploads.len() as u64).next_multiple_of(16);
            if start + chunk.len() as u64 > UPLOAD_RING {
                self.submit(gpu);
            }
            let start = self.uploads.len().next_multiple_of(16);
            self.uploads.resize(start, 0);
            self.uploads.extend_from_slice(chunk);
            let (ring, offset) = (self.upload.clone(), target.offset + index as u64 * UPLOAD_RING);
            let buffer = target.storage.buffer();
            self.encoder(gpu).copy_buffer_to_buffer(&ring, start as u64, buffer, offset, chunk.len() as u64);
        }
    }

    fn submit(&mut self, gpu: &Gpu) {
        self.end_pass();
        if let (Some(profile), Some(encoder)) = (self.profile.as_mut(), self.encoder.as_mut()) {
            profile.resolve(encoder);
        }
        let Some(encoder) = self.encoder.take() else { return };
        for (ring, bytes) in [(&self.upload, &mut self.uploads), (&self.params, &mut self.params_bytes)] {
            if !bytes.is_empty() {
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                gpu.queue().write_buffer(ring, 0, bytes);
                bytes.clear();
            }
        }
        let sent = Instant::now();
        let submission = gpu.queue().submit([encoder.finish()]);
        let end = self.pace.send(sent);
        gpu.queue().on_submitted_work_done(move || {
            let _ = end.set(Instant::now());
        });
        if std::mem::take(&mut self.read) {
            self.submissions.push_back((self.epoch, submission));
        }
        // Far fewer readbacks than two dozen are ever in flight at once.
        if self.submissions.len() > 24 {
            self.submissions.pop_front();
        }
        self.epoch += 1;
        if let Some(profile) = self.profile.as_mut() {
            profile.collect(gpu.device());
        }
    }
}

impl Gpu {
    /// The grid of a flat kernel, one that includes `lib/index.wgsl` and gives each of `count` elements (or vectors of four) an
    /// invocation.
    pub fn flat_grid(&self, count: usize) -> [u32; 3] {
        self.grid(count.div_ceil(FLAT_GROUP))
    }

    /// `groups` workgroups as a grid of at most two dimensions: counts over the adapter's limit fold into y.
    pub fn grid(&self, groups: usize) -> [u32; 3] {
        let most = self.capabilities().groups as usize;
        if groups <= most {
            return [groups as u32, 1, 1];
        }
        let y = groups.div_ceil(most);
        [groups.div_ceil(y) as u32, y as u32, 1]
    }

    /// Records one dispatch of a kernel, which may be your own, over a grid of workgroups. It runs after everything recorded
    /// before it. Its indices are clamped and its loops end, whatever it computes.
    ///
    /// # Errors
    /// [`Error::Kernel`] when buffers or parameters do not match what the kernel declares, or it does not compile, or the
    /// device was opened with [`own_kernels_only`](super::Options::own_kernels_only); [`Error::OutOfMemory`] for a buffer that
    /// the adapter cannot bind as a whole.
    pub fn dispatch(
        &self,
        variant: &Variant,
        binds: &[(&str, Bind<'_>)],
        params: &[(&str, Param)],
        grid: [u32; 3],
    ) -> Result<()> {
        if !self.bounded() {
            return Err(variant.error("the device was opened for the library's own kernels only"));
        }
        self.run(&Variant { checked: true, ..variant.clone() }, binds, params, grid)
    }

    /// Records one dispatch of a kernel of the library, whose caller guarantees that indices stay within the buffers: see
    /// `trusted::shader_module`.
    ///
    /// # Errors
    /// [`Error::Kernel`] when buffers or parameters do not match what the kernel declares, or it does not compile;
    /// [`Error::OutOfMemory`] for a buffer that the adapter cannot bind as a whole.
    pub(crate) fn run(
        &self,
        variant: &Variant,
        binds: &[(&str, Bind<'_>)],
        params: &[(&str, Param)],
        grid: [u32; 3],
    ) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        let most = self.capabilities().groups;
        if grid.iter().any(|&groups| groups > most) {
            return Err(variant.error(format!("grid {grid:?} is over the adapter's limit of {most} per dimension")));
        }
        let most = self.capabilities().binding;
        if let Some((name, bind)) = binds.iter().find(|(_, bind)| bind.size > most) {
            let reason = format!("{variant} takes '{name}' of {} bytes, the adapter binds at most {most}", bind.size);
            return Err(Error::OutOfMemory(reason));
        }
        if let Some(mut ledger) = self.ledger() {
            ledger.note(variant, binds, params, grid);
            return Ok(());
        }
        let pipeline = self.pipeline(variant)?;
        let mut recorder = self.recorder();
        recorder.dispatch(self, &pipeline, binds, params, grid)?;
        let Some(mut watch) = recorder.watch.take() else { return Ok(()) };
        let checked = watch.check(&mut recorder, self, &pipeline, binds);
        recorder.watch = Some(watch);
        checked
    }

    /// Copies host bytes (a multiple of four) into a buffer, in order with the dispatches around it.
    pub fn upload(&self, target: Bind<'_>, bytes: &[u8]) {
        if self.notes(|| Note::Upload(target.into(), bytes.to_vec())) {
            return;
        }
        self.recorder().upload(self, target, bytes);
    }

    /// Copies between buffers, in order with the dispatches around it. Offsets and size are multiples of four.
    pub fn copy(&self, source: Bind<'_>, target: Bind<'_>) {
        if self.notes(|| Note::Copy(source.into(), target.into())) {
            return;
        }
        let mut recorder = self.recorder();
        let (from, to) = (source.storage.buffer(), target.storage.buffer());
        recorder.encoder(self).copy_buffer_to_buffer(from, source.offset, to, target.offset, source.size);
    }

    /// Zeroes a range, in order with the dispatches around it.
    pub fn clear(&self, target: Bind<'_>) {
        if self.notes(|| Note::Clear(target.into())) {
            return;
        }
        self.recorder().encoder(self).clear_buffer(target.storage.buffer(), target.offset, Some(target.size));
    }

    /// Submits everything recorded so far to the GPU and runs the callbacks that are due.
    ///
    /// # Errors
    /// Returns any error that the driver has reported meanwhile.
    pub fn submit(&self) -> Result<()> {
        if self.notes(|| Note::Submit) {
            return self.check();
        }
        self.recorder().submit(self);
        self.turn();
        self.check()
    }

    /// Submits what was recorded for submission `epoch` unless that has been done already, or everything for `None`.
    /// Returns the submission while it is remembered.
    pub(super) fn submission(&self, epoch: Option<u64>) -> Option<wgpu::SubmissionIndex> {
        let mut recorder = self.recorder();
        if epoch.is_none_or(|epoch| epoch >= recorder.epoch) {
            recorder.submit(self);
        }
        let found = |epoch| recorder.submissions.iter().find(|(other, _)| *other == epoch);
        epoch.and_then(found).map(|(_, index)| index.clone())
    }

    /// Records a copy of `source` into `staging` and returns the number of the submission it goes out with.
    pub(super) fn copy_out(&self, source: Bind<'_>, staging: &Arc<Storage>) -> u64 {
        let imagined = self.notes(|| Note::Read(source.into()));
        let mut recorder = self.recorder();
        if !imagined {
            let buffer = source.storage.buffer();
            recorder.encoder(self).copy_buffer_to_buffer(buffer, source.offset, staging.buffer(), 0, source.size);
            recorder.read = true;
        }
        recorder.epoch
    }
}
