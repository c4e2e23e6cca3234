//! The ranks of a job, and what they do together.
//!
//! Every call that joins ranks must be made by all of them in the same order. What a rank says is handed to the thread that talks
//! to the others, so nobody waits before [`Reply::wait`].

use std::{
    marker::PhantomData,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use super::{Options, Wire, share};
use crate::{Error, Result};

/// What the thread that talks to the other ranks is asked for.
#[cfg_attr(not(feature = "mpi"), allow(dead_code))]
pub(super) enum Job {
    /// The sum over all ranks.
    Sum { values: Vec<f32>, wire: Wire, reply: mpsc::Sender<Vec<f32>> },
    /// This rank's block of the sum over all ranks; `values` has as many equal blocks as there are ranks.
    SumBlocks { values: Vec<f32>, reply: mpsc::Sender<Vec<f32>> },
    /// What each rank gave, by rank.
    Gather { bytes: Vec<u8>, reply: mpsc::Sender<Vec<Vec<u8>>> },
    /// Ends the job together, or (with the reason) alone.
    Leave { reason: Option<String>, reply: mpsc::Sender<()> },
}

/// Why the ranks cannot go on.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// The ranks that it is about.
    pub ranks: Vec<usize>,
    /// What happened to them.
    pub reason: String,
}

/// What the two threads of a rank share.
pub(super) struct Ranks {
    pub rank: usize,
    pub size: usize,
    /// Place among the ranks of the same host.
    pub local: usize,
    /// The host of each rank.
    pub hosts: Vec<String>,
    pub options: Options,
    pub jobs: Mutex<mpsc::Sender<Job>>,
    pub trouble: Arc<Mutex<Option<Trouble>>>,
    pub sent: AtomicU64,
}

/// The ranks that work together; clones share them.
#[derive(Clone, Default)]
pub struct Group(pub(super) Option<Arc<Ranks>>);

/// What a call that joins ranks will give.
#[must_use]
pub struct Reply<T>(State<T>);

enum State<T> {
    Now(T),
    Later(Group, mpsc::Receiver<T>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How many ranks a launcher (mpirun, Slurm) says it started, if there is one.
pub fn launched() -> Option<usize> {
    let read = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok();
    // Slurm sets its own for every process of a job step; a rank's number tells a step from an allocation.
    let slurm = || read("SLURM_PROCID").and_then(|_| read("SLURM_STEP_NUM_TASKS"));
    read("OMPI_COMM_WORLD_SIZE").or_else(|| read("PMI_SIZE")).or_else(slurm)
}

impl Group {
    /// A rank that is alone.
    pub fn alone() -> Self {
        Self(None)
    }

    /// The ranks that a launcher started, or a rank that is alone.
    ///
    /// # Errors
    /// [`Error::WithoutMpi`] when there are others but this program was built without MPI, [`Error::Exchange`] when MPI does
    /// not begin.
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

    /// How many ranks there are.
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(1, |ranks| ranks.size)
    }

    /// Whether this is the rank that writes and talks.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Place among the ranks of the same host: which of its adapters is this rank's.
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

    /// How they work together.
    pub fn options(&self) -> Options {
        self.0.as_ref().map_or(Options::default(), |ranks| ranks.options)
    }

    /// This rank's share of `count` things.
    pub fn share(&self, count: usize) -> std::ops::Range<usize> {
        share(count, self.rank(), self.size())
    }

    /// Bytes that this rank sent, as a ring of ranks sends them: of a sum of b bytes over n ranks 2 b (n - 1) / n.
    pub fn sent(&self) -> u64 {
        self.0.as_ref().map_or(0, |ranks| ranks.sent.load(Ordering::Relaxed))
    }

    /// Whether all ranks are still there.
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

    /// The sum of `values` over all ranks, the same bits on each; as many numbers from every rank.
    pub fn sum(&self, values: Vec<f32>, wire: Wire) -> Reply<Vec<f32>> {
        let bytes = values.len() as u64 * if wire == Wire::F16 { 2 } else { 4 };
        self.ask(2 * self.others(bytes), values, |values, reply| Job::Sum { values, wire, reply })
    }

    /// This rank's block of the sum: `values` has one block for each rank, all of the same length.
    pub fn sum_blocks(&self, values: Vec<f32>) -> Reply<Vec<f32>> {
        self.ask(self.others(values.len() as u64 * 4), values, |values, reply| Job::SumBlocks { values, reply })
    }

    /// What each rank gave, by rank.
    pub fn gather(&self, bytes: Vec<u8>) -> Reply<Vec<Vec<u8>>> {
        let length = (self.size() as u64 - 1) * bytes.len() as u64;
        match &self.0 {
            None => Reply(State::Now(vec![bytes])),
            Some(_) => self.ask(length, Vec::new(), |_, reply| Job::Gather { bytes, reply }),
        }
    }

    /// [`Group::gather`] of numbers.
    pub fn gather_numbers<T: bytemuck::Pod>(&self, numbers: &[T]) -> Numbers<T> {
        Numbers(self.gather(bytemuck::cast_slice(numbers).to_vec()), PhantomData)
    }

    /// What the first rank gave.
    ///
    /// # Errors
    /// [`Error::Rank`] when it is gone.
    pub fn from_first(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let bytes = if self.is_first() { bytes } else { Vec::new() };
        Ok(self.gather(bytes).wait()?.swap_remove(0))
    }

    /// Waits until all ranks are here.
    ///
    /// # Errors
    /// [`Error::Rank`] when one is gone.
    pub fn meet(&self) -> Result<()> {
        self.gather(Vec::new()).wait().map(|_| ())
    }

    /// Runs `work` on the first rank, then on the others: what the first one writes they may find.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Rank`] when the first one fails.
    pub fn first_alone<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.is_first() {
            let done = work()?;
            self.meet()?;
            return Ok(done);
        }
        self.meet()?;
        work()
    }

    /// Ends the job: together, or, after `error`, alone, which the others hear.
    pub fn leave(&self, error: Option<&Error>) {
        let Some(ranks) = &self.0 else { return };
        let reason = error.map(|error| error.to_string());
        let (reply, done) = mpsc::channel();
        let _ = lock(&ranks.jobs).send(Job::Leave { reason, reply });
        while let Err(mpsc::RecvTimeoutError::Timeout) = done.recv_timeout(Duration::from_millis(100)) {
            if self.check().is_err() {
                break;
            }
        }
    }

    /// The part of `bytes` that goes to others in a ring.
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
        // A thread that has ended is found out by whoever waits.
        let _ = lock(&ranks.jobs).send(job(alone, reply));
        Reply(State::Later(self.clone(), answer))
    }
}

/// The numbers that each rank gave, by rank.
#[must_use]
pub struct Numbers<T>(Reply<Vec<Vec<u8>>>, PhantomData<T>);

impl<T: bytemuck::Pod> Numbers<T> {
    /// As [`Reply::wait`].
    ///
    /// # Errors
    /// [`Error::Rank`].
    pub fn wait(self) -> Result<Vec<Vec<T>>> {
        Ok(self.0.wait()?.iter().map(|bytes| bytemuck::pod_collect_to_vec(bytes)).collect())
    }
}

impl<T> Reply<T> {
    /// The answer, once all ranks have asked.
    ///
    /// # Errors
    /// [`Error::Rank`] when one of them is gone.
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
}
