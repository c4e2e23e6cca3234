//! Notes what a device would do instead of doing it: the pool itself counts allocations, and dispatches and copies go
//! to a [`Ledger`]. The plan of a run is made from these notes, so it cannot disagree with the code that runs.

use std::{collections::HashMap, sync::Arc};

use super::{Bind, Gpu, Param, Storage, Variant, pool::Purpose};
use crate::Result;

/// A dispatch, and how often it occurred.
#[derive(Clone, Debug)]
pub struct Work {
    /// The kernel.
    pub variant: Variant,
    /// Workgroups.
    pub grid: [u32; 3],
    /// How often it was dispatched.
    pub count: u64,
    params: Vec<(String, Param)>,
    /// The bytes of each buffer.
    binds: Vec<(String, u64)>,
    /// The names of buffers that only fill a binding: they are also bound under another name.
    stand_ins: Vec<String>,
}

/// A range of a buffer that the imagined pool handed out.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The buffer's number.
    pub id: u64,
    /// The whole buffer's size in bytes.
    pub whole: u64,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub size: u64,
}

impl From<Bind<'_>> for Place {
    fn from(bind: Bind<'_>) -> Self {
        Self { id: bind.storage.id(), whole: bind.storage.size(), offset: bind.offset, size: bind.size }
    }
}

/// One entry of the ledger's ordered list.
#[derive(Clone, Debug)]
pub enum Note {
    /// A dispatch: an index into the works, and the buffers it uses.
    Dispatch(usize, Vec<Place>),
    /// An upload of bytes from the host.
    Upload(Place, Vec<u8>),
    /// A copy: source, target.
    Copy(Place, Place),
    /// A range set to zero.
    Clear(Place),
    /// A readback to the host.
    Read(Place),
    /// A submission of what was recorded.
    Submit,
}

/// What was done since the ledger was last taken.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Distinct dispatches in order of first occurrence.
    pub works: Vec<Work>,
    /// Everything in order; empty unless requested.
    pub notes: Vec<Note>,
    places: HashMap<String, usize>,
    in_order: bool,
}

impl Ledger {
    /// Notes one dispatch.
    pub fn note(&mut self, variant: &Variant, binds: &[(&str, Bind<'_>)], params: &[(&str, Param)], grid: [u32; 3]) {
        let sizes: Vec<_> = binds.iter().map(|(name, bind)| ((*name).to_string(), bind.size)).collect();
        let key = format!("{variant} {params:?} {sizes:?} {grid:?}");
        let next = self.works.len();
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            let same = |a: &Bind<'_>, b: &Bind<'_>| a.storage.id() == b.storage.id() && a.offset == b.offset;
            let stands_in = |place: usize| binds[..place].iter().any(|(_, earlier)| same(earlier, &binds[place].1));
            let stand_ins = (0..binds.len()).filter(|place| stands_in(*place)).map(|place| binds[place].0.to_string());
            let stand_ins = stand_ins.collect();
            let params = params.iter().map(|(name, param)| ((*name).to_string(), *param)).collect();
            self.works.push(Work { variant: variant.clone(), grid, count: 0, params, binds: sizes, stand_ins });
        }
        self.works[place].count += 1;
        self.add(|| Note::Dispatch(place, binds.iter().map(|(_, bind)| Place::from(*bind)).collect()));
    }

    /// Notes something else, if order is kept.
    pub fn add(&mut self, note: impl FnOnce() -> Note) {
        if self.in_order {
            self.notes.push(note());
        }
    }

    /// Takes the notes so far. From here on, everything is also noted in order, with uploaded bytes, if `in_order`.
    pub fn take(&mut self, in_order: bool) -> Self {
        std::mem::replace(self, Self { in_order, ..Self::default() })
    }
}

/// Buffers that stand in for any others when noted work is run: their contents are zeros or whatever was written before.
/// Each run takes the next place in them, so that caches hold no more of it than in a step with as many bytes in use.
pub struct Scratch {
    buffers: Vec<Arc<Storage>>,
    next: u64,
}

impl Scratch {
    /// Buffers as large as any of `works` needs, and `bytes` in total if that is more.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, works: &[Work], bytes: u64) -> Result<Self> {
        let places = works.iter().map(|work| work.binds.len()).max().unwrap_or(0);
        let mut buffers = Vec::with_capacity(places);
        let share = (bytes / places.max(1) as u64).min(gpu.capabilities().buffer) / 256 * 256;
        for place in 0..places {
            let needed = works.iter().filter_map(|work| work.binds.get(place)).map(|(_, bytes)| *bytes).max();
            let size = needed.unwrap_or(4).max(share);
            let storage = gpu.allocate(size, Purpose::Compute);
            gpu.clear(Bind { storage: &storage, offset: 0, size });
            buffers.push(storage);
        }
        gpu.check()?;
        Ok(Self { buffers, next: 0 })
    }

    /// A range of `size` bytes for bind number `place` of this run.
    fn range(&self, place: usize, size: u64) -> Bind<'_> {
        let step = size.next_multiple_of(256);
        let storage = &self.buffers[place];
        let turns = (storage.size() / step).max(1);
        Bind { storage, offset: self.next % turns * step, size }
    }
}

impl Work {
    /// An integer parameter.
    pub fn param(&self, name: &str) -> Option<u32> {
        let found = self.params.iter().find(|(other, _)| other == name)?.1;
        if let Param::Uint(value) = found { Some(value) } else { None }
    }

    /// Bytes that one dispatch reads and writes if every buffer is passed over once. This overestimates tables, of
    /// which only some rows are read, and buffers that are added to.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`] for a kernel that does not compile.
    pub fn bytes(&self, gpu: &Gpu) -> Result<u64> {
        let pipeline = gpu.pipeline(&self.variant)?;
        let overwrites = self.param("accumulate") == Some(0);
        let passes = |binding: &super::reflect::Binding| {
            let reads = binding.reads && !(overwrites && binding.writes);
            u64::from(reads) + u64::from(binding.writes)
        };
        let size = |name: &str| {
            let real = !self.stand_ins.iter().any(|other| other == name);
            self.binds.iter().find(|(other, _)| other == name && real).map_or(0, |(_, size)| *size)
        };
        Ok(pipeline.interface.bindings.iter().map(|binding| passes(binding) * size(&binding.name)).sum())
    }

    /// Dispatches it for real, once, over scratch buffers.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn run(&self, gpu: &Gpu, scratch: &mut Scratch) -> Result<()> {
        scratch.next += 1;
        let ranges = self.binds.iter().enumerate();
        let buffers: Vec<_> = ranges.map(|(place, (_, size))| scratch.range(place, *size)).collect();
        self.run_over(gpu, &buffers)
    }

    /// Dispatches it for real over `buffers`, given in the order of its own.
    pub(super) fn run_over(&self, gpu: &Gpu, buffers: &[Bind<'_>]) -> Result<()> {
        let binds: Vec<_> = self.binds.iter().zip(buffers).map(|((name, _), bind)| (name.as_str(), *bind)).collect();
        let params: Vec<_> = self.params.iter().map(|(name, param)| (name.as_str(), *param)).collect();
        gpu.run(&self.variant, &binds, &params, self.grid)
    }
}
