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
}

/// Distinct dispatches in the order in which they came first.
#[derive(Debug, Default)]
pub struct Ledger {
    works: Vec<Work>,
    places: HashMap<String, usize>,
}

impl Ledger {
    /// Notes one dispatch.
    pub fn note(&mut self, variant: &Variant, binds: &[(&str, Bind<'_>)], params: &[(&str, Param)], grid: [u32; 3]) {
        let binds: Vec<_> = binds.iter().map(|(name, bind)| ((*name).to_string(), bind.size)).collect();
        let key = format!("{variant} {params:?} {binds:?} {grid:?}");
        let next = self.works.len();
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            let params = params.iter().map(|(name, param)| ((*name).to_string(), *param)).collect();
            self.works.push(Work { variant: variant.clone(), grid, count: 0, params, binds });
        }
        self.works[place].count += 1;
    }

    /// The notes so far, which are forgotten.
    pub fn take(&mut self) -> Vec<Work> {
        self.places.clear();
        std::mem::take(&mut self.works)
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
        let buffers = self.binds.iter().zip(&scratch.0);
        let binds: Vec<_> =
            buffers.map(|((name, size), storage)| (name.as_str(), Bind { storage, offset: 0, size: *size })).collect();
        let params: Vec<_> = self.params.iter().map(|(name, param)| (name.as_str(), *param)).collect();
        gpu.run(&self.variant, &binds, &params, self.grid)
    }
}
