//! What a device would do, noted instead of done: allocations are counted by the pool itself, dispatches go to a [`Ledger`].
//! A plan of a run is made of these notes, so it cannot disagree with the code that runs.

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
    params: Vec<(String, Param)>,
    /// The bytes of each buffer.
    binds: Vec<(String, u64)>,
    /// The names of buffers that only fill a binding: they are bound under another name as well.
    stand_ins: Vec<String>,
}

/// Distinct dispatches in the order in which they came first.
#[derive(Debug, Default)]
pub struct Ledger {
    works: Vec<Work>,
    places: HashMap<String, usize>,
}

impl Ledger {
    /// Notes one dispatch.
    pub fn note(&mut self, variant: &Variant, whole: &[(&str, Bind<'_>)], params: &[(&str, Param)], grid: [u32; 3]) {
        let binds: Vec<_> = whole.iter().map(|(name, bind)| ((*name).to_string(), bind.size)).collect();
        let key = format!("{variant} {params:?} {binds:?} {grid:?}");
        let next = self.works.len();
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            let same = |a: &Bind<'_>, b: &Bind<'_>| a.storage.id() == b.storage.id() && a.offset == b.offset;
            let stands_in = |place: usize| whole[..place].iter().any(|(_, earlier)| same(earlier, &whole[place].1));
            let stand_ins = (0..whole.len()).filter(|place| stands_in(*place)).map(|place| whole[place].0.to_string());
            let stand_ins = stand_ins.collect();
            let params = params.iter().map(|(name, param)| ((*name).to_string(), *param)).collect();
            self.works.push(Work { variant: variant.clone(), grid, count: 0, params, binds, stand_ins });
        }
        self.works[place].count += 1;
    }

    /// The notes so far, which are forgotten.
    pub fn take(&mut self) -> Vec<Work> {
        self.places.clear();
        std::mem::take(&mut self.works)
    }
}

/// Buffers that stand for any others when noted work is run: contents are zeros or whatever was written before. Each run takes the
/// next place in them, so that no more is found in caches than in a step that has as many bytes in use.
pub struct Scratch {
    buffers: Vec<Arc<Storage>>,
    sizes: Vec<u64>,
    next: u64,
}

impl Scratch {
    /// As large as any of `works` needs, and `bytes` in all if that is more.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, works: &[Work], bytes: u64) -> Result<Self> {
        let places = works.iter().map(|work| work.binds.len()).max().unwrap_or(0);
        let (mut buffers, mut sizes) = (Vec::with_capacity(places), Vec::with_capacity(places));
        let share = (bytes / places.max(1) as u64).min(gpu.capabilities().buffer) / 256 * 256;
        for place in 0..places {
            let needed = works.iter().filter_map(|work| work.binds.get(place)).map(|(_, bytes)| *bytes).max();
            let size = needed.unwrap_or(4).max(share);
            let storage = gpu.allocate(size, Purpose::Compute);
            gpu.clear(Bind { storage: &storage, offset: 0, size });
            buffers.push(storage);
            sizes.push(size);
        }
        gpu.check()?;
        Ok(Self { buffers, sizes, next: 0 })
    }

    /// A range of `size` bytes for the bind `place` of this run.
    fn range(&self, place: usize, size: u64) -> Bind<'_> {
        let step = size.next_multiple_of(256);
        let turns = (self.sizes[place] / step).max(1);
        Bind { storage: &self.buffers[place], offset: self.next % turns * step, size }
    }
}

impl Work {
    /// An integer parameter.
    pub fn param(&self, name: &str) -> Option<u32> {
        let found = self.params.iter().find(|(other, _)| other == name)?.1;
        if let Param::Uint(value) = found { Some(value) } else { None }
    }

    /// Bytes that one dispatch reads and writes if every buffer passes once: of tables, from which only some rows are taken, and
    /// of what is added to, more than it really is.
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
    /// Those of the driver.
    pub fn run(&self, gpu: &Gpu, scratch: &mut Scratch) -> Result<()> {
        scratch.next += 1;
        let ranges = self.binds.iter().enumerate();
        let binds: Vec<_> = ranges.map(|(place, (name, size))| (name.as_str(), scratch.range(place, *size))).collect();
        let params: Vec<_> = self.params.iter().map(|(name, param)| (name.as_str(), *param)).collect();
        gpu.run(&self.variant, &binds, &params, self.grid)
    }
}
