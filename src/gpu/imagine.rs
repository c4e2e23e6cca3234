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
pub struct BufferRange {
    /// The buffer's number.
    pub id: u64,
    /// The whole buffer's size in bytes.
    pub whole: u64,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub size: u64,
}

impl From<Bind<'_>> for BufferRange {
    fn from(bind: Bind<'_>) -> Self {
        Self { id: bind.storage.id(), whole: bind.storage.size(), offset: bind.offset, size: bind.size }
    }
}

/// One entry of the ledger's ordered list.
#[derive(Clone, Debug)]
pub enum Note {
    /// A dispatch: an index into the works, and the buffers it uses.
    Dispatch(usize, Vec<BufferRange>),
    /// An upload of bytes from the host.
    Upload(BufferRange, Vec<u8>),
    /// A copy: source, target.
    Copy(BufferRange, BufferRange),
    /// A range set to zero.
    Clear(BufferRange),
    /// A readback to the host.
    Read(BufferRange),
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
        self.add(|| Note::Dispatch(place, binds.iter().map(|(_, bind)| BufferRange::from(*bind)).collect()));
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

/// Buffers that stand for any others when noted work is run: zeros for what a kernel only reads, since there may be indices among
/// it, and whatever was written before for what it writes. Each run takes the next place in them, so that no more is found in
/// caches than in a step that has as many bytes in use.
pub struct Scratch {
    /// By what is done with them and the place among those.
    buffers: HashMap<(Use, usize), Arc<Storage>>,
    next: u64,
}

/// What a kernel may do with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Use {
    Read,
    Write,
}

impl Scratch {
    /// Buffers as large as any of `works` needs, and `bytes` in total if that is more.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, works: &[Work], bytes: u64) -> Result<Self> {
        let mut needed: HashMap<_, u64> = HashMap::new();
        for work in works {
            for (place, (_, bytes)) in work.places(gpu)?.into_iter().zip(&work.binds) {
                let most = needed.entry(place).or_default();
                *most = (*most).max(*bytes);
            }
        }
        let share = (bytes / needed.len().max(1) as u64).min(gpu.capabilities().buffer) / 256 * 256;
        let mut buffers = HashMap::with_capacity(needed.len());
        for (place, bytes) in needed {
            let size = bytes.max(4).max(share);
            let storage = gpu.allocate(size, Purpose::Compute);
            gpu.clear(Bind { storage: &storage, offset: 0, size });
            buffers.insert(place, storage);
        }
        gpu.check()?;
        Ok(Self { buffers, next: 0 })
    }

    /// A range of `size` bytes at `place` for this run.
    fn range(&self, place: (Use, usize), size: u64) -> Bind<'_> {
        let step = size.next_multiple_of(256);
        let storage = &self.buffers[&place];
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

    /// Where its buffers are in a scratch.
    fn places(&self, gpu: &Gpu) -> Result<Vec<(Use, usize)>> {
        let pipeline = gpu.pipeline(&self.variant)?;
        let reads = |name: &str| pipeline.interface.bindings.iter().any(|it| it.name == name && it.read_only);
        let (mut read, mut written) = (0.., 0..);
        let place = |(name, _): &(String, u64)| match reads(name) {
            true => (Use::Read, read.next().unwrap_or(0)),
            false => (Use::Write, written.next().unwrap_or(0)),
        };
        Ok(self.binds.iter().map(place).collect())
    }

    /// Dispatches it for real, once, over scratch buffers.
    ///
    /// # Errors
    /// Those of the driver.
    pub(crate) fn run(&self, gpu: &Gpu, scratch: &mut Scratch) -> Result<()> {
        scratch.next += 1;
        let places = self.places(gpu)?;
        let buffers: Vec<_> = places.iter().zip(&self.binds).map(|(it, (_, size))| scratch.range(*it, *size)).collect();
        self.run_over(gpu, &buffers)
    }

    /// Dispatches it for real over `buffers`, given in the order of its own.
    pub(super) fn run_over(&self, gpu: &Gpu, buffers: &[Bind<'_>]) -> Result<()> {
        let binds: Vec<_> = self.binds.iter().zip(buffers).map(|((name, _), bind)| (name.as_str(), *bind)).collect();
        let params: Vec<_> = self.params.iter().map(|(name, param)| (name.as_str(), *param)).collect();
        gpu.run(&self.variant, &binds, &params, self.grid)
    }
}

#[cfg(test)]
mod tests {
    use super::{Scratch, Use};
    use crate::{
        binds,
        gpu::{Bind, Kernel, pool::Purpose, tests::device, wait},
    };

    static WRITES: Kernel = Kernel {
        name: "writes",
        source: "// writes: out[0] = what is no index of any list.
@group(0) @binding(0) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(1)
fn main() {
    out[0] = 0x3f800000u;
}
",
    };
    static READS: Kernel = Kernel {
        name: "reads",
        source: "// reads: out[0] = indices[0], to see it.
@group(0) @binding(0) var<storage, read> indices: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(1)
fn main() {
    out[0] = indices[0];
}
",
    };

    #[test]
    fn what_a_kernel_only_reads_is_not_what_another_wrote() {
        let (gpu, _alone) = device();
        let imagined = gpu.imagine();
        let [a, b] = [4, 4].map(|bytes| imagined.allocate(bytes, Purpose::Compute));
        let [a, b] = [&a, &b].map(|storage| Bind { storage, offset: 0, size: 4 });
        imagined.run(&WRITES.plain(), binds![out: a], &[], [1, 1, 1]).expect("noted");
        imagined.run(&READS.plain(), binds![indices: a, out: b], &[], [1, 1, 1]).expect("noted");
        let works = imagined.ledger().expect("it takes notes").take(false).works;
        let mut scratch = Scratch::new(gpu, &works, 0).expect("a scratch");
        let mut out = |work: usize| {
            works[work].run(gpu, &mut scratch).expect("it runs");
            wait::now(gpu.read(scratch.range((Use::Write, 0), 4)).numbers::<u32>()).expect("a readback")
        };
        assert_eq!((out(0), out(1)), (vec![0x3f80_0000], vec![0]));
    }
}
