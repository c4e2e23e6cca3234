//! The ranks of a job, and their collective operations.
//!
//! All ranks must make the same collective calls in the same order. A call hands its data to a transport, so no rank
//! waits before [`Reply::wait`].

use std::{
    marker::PhantomData,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use super::{Options, Wire};
use crate::{Error, Result};

/// What ranks are asked for together.
pub(super) enum Job {
    /// The sum over all ranks.
    Sum { values: Vec<f32>, wire: Wire, reply: mpsc::Sender<Vec<f32>> },
    /// This rank's block of the sum over all ranks; `values` has one block per rank, all of equal length.
    SumBlocks { values: Vec<f32>, reply: mpsc::Sender<Vec<f32>> },
    /// The bytes that each rank contributed, in rank order.
    Gather { bytes: Vec<u8>, reply: mpsc::Sender<Vec<Vec<u8>>> },
    /// Ends the job together with all ranks or, with a reason, alone.
    Leave { reason: Option<String>, reply: mpsc::Sender<()> },
}

/// Carries a rank's job to where the jobs of all ranks meet; the answer comes through the job's channel.
pub(super) trait Transport: Send + Sync {
    /// Takes a job and returns at once.
    fn take(&self, job: Job);
}

/// Why the ranks cannot go on.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// The ranks concerned.
    pub ranks: Vec<usize>,
    /// What happened to them.
    pub reason: String,
}

/// What a rank knows of the others.
pub(super) struct Ranks {
    pub rank: usize,
    pub size: usize,
    /// Index among the ranks on the same host.
    pub local: usize,
    /// The host of each rank.
    pub hosts: Vec<String>,
    pub options: Options,
    pub transport: Box<dyn Transport>,
    pub trouble: Arc<Mutex<Option<Trouble>>>,
    pub sent: AtomicU64,
}

/// The ranks that work together; clones share them.
#[derive(Clone, Default)]
pub struct Group(pub(super) Option<Arc<Ranks>>);

/// The pending result of a collective call.
#[must_use]
pub struct Reply<T>(State<T>);

enum State<T> {
    Now(T),
    Later(Group, mpsc::Receiver<T>),
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The number of ranks that a launcher (mpirun, Slurm) says it started, if there is a launcher.
pub fn launched() -> Option<usize> {
    let read = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok();
    // Slurm sets the number of tasks for every process of a job step; a rank's number distinguishes a step from an
    // allocation.
    let slurm = || read("SLURM_PROCID").and_then(|_| read("SLURM_STEP_NUM_TASKS"));
    read("OMPI_COMM_WORLD_SIZE").or_else(|| read("PMI_SIZE")).or_else(slurm)
}

impl Group {
    /// A group of one rank.
    pub fn alone() -> Self {
        Self(None)
    }

    /// The ranks that a launcher started, or a group of one rank.
    ///
    /// # Errors
    /// [`Error::WithoutMpi`] if there are other ranks but this program was built without MPI, [`Error::Exchange`] if
    /// MPI does not start.
    pub fn join(options: Options) -> Result<Self> {
        match launched() {
            #[cfg(feature = "mpi")]
            Some(count) if count > 1 => super::mpi::join(options),
            #[cfg(not(feature = "mpi"))]
            Some(count) if count > 1 => Err(Error::WithoutMpi { ranks: count }),
            _ => {
                let _ = options;
                Ok(Self::alone())
            }
        }
    }

    /// This rank's number, from 0.
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |ranks| ranks.rank)
    }

    /// The number of ranks.
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(1, |ranks| ranks.size)
    }

    /// Whether this is the rank that writes files and prints.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Index among the ranks on the same host, which selects this rank's adapter.
    pub fn local(&self) -> usize {
        self.0.as_ref().map_or(0, |ranks| ranks.local)
    }

    /// The number of hosts.
    pub fn hosts(&self) -> usize {
        let mut hosts = self.0.as_ref().map_or(Vec::new(), |ranks| ranks.hosts.clone());
        hosts.sort_unstable();
        hosts.dedup();
        hosts.len().max(1)
    }

    /// How the ranks work together.
    pub fn options(&self) -> Options {
        self.0.as_ref().map_or(Options::default(), |ranks| ranks.options)
    }

    /// This rank's share of `count` items.
    pub fn share(&self, count: usize) -> std::ops::Range<usize> {
        share(count, self.rank(), self.size())
    }

    /// Bytes that this rank sent, counted as a ring of ranks sends them: 2 b (n - 1) / n for a sum of b bytes over n
    /// ranks.
    pub fn sent(&self) -> u64 {
        self.0.as_ref().map_or(0, |ranks| ranks.sent.load(Ordering::Relaxed))
    }

    /// Checks that all ranks are still there.
    ///
    /// # Errors
    /// [`Error::Rank`] naming those that are not.
    pub fn check(&self) -> Result<()> {
        let Some(ranks) = &self.0 else { return Ok(()) };
        let Some(Trouble { ranks: lost, reason }) = lock(&ranks.trouble).clone() else { return Ok(()) };
        let hosts = lost.iter().map(|rank| ranks.hosts[*rank].clone()).collect::<std::collections::BTreeSet<_>>();
        let hosts = hosts.into_iter().collect::<Vec<_>>().join(", ");
        Err(Error::Rank { ranks: lost, hosts, reason, saved: None })
    }

    /// The sum of `values` over all ranks, with the same bits on each. Every rank must pass the same number of values.
    pub fn sum(&self, values: Vec<f32>, wire: Wire) -> Reply<Vec<f32>> {
        let bytes = values.len() as u64 * if wire == Wire::F16 { 2 } else { 4 };
        self.ask(2 * self.others(bytes), values, |values, reply| Job::Sum { values, wire, reply })
    }

    /// This rank's block of the sum over all ranks; `values` has one block per rank, all of equal length.
    pub fn sum_blocks(&self, values: Vec<f32>) -> Reply<Vec<f32>> {
        self.ask(self.others(values.len() as u64 * 4), values, |values, reply| Job::SumBlocks { values, reply })
    }

    /// The bytes that each rank contributed, in rank order.
    pub fn gather(&self, bytes: Vec<u8>) -> Reply<Vec<Vec<u8>>> {
        let length = (self.size() as u64 - 1) * bytes.len() as u64;
        match &self.0 {
            None => Reply(State::Now(vec![bytes])),
            Some(_) => self.ask(length, Vec::new(), |_, reply| Job::Gather { bytes, reply }),
        }
    }

    /// [`Group::gather`] for numbers.
    pub fn gather_numbers<T: bytemuck::Pod>(&self, numbers: &[T]) -> Numbers<T> {
        Numbers(self.gather(bytemuck::cast_slice(numbers).to_vec()), PhantomData)
    }

    /// The bytes that the first rank contributed.
    ///
    /// # Errors
    /// [`Error::Rank`] if it is gone.
    pub fn from_first(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let bytes = if self.is_first() { bytes } else { Vec::new() };
        Ok(self.gather(bytes).wait()?.swap_remove(0))
    }

    /// Waits until all ranks have called this.
    ///
    /// # Errors
    /// [`Error::Rank`] if one is gone.
    pub fn meet(&self) -> Result<()> {
        self.gather(Vec::new()).wait().map(|_| ())
    }

    /// Runs `work` on the first rank, then on the others, which can rely on files that the first one wrote.
    ///
    /// # Errors
    /// Returns the errors of `work`; [`Error::Rank`] if the first rank fails.
    pub fn first_alone<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.is_first() {
            let done = work()?;
            self.meet()?;
            return Ok(done);
        }
        self.meet()?;
        work()
    }

    /// Ends the job together with all ranks or, after `error`, alone; the other ranks are then told why.
    pub fn leave(&self, error: Option<&Error>) {
        let Some(ranks) = &self.0 else { return };
        let reason = error.map(|error| error.to_string());
        let (reply, done) = mpsc::channel();
        ranks.transport.take(Job::Leave { reason, reply });
        while let Err(mpsc::RecvTimeoutError::Timeout) = done.recv_timeout(Duration::from_millis(100)) {
            if self.check().is_err() {
                break;
            }
        }
    }

    /// The part of `bytes` that is sent to other ranks in a ring.
    fn others(&self, bytes: u64) -> u64 {
        bytes * (self.size() as u64 - 1) / self.size() as u64
    }

    fn ask<T>(&self, sent: u64, alone: T, job: impl FnOnce(T, mpsc::Sender<T>) -> Job) -> Reply<T>
    where
        T: Default,
    {
        let Some(ranks) = &self.0 else { return Reply(State::Now(alone)) };
        ranks.sent.fetch_add(sent, Ordering::Relaxed);
        let (reply, answer) = mpsc::channel();
        ranks.transport.take(job(alone, reply));
        Reply(State::Later(self.clone(), answer))
    }
}

/// The numbers that each rank contributed, in rank order.
#[must_use]
pub struct Numbers<T>(Reply<Vec<Vec<u8>>>, PhantomData<T>);

impl<T: bytemuck::Pod> Numbers<T> {
    /// Like [`Reply::wait`].
    ///
    /// # Errors
    /// [`Error::Rank`].
    pub fn wait(self) -> Result<Vec<Vec<T>>> {
        Ok(self.0.wait()?.iter().map(|bytes| bytemuck::pod_collect_to_vec(bytes)).collect())
    }
}

impl<T> Reply<T> {
    /// Waits for the result, which is there once all ranks have made the call.
    ///
    /// # Errors
    /// [`Error::Rank`] if a rank is gone.
    pub fn wait(self) -> Result<T> {
        let (group, answer) = match self.0 {
            State::Now(answer) => return Ok(answer),
            State::Later(group, answer) => (group, answer),
        };
        loop {
            match answer.recv_timeout(Duration::from_millis(100)) {
                Ok(answer) => return Ok(answer),
                Err(mpsc::RecvTimeoutError::Timeout) => group.check()?,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    group.check()?;
                    return Err(Error::Exchange("the thread that talks to the other ranks has ended".to_string()));
                }
            }
        }
    }
}

/// The share of `count` items that `rank` of `size` gets. Shares are consecutive, cover every item once, and differ in
/// length by at most one.
fn share(count: usize, rank: usize, size: usize) -> std::ops::Range<usize> {
    let edge = |rank: usize| (count as u128 * rank as u128 / size.max(1) as u128) as usize;
    edge(rank)..edge(rank + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_everything_is_its_own() {
        let group = Group::alone();
        assert_eq!((group.rank(), group.size(), group.share(5)), (0, 1, 0..5));
        assert_eq!(group.sum(vec![1.0, 2.0], Wire::F16).wait().unwrap(), [1.0, 2.0]);
        assert_eq!(group.gather(vec![7]).wait().unwrap(), [vec![7]]);
        assert_eq!(group.from_first(vec![3]).unwrap(), [3]);
        assert_eq!((group.first_alone(|| Ok(4)).unwrap(), group.sent(), group.hosts()), (4, 0, 1));
        group.leave(None);
    }

    #[test]
    fn shares_cover_everything_once() {
        for (count, size) in [(12, 4), (7, 3), (2, 5), (0, 2), (5, 1)] {
            let all: Vec<_> = (0..size).flat_map(|rank| share(count, rank, size)).collect();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
            let sizes: Vec<_> = (0..size).map(|rank| share(count, rank, size).len()).collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
        }
    }
}
