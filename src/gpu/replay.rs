//! Does noted work for real, in order, over buffers that mirror those it was noted with: one for each, of the same size.

use std::{collections::HashMap, sync::Arc};

use super::{
    Bind, Gpu, Storage,
    imagine::{BufferRange, Ledger, Note},
    pool::Purpose,
    readback::Readback,
};
use crate::Result;

/// A ledger and the buffers to run it over.
pub struct Replay<'a> {
    gpu: &'a Gpu,
    ledger: &'a Ledger,
    buffers: HashMap<u64, Arc<Storage>>,
}

impl<'a> Replay<'a> {
    /// Mirrors every buffer that the notes touch, which takes no more than the imagined pool held. They start as zeros.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub async fn new(gpu: &'a Gpu, ledger: &'a Ledger) -> Result<Self> {
        let mut buffers = HashMap::new();
        let mut mirror = |range: &BufferRange| {
            buffers.entry(range.id).or_insert_with(|| {
                // Its size is already a size class of the pool, or an arena's.
                let storage = gpu.allocate(range.whole, Purpose::Arena);
                gpu.clear(Bind { storage: &storage, offset: 0, size: range.whole });
                storage
            });
        };
        for note in &ledger.notes {
            match note {
                Note::Dispatch(_, places) => places.iter().for_each(&mut mirror),
                Note::Upload(range, _) | Note::Clear(range) | Note::Read(range) => mirror(range),
                Note::Copy(from, to) => [from, to].into_iter().for_each(&mut mirror),
                Note::Submit => {}
            }
        }
        gpu.finish().await?;
        Ok(Self { gpu, ledger, buffers })
    }

    fn bind(&self, range: &BufferRange) -> Bind<'_> {
        Bind { storage: &self.buffers[&range.id], offset: range.offset, size: range.size }
    }

    /// Runs it once without waiting; only the returned readbacks wait, later.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn run(&self) -> Result<Vec<Readback>> {
        let mut read = Vec::new();
        for note in &self.ledger.notes {
            match note {
                Note::Dispatch(work, places) => {
                    let binds: Vec<_> = places.iter().map(|range| self.bind(range)).collect();
                    self.ledger.works[*work].run_over(self.gpu, &binds)?;
                }
                Note::Upload(range, bytes) => self.gpu.upload(self.bind(range), bytes),
                Note::Copy(from, to) => self.gpu.copy(self.bind(from), self.bind(to)),
                Note::Clear(range) => self.gpu.clear(self.bind(range)),
                Note::Read(range) => read.push(self.gpu.read(self.bind(range))),
                Note::Submit => self.gpu.submit()?,
            }
        }
        Ok(read)
    }
}
