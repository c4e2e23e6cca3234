//! What a device would do, noted instead of done: allocations are counted by the pool itself, dispatches and copies go to a
//! [`Ledger`]. A plan of a run is made of these notes, so it cannot disagree with the code that runs.

use std::{collections::HashMap, sync::Arc};

use super::{Bind, Gpu, Param, Storage, Variant, pool::Purpose};
use crate::Result;

/// A dispatch, and how often it came.
#[derive(Clone, Debug)]
pub struct Work {
    /// The kernel.
    pub variant: Variant,
    /// Workgroups.
    pub grid: [u32; 3],
    /// How often it was dispatched.
    pub count: u64,
    pub(super) params: Vec<(String, Param)>,
    /// The bytes of each buffer.
    pub(super) binds: Vec<(String, u64)>,
}

/// A range of a buffer that the imagined pool handed out.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The buffer's number.
    pub id: u64,
    /// The whole buffer's bytes.
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

/// Something that is done in order.
#[derive(Clone, Debug)]
pub enum Note {
    /// A dispatch: which of the works, over which buffers.
    Dispatch(usize, Vec<Place>),
    /// Bytes from the host.
    Upload(Place, Vec<u8>),
    /// From, to.
    Copy(Place, Place),
    /// Zeros.
    Clear(Place),
    /// Bytes to the host.
    Read(Place),
    /// What was recorded is handed over.
    Submit,
}

/// What was done, since it was last taken.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Distinct dispatches in the order in which they came first.
    pub works: Vec<Work>,
    /// Everything in order; empty unless it was asked for.
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
            let params = params.iter().map(|(name, param)| ((*name).to_string(), *param)).collect();
            self.works.push(Work { variant: variant.clone(), grid, count: 0, params, binds: sizes });
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

    /// The notes so far, which are forgotten. From here on their order is kept, with what is uploaded, or not.
    pub fn take(&mut self, in_order: bool) -> Self {
        std::mem::replace(self, Self { in_order, ..Self::default() })
    }
}

/// Buffers that stand for any others when noted work is run: contents are zeros or whatever was written before.
pub struct Scratch(Vec<Arc<Storage>>);

impl Scratch {
    /// As large as any of `works` needs.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, works: &[Work]) -> Result<Self> {
        let places = works.iter().map(|work| work.binds.len()).max().unwrap_or(0);
        let mut buffers = Vec::with_capacity(places);
        for place in 0..places {
            let size =
                works.iter().filter_map(|work| work.binds.get(place)).map(|(_, bytes)| *bytes).max().unwrap_or(4);
            let storage = gpu.allocate(size, Purpose::Compute);
            gpu.clear(Bind { storage: &storage, offset: 0, size });
            buffers.push(storage);
        }
        gpu.check()?;
        Ok(Self(buffers))
    }
}

impl Work {
    /// Dispatches it for real, once, over scratch buffers.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn run(&self, gpu: &Gpu, scratch: &Scratch) -> Result<()> {
        let binds: Vec<_> = self
            .binds
            .iter()
            .zip(&scratch.0)
            .map(|((_, size), storage)| Bind { storage, offset: 0, size: *size })
            .collect();
        self.run_over(gpu, &binds)
    }

    /// Dispatches it for real, over buffers in the order of its own.
    pub(super) fn run_over(&self, gpu: &Gpu, buffers: &[Bind<'_>]) -> Result<()> {
        let binds: Vec<_> = self.binds.iter().zip(buffers).map(|((name, _), bind)| (name.as_str(), *bind)).collect();
        let params: Vec<_> = self.params.iter().map(|(name, param)| (name.as_str(), *param)).collect();
        gpu.run(&self.variant, &binds, &params, self.grid)
    }
}
