//! An opened device with its caches.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    Capabilities, Storage, Variant, adapter, capabilities,
    fault::Fault,
    imagine::{Ledger, Note},
    kernel::{self, Pipeline},
    pool::{Pool, Purpose},
    profile::{Entry, Profile},
    recorder::Recorder,
    shipped,
    tune::Tuner,
};
use crate::{Error, Result, trusted};

/// Looks up the bytes that were saved for an adapter.
pub type Kept = fn(&wgpu::AdapterInfo) -> Option<Vec<u8>>;

/// How to open a device.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Index or part of the name of the adapter; the best one if `None`.
    pub adapter: Option<String>,
    /// Without `adapter`: which of the adapters of the best kind, modulo their number, for
    /// programs that run side by side.
    pub nth: usize,
    /// Capabilities to leave unused, comma-separated.
    pub without: String,
    /// Variants to leave unused, by name, separated by semicolons: see [`crate::ops::variant_names`].
    pub without_variants: String,
    /// `minimum` for the limits that WebGPU guarantees on any adapter; otherwise the adapter's own.
    pub limits: String,
    /// Whether kernels keep index clamps and loop bounds.
    pub checked: bool,
    /// Whether only the library's own kernels will run, which stay within their buffers: then, unless `checked`, a Vulkan
    /// device need not check every access to a buffer, which costs some GPUs half their speed. [`Gpu::dispatch`] and
    /// [`Gpu::wgpu_device`] are not available on it.
    pub own_kernels_only: bool,
    /// Looks up an adapter's saved pipelines: bytes from [`Gpu::compiled`], arbitrary bytes, or none.
    pub compiled: Option<Kept>,
}

impl Options {
    /// Reads the options from `WGPT_ADAPTER`, `WGPT_WITHOUT`, `WGPT_WITHOUT_VARIANTS`, `WGPT_LIMITS` and `WGPT_CHECKED`.
    pub fn from_environment() -> Self {
        let read = |name| std::env::var(name).unwrap_or_default();
        Self {
            adapter: Some(read("WGPT_ADAPTER")).filter(|name| !name.is_empty()),
            without: read("WGPT_WITHOUT"),
            without_variants: read("WGPT_WITHOUT_VARIANTS"),
            limits: read("WGPT_LIMITS"),
            checked: !matches!(&*read("WGPT_CHECKED"), "" | "0"),
            own_kernels_only: false,
            compiled: None,
            nth: 0,
        }
    }

    /// Refuses options that mean nothing, which [`Gpu::open`] does as well.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the unknown word.
    pub fn validate(&self) -> Result<()> {
        capabilities::wanted(&self.without)?;
        capabilities::minimum(&self.limits).map(|_| ())
    }

    /// Describes what the device lacks compared with its adapter; empty if nothing.
    pub fn reduced(&self) -> String {
        let without = if self.without.is_empty() { String::new() } else { format!("without {}", self.without) };
        let limits = if self.limits.is_empty() { String::new() } else { format!("{} limits", self.limits) };
        let checked = if self.checked { "with run-time checks".to_string() } else { String::new() };
        [without, limits, checked].into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(", ")
    }
}

/// Counts of objects created since the device was opened. After the first training step none of these grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// Buffers.
    pub buffers: u64,
    /// Bind groups.
    pub bind_groups: u64,
    /// Pipelines.
    pub pipelines: u64,
}

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    capabilities: Capabilities,
    fault: Fault,
    pool: Arc<Pool>,
    pipelines: Mutex<HashMap<Variant, Arc<Pipeline>>>,
    compiled: Option<wgpu::PipelineCache>,
    recorder: Mutex<Recorder>,
    tuner: Tuner,
    ledger: Option<Mutex<Ledger>>,
    checked: bool,
    /// Whether the device checks every access to a buffer, or every kernel does.
    bounded: bool,
    poison: AtomicBool,
    next_id: AtomicU64,
}

/// An opened device. Clones share it.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>);

impl std::fmt::Debug for Gpu {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Gpu").field(&self.description()).finish()
    }
}

impl Gpu {
    /// Opens the adapter that `options` select.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::UnknownAdapter`], [`Error::NoDevice`]; [`Error::Usage`] for invalid options.
    pub async fn open(options: &Options) -> Result<Self> {
        let adapter = adapter::choose(options.adapter.as_deref(), options.nth).await?;
        let info = adapter.get_info();
        let (required_features, required_limits) = Capabilities::request(&adapter, &options.without, &options.limits)?;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("wgpt"),
            required_features,
            required_limits,
            memory_hints: wgpu::MemoryHints::Performance,
            experimental_features: if required_features.intersects(wgpu::Features::all_experimental_mask()) {
                trusted::experimental()
            } else {
                wgpu::ExperimentalFeatures::disabled()
            },
            ..Default::default()
        };
        let failed = |error: String| Error::NoDevice { adapter: info.name.clone(), reason: error };
        let unbounded = match options.own_kernels_only && !options.checked {
            true => trusted::unbounded_device(&adapter, &descriptor).map_err(failed)?,
            false => None,
        };
        let bounded = unbounded.is_none();
        let (device, queue) = match unbounded {
            Some(opened) => opened,
            None => adapter.request_device(&descriptor).await.map_err(|error| failed(error.to_string()))?,
        };
        let capabilities = Capabilities::of(&device, &adapter, &options.without_variants);
        let compiled = device.features().contains(wgpu::Features::PIPELINE_CACHE).then(|| {
            let kept = options.compiled.and_then(|kept| kept(&info));
            trusted::pipeline_cache(&device, kept.as_deref())
        });
        let tuner = Tuner::new(adapter::key(&info, &options.reduced()));
        if options.reduced().is_empty() {
            tuner.adopt_shipped(shipped::choices(&info.driver));
        }
        Ok(Self(Arc::new(Inner {
            fault: Fault::watch(&device),
            pool: Arc::default(),
            pipelines: Mutex::default(),
            compiled,
            recorder: Mutex::new(Recorder::new(&device, capabilities.processor)),
            tuner,
            ledger: None,
            checked: options.checked,
            bounded,
            poison: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
            capabilities,
            device,
            queue,
            info,
        })))
    }

    /// An imagined device beside this one, which only takes notes: tensors take no memory, dispatches are noted in its
    /// ledger, copies do nothing, and every read gives zeros. Its tuner starts with this one's choices.
    pub fn imagine(&self) -> Self {
        self.imagine_as(self.capabilities().clone())
    }

    /// [`Gpu::imagine`] for an adapter with other capabilities than this one.
    pub fn imagine_as(&self, capabilities: Capabilities) -> Self {
        let Inner { device, queue, info, fault, checked, bounded, .. } = &*self.0;
        let tuner = self.tuner().copy();
        Self(Arc::new(Inner {
            fault: fault.clone(),
            pool: Arc::new(Pool::imagined(device)),
            pipelines: Mutex::default(),
            compiled: None,
            recorder: Mutex::new(Recorder::new(device, capabilities.processor)),
            tuner,
            ledger: Some(Mutex::default()),
            checked: *checked,
            bounded: *bounded,
            poison: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
            capabilities,
            device: device.clone(),
            queue: queue.clone(),
            info: info.clone(),
        }))
    }

    /// Whether this device only takes notes.
    pub fn is_imagined(&self) -> bool {
        self.0.ledger.is_some()
    }

    /// The notes of an imagined device.
    pub fn ledger(&self) -> Option<MutexGuard<'_, Ledger>> {
        self.0.ledger.as_ref().map(|ledger| ledger.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Notes what would be done if this is an imagined device; returns whether it is one.
    pub(super) fn notes(&self, note: impl FnOnce() -> Note) -> bool {
        self.ledger().is_some_and(|mut ledger| {
            ledger.add(note);
            true
        })
    }

    /// The wgpu device; `None` if it was opened for the library's own kernels only, because others would run on it without
    /// any checks.
    pub fn wgpu_device(&self) -> Option<&wgpu::Device> {
        self.bounded().then(|| self.device())
    }

    /// Destroys the device, as a driver's reset would, to test what happens then.
    pub fn destroy(&self) {
        self.device().destroy();
    }

    /// The features that the device was opened with.
    pub fn features(&self) -> wgpu::Features {
        self.device().features()
    }

    /// Whether kernels that are not the library's own may run: the device checks every access to a buffer.
    pub(super) fn bounded(&self) -> bool {
        self.0.bounded
    }

    pub(crate) fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    /// The wgpu queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// Name, kind, backend and driver of the adapter.
    pub fn description(&self) -> String {
        adapter::describe(&self.0.info)
    }

    /// wgpu's information about the adapter.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.0.info
    }

    /// What the adapter can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// The remembered choices between variants.
    pub fn tuner(&self) -> &Tuner {
        &self.0.tuner
    }

    /// Whether kernels keep their run-time checks.
    pub fn checked(&self) -> bool {
        self.0.checked
    }

    /// Turns on or off that every new tensor is filled with NaN, by which tests find kernels
    /// that leave output unwritten.
    pub fn poison(&self, on: bool) {
        self.0.poison.store(on, Ordering::Relaxed);
    }

    /// Whether new tensors are filled with NaN.
    pub fn poisons(&self) -> bool {
        self.0.poison.load(Ordering::Relaxed)
    }

    /// A number that no other tensor of this device has.
    pub fn next_id(&self) -> u64 {
        self.0.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// A buffer of at least `bytes` bytes, with arbitrary contents.
    pub fn allocate(&self, bytes: u64, purpose: Purpose) -> Arc<Storage> {
        self.0.pool.take(&self.0.device, bytes, purpose)
    }

    /// Bytes of buffers in use, their peak, and bytes held including free buffers.
    pub fn memory(&self) -> (u64, u64, u64) {
        self.0.pool.bytes()
    }

    /// Frees the buffers that nothing uses, and drops the bind groups that keep them alive.
    pub fn trim(&self) {
        self.recorder().groups.clear();
        self.0.pool.trim();
    }

    /// Checks whether the driver has reported an error since the device was opened.
    ///
    /// # Errors
    /// The report, naming the last kernel recorded.
    pub fn check(&self) -> Result<()> {
        // The caller may hold the recorder's lock; the kernel's name is not worth a deadlock.
        let kernel =
            self.0.recorder.try_lock().map_or_else(|_| String::new(), |recorder| recorder.last_kernel().into());
        self.0.fault.check(&kernel)
    }

    /// The cache used to compile pipelines.
    pub(super) fn pipeline_cache(&self) -> Option<&wgpu::PipelineCache> {
        self.0.compiled.as_ref()
    }

    /// The pipelines compiled so far and those from [`Options::compiled`], as bytes to save for the next process;
    /// `None` where the adapter does not support this.
    pub fn compiled(&self) -> Option<Vec<u8>> {
        self.0.compiled.as_ref().and_then(trusted::pipeline_data)
    }

    /// The layout and the bind group of the parameter ring.
    pub(super) fn uniform_group(&self) -> (wgpu::BindGroupLayout, wgpu::BindGroup) {
        let entries = [kernel::entry(0, wgpu::BufferBindingType::Uniform)];
        let layout = self.0.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("parameters"),
            entries: &entries,
        });
        let recorder = self.recorder();
        let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: recorder.params_ring(),
            offset: 0,
            size: std::num::NonZeroU64::new(256),
        });
        let group = self.0.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("parameters"),
            layout: &layout,
            entries: &[wgpu::BindGroupEntry { binding: 0, resource }],
        });
        (layout, group)
    }

    /// The pipelines compiled so far, by variant.
    pub(super) fn pipelines(&self) -> MutexGuard<'_, HashMap<Variant, Arc<Pipeline>>> {
        self.0.pipelines.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.0.recorder.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Counts of objects created so far.
    pub fn created(&self) -> Created {
        Created {
            buffers: self.0.pool.created(),
            bind_groups: self.recorder().groups.created(),
            pipelines: self.pipelines().len() as u64,
        }
    }

    /// Starts (or restarts) timing every dispatch.
    ///
    /// # Errors
    /// [`Error::NoTimestamps`].
    pub fn start_profile(&self) -> Result<()> {
        if !self.capabilities().timestamps {
            return Err(Error::NoTimestamps { adapter: self.description() });
        }
        self.submit()?;
        self.recorder().profile = Some(Profile::new(self.device(), self.queue()));
        Ok(())
    }

    /// Kernels by time since the profile was started, the slowest first; empty without one.
    ///
    /// # Errors
    /// Returns any error that the driver has reported.
    pub fn profile_table(&self) -> Result<Vec<(String, Entry)>> {
        self.submit()?;
        Ok(self.recorder().profile.as_ref().map(Profile::table).unwrap_or_default())
    }
}
