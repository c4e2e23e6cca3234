//! Ranks that are threads of one process: for programs that use several adapters on their own, and for tests.
//!
//! No thread exists only for communication: the rank that makes a call last computes the answer for all.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use super::{
    Options, Wire, f16,
    group::{Group, Job, Ranks, Transport, Trouble, lock},
};
use crate::{Error, Result};

/// Runs `work` as `count` ranks, each a thread of this process, and returns their results, in rank order. A rank leaves
/// the group before its thread ends; if one fails or panics, the others get an error from their next collective call.
///
/// # Errors
/// The error of the first rank that failed by itself, rather than because another rank was lost; [`Error::Usage`] for a
/// count of 0.
///
/// # Panics
/// If a rank panicked, with that rank's panic message.
pub fn threads<T: Send>(count: usize, options: Options, work: impl Fn(&Group) -> Result<T> + Sync) -> Result<Vec<T>> {
    if count == 0 {
        return Err(Error::Usage("a group has at least one rank".to_string()));
    }
    let run = |group: Group| {
        let done = work(&group);
        group.leave(done.as_ref().err());
        done
    };
    let ended: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = groups(count, options).into_iter().map(|group| scope.spawn(|| run(group))).collect();
        started.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let (mut all, mut first) = (Vec::with_capacity(count), None);
    for ended in ended {
        match ended {
            Ok(Ok(done)) => all.push(done),
            // An error about another rank explains less than the error of the rank that failed.
            Ok(Err(error)) if matches!(first, None | Some(Error::Rank { .. })) => first = Some(error),
            Ok(Err(_)) => {}
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    first.map_or(Ok(all), Err)
}

/// Creates the ranks of a new group.
fn groups(count: usize, options: Options) -> Vec<Group> {
    let meeting = Arc::new(Meeting {
        jobs: Mutex::new((0..count).map(|_| VecDeque::new()).collect()),
        troubles: (0..count).map(|_| Arc::default()).collect(),
    });
    let transport = |rank| ThreadTransport { meeting: meeting.clone(), rank, left: AtomicBool::new(false) };
    let ranks = |rank| Ranks {
        rank,
        size: count,
        local: rank,
        hosts: vec!["this process".to_string(); count],
        options,
        transport: Box::new(transport(rank)),
        trouble: meeting.troubles[rank].clone(),
        sent: AtomicU64::new(0),
    };
    (0..count).map(|rank| Group(Some(Arc::new(ranks(rank))))).collect()
}

/// Where the ranks' jobs meet.
struct Meeting {
    /// Jobs of each rank that not all other ranks have asked for yet.
    jobs: Mutex<Vec<VecDeque<Job>>>,
    troubles: Vec<Arc<Mutex<Option<Trouble>>>>,
}

impl Meeting {
    /// Tells every rank that is not in `ranks` why those in `ranks` are lost.
    fn end(&self, ranks: &[usize], reason: &str) {
        for (rank, trouble) in self.troubles.iter().enumerate() {
            if !ranks.contains(&rank) {
                lock(trouble).get_or_insert_with(|| Trouble { ranks: ranks.to_vec(), reason: reason.to_string() });
            }
        }
    }
}

/// A rank's place at the meeting.
struct ThreadTransport {
    meeting: Arc<Meeting>,
    rank: usize,
    left: AtomicBool,
}

impl Transport for ThreadTransport {
    fn take(&self, job: Job) {
        if let Job::Leave { reason, .. } = &job {
            self.left.store(true, Ordering::Relaxed);
            if let Some(reason) = reason {
                // There will be no answer: dropping the job ends the wait for it.
                return self.meeting.end(&[self.rank], &format!("ended: {reason}"));
            }
        }
        let mut jobs = lock(&self.meeting.jobs);
        jobs[self.rank].push_back(job);
        if jobs.iter().any(VecDeque::is_empty) {
            return;
        }
        let round: Vec<_> = jobs.iter_mut().filter_map(VecDeque::pop_front).collect();
        if alike(&round) {
            answer(round);
            return;
        }
        // The reason comes first: dropping the jobs ends the wait for their answers.
        let all: Vec<_> = (0..jobs.len()).collect();
        for trouble in &self.meeting.troubles {
            let reason = "asked for different things at once: their programs differ".to_string();
            lock(trouble).get_or_insert(Trouble { ranks: all.clone(), reason });
        }
        drop(round);
    }
}

/// Whether all ranks asked for the same thing.
fn alike(round: &[Job]) -> bool {
    round.iter().all(|job| match (&round[0], job) {
        (Job::Sum { values: first, wire, .. }, Job::Sum { values, wire: own, .. }) => {
            first.len() == values.len() && wire == own
        }
        (Job::SumBlocks { values: first, .. }, Job::SumBlocks { values, .. }) => first.len() == values.len(),
        (Job::Gather { .. }, Job::Gather { .. }) | (Job::Leave { .. }, Job::Leave { .. }) => true,
        _ => false,
    })
}

impl Drop for ThreadTransport {
    fn drop(&mut self) {
        if !self.left.load(Ordering::Relaxed) {
            self.meeting.end(&[self.rank], "ended without a word");
        }
    }
}

/// Answers the jobs of all ranks, given in rank order, which are [`alike`].
fn answer(round: Vec<Job>) {
    match round[0] {
        Job::Sum { wire, .. } => {
            let sum = |job| if let Job::Sum { values, reply, .. } = job { Some((values, reply)) } else { None };
            let (values, replies): (Vec<_>, Vec<_>) = round.into_iter().filter_map(sum).unzip();
            let sums = add(&values, wire);
            replies.iter().for_each(|reply| drop(reply.send(sums.clone())));
        }
        Job::SumBlocks { .. } => {
            let blocks = |job| if let Job::SumBlocks { values, reply } = job { Some((values, reply)) } else { None };
            let (values, replies): (Vec<_>, Vec<_>) = round.into_iter().filter_map(blocks).unzip();
            let sums = add(&values, Wire::F32);
            let block = sums.len() / replies.len();
            for (rank, reply) in replies.iter().enumerate() {
                drop(reply.send(sums[rank * block..][..block].to_vec()));
            }
        }
        Job::Gather { .. } => {
            let gather = |job| if let Job::Gather { bytes, reply } = job { Some((bytes, reply)) } else { None };
            let (bytes, replies): (Vec<_>, Vec<_>) = round.into_iter().filter_map(gather).unzip();
            replies.iter().for_each(|reply| drop(reply.send(bytes.clone())));
        }
        Job::Leave { .. } => {
            for job in round {
                if let Job::Leave { reply, .. } = job {
                    // A rank that no longer waits for the answer is no error.
                    let _ = reply.send(());
                }
            }
        }
    }
}

/// The sum of the ranks' numbers, added in rank order. All ranks give the same count.
fn add(all: &[Vec<f32>], wire: Wire) -> Vec<f32> {
    let count = all[0].len();
    let mut sums = vec![0.0; count];
    match wire {
        Wire::F32 => {
            for own in all {
                sums.iter_mut().zip(own).for_each(|(sum, value)| *sum += value);
            }
        }
        // In blocks with their own scales, one block for each rank, rounded before and after adding, as between
        // processes.
        Wire::F16 => {
            let block = count.div_ceil(all.len()).max(1);
            for (index, sums) in sums.chunks_mut(block).enumerate() {
                all.iter().for_each(|own| f16::add(&f16::pack(&own[index * block..][..sums.len()]), sums));
                let rounded = f16::pack(sums);
                sums.fill(0.0);
                f16::add(&rounded, sums);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ranks<T: Send>(count: usize, work: impl Fn(&Group) -> Result<T> + Sync) -> Vec<T> {
        threads(count, Options::default(), work).expect("all ranks end well")
    }

    #[test]
    fn sums_are_those_of_all_ranks_everywhere() {
        for count in [1, 2, 3, 5] {
            let sums = ranks(count, |group| {
                let own = group.rank() as f32 + 1.0;
                // Two calls are under way at once, and their answers are awaited in any order.
                let (first, second) =
                    (group.sum(vec![own, -own, 0.5], Wire::F32), group.sum(vec![own * own], Wire::F32));
                Ok((second.wait()?, first.wait()?))
            });
            let (all, squares) = ((1..=count).sum::<usize>() as f32, (1..=count).map(|n| n * n).sum::<usize>() as f32);
            for (second, first) in sums {
                assert_eq!((first, second), (vec![all, -all, 0.5 * count as f32], vec![squares]), "{count} ranks");
            }
        }
    }

    #[test]
    fn sums_in_f16_are_rounded_in_blocks_with_their_own_scales() {
        let sums = ranks(2, |group| {
            // The first rank's block is large, the second's small: one scale for both would round the small one away.
            let values = if group.rank() == 0 { [3000.0, 1.0, 1e-5, 2e-5] } else { [1096.0, 2.0, 1e-5, -1e-5] };
            group.sum(values.to_vec(), Wire::F16).wait()
        });
        assert_eq!(sums[0], sums[1]);
        for (sum, wanted) in sums[0].iter().zip([4096.0, 3.0, 2e-5, 1e-5]) {
            let scale = if wanted < 1.0 { 2e-5 } else { 4096.0 };
            assert!((sum - wanted).abs() <= scale / 1024.0, "{sum} {wanted}");
        }
        let thirds = |wire| ranks(2, move |group| group.sum(vec![1.0, 1.0 / 3.0, 0.0, 0.0], wire).wait());
        assert_ne!(thirds(Wire::F32), thirds(Wire::F16), "numbers travel in half the bytes");
    }

    #[test]
    fn blocks_of_the_sum_go_to_their_ranks() {
        let blocks = ranks(3, |group| {
            let own = (group.rank() + 1) as f32;
            group.sum_blocks((0..6).map(|i| own * i as f32).collect()).wait()
        });
        assert_eq!(blocks, [[0.0, 6.0], [12.0, 18.0], [24.0, 30.0]]);
    }

    #[test]
    fn what_ranks_give_is_gathered_in_their_order() {
        let found = ranks(3, |group| {
            let bytes = group.gather(vec![group.rank() as u8; group.rank()]).wait()?;
            let numbers = group.gather_numbers(&[group.rank() as u64 + 7]).wait()?;
            let first = group.from_first(vec![group.rank() as u8 + 40])?;
            Ok((bytes, numbers, first, group.hosts(), group.local(), group.share(7)))
        });
        for (rank, found) in found.into_iter().enumerate() {
            let share = [0..2, 2..4, 4..7][rank].clone();
            let bytes = vec![vec![], vec![1], vec![2, 2]];
            assert_eq!(found, (bytes, vec![vec![7], vec![8], vec![9]], vec![40], 1, rank, share));
        }
    }

    #[test]
    fn bytes_are_counted_as_a_ring_sends_them() {
        let sent = ranks(4, |group| {
            group.sum(vec![0.0; 8], Wire::F32).wait()?;
            let whole = group.sent();
            group.sum(vec![0.0; 8], Wire::F16).wait()?;
            let half = group.sent() - whole;
            group.sum_blocks(vec![0.0; 8]).wait()?;
            let blocks = group.sent() - whole - half;
            group.gather(vec![0; 10]).wait()?;
            Ok([whole, half, blocks, group.sent() - whole - half - blocks])
        });
        assert_eq!(sent, [[48, 24, 24, 30]; 4]);
    }

    #[test]
    fn the_first_rank_works_alone_before_the_others() {
        let order = Mutex::new(Vec::new());
        ranks(4, |group| {
            group.first_alone(|| {
                if group.is_first() {
                    // Long enough for the others to come first, if they could.
                    thread::sleep(Duration::from_millis(20));
                }
                lock(&order).push(group.rank());
                Ok(())
            })
        });
        let order = lock(&order);
        assert_eq!((order.len(), order[0]), (4, 0), "{order:?}");
    }

    #[test]
    fn a_rank_that_fails_is_named_to_the_others() {
        let heard = Mutex::new(Vec::new());
        let ended = threads(3, Options::default(), |group| {
            if group.rank() == 1 {
                return Err(Error::Config("the disk is full".to_string()));
            }
            let lost = group.sum(vec![1.0], Wire::F32).wait().expect_err("rank 1 does not answer");
            lock(&heard).push(lost.to_string());
            Err::<(), _>(lost)
        });
        // The error of the rank that failed is returned, not what the others were told.
        assert_eq!(ended.expect_err("a rank failed").to_string(), "configuration: the disk is full");
        let heard = lock(&heard);
        assert_eq!(heard.len(), 2);
        assert!(
            heard
                .iter()
                .all(|words| words.contains("rank 1") && words.contains("ended: configuration: the disk is full"))
        );
    }

    #[test]
    fn a_rank_that_panics_ends_the_wait_of_the_others() {
        let heard = Mutex::new(Vec::new());
        let run = || {
            threads(2, Options::default(), |group| {
                assert!(group.is_first(), "rank 1 gives up");
                let lost = group.meet().expect_err("rank 1 does not come");
                lock(&heard).push(lost.to_string());
                Ok(())
            })
        };
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).expect_err("the panic is passed on");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"rank 1 gives up"));
        assert!(lock(&heard)[0].contains("rank 1 (on this process) ended without a word"), "{heard:?}");
    }

    #[test]
    fn ranks_that_ask_for_different_things_are_told_so() {
        for other in [|group: &Group| group.meet(), |group: &Group| group.sum(vec![0.0; 2], Wire::F32).wait().map(drop)]
        {
            let ended = threads(2, Options::default(), |group| match group.rank() {
                0 => group.sum(vec![0.0], Wire::F32).wait().map(drop),
                _ => other(group),
            });
            let said = ended.expect_err("there is no answer").to_string();
            assert!(said.contains("different things"), "{said}");
        }
        assert!(matches!(threads(0, Options::default(), |_| Ok(())), Err(Error::Usage(_))));
    }
}
