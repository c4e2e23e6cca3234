//! Finds the fastest of several calls by timing them in turns, so that whatever slows the
//! machine down slows all of them.

use web_time::Instant;

use super::Gpu;
use crate::Result;

/// A call to time.
pub type Call<'a> = Box<dyn Fn() -> Result<()> + 'a>;

/// When a race ends, and when a contender leaves it.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Maximum number of rounds.
    pub rounds: usize,
    /// Minimum number of rounds if there is more than one contender, unless they take four times `seconds`.
    pub least: usize,
    /// Seconds after which no round beyond the minimum begins.
    pub seconds: f64,
    /// Minimum duration of a sample in seconds; short calls are repeated.
    pub sample: f64,
    /// A contender is dropped if even at its best it takes this many times as long as the leader.
    pub out: f64,
    /// Whether the race ends once the order is settled and drops contenders that are clearly behind.
    pub settles: bool,
}

impl Rules {
    /// Finds the fastest quickly.
    pub const CHOOSE: Self = Self { rounds: 25, least: 5, seconds: 1.0, sample: 0.004, out: 1.5, settles: true };
    /// Measures every contender that is not hopelessly slow.
    pub const MEASURE: Self = Self { rounds: 15, least: 3, seconds: 0.8, sample: 0.01, out: 3.0, settles: false };
    /// Like [`Rules::MEASURE`], with more rounds and time.
    pub const MEASURE_LONG: Self = Self { rounds: 45, seconds: 4.0, ..Self::MEASURE };
}

/// How many times [`Rules::seconds`] the minimum of rounds may take. Calls so long that there are fewer hardly vary.
const PATIENCE: f64 = 4.0;
/// A contender within this factor of the leader counts as equally fast.
const TIE: f64 = 1.02;

/// Samples by contender and round.
struct Race {
    rules: Rules,
    /// The time of each contender's first call.
    first: Vec<f64>,
    samples: Vec<Vec<f64>>,
    /// The contenders that are still timed; each has a sample from every round.
    running: Vec<usize>,
}

/// The middle value, or the mean of the two in the middle. Sorts `values`.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

impl Race {
    /// Starts from the time of each contender's first call; those far behind do not even start.
    fn new(rules: Rules, first: Vec<f64>) -> Self {
        let best = first.iter().copied().fold(f64::INFINITY, f64::min);
        // One call may have been interrupted, so allow twice the distance, and always a millisecond.
        let far = |one: usize| first[one] > 2.0 * rules.out * best && first[one] > best + 0.001;
        let running = (0..first.len()).filter(|&one| !far(one)).collect();
        Self { rules, samples: vec![Vec::new(); first.len()], first, running }
    }

    fn rounds(&self) -> usize {
        self.running.first().map_or(0, |&one| self.samples[one].len())
    }

    /// The contender with the lowest median among those that are still timed.
    fn leader(&self) -> usize {
        let time = |&one: &usize| match self.rounds() {
            0 => self.first[one],
            _ => median(&mut self.samples[one].clone()),
        };
        let best = self.running.iter().min_by(|left, right| time(left).total_cmp(&time(right)));
        best.copied().unwrap_or(0)
    }

    /// The contender's shortest sample.
    fn best(&self, one: usize) -> f64 {
        self.samples[one].iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// How many times as long as `other` `one` takes, round by round, so that drifts of the machine cancel out.
    fn ratios(&self, one: usize, other: usize) -> Vec<f64> {
        let pairs = self.samples[one].iter().zip(&self.samples[other]);
        let ratios: Vec<_> = pairs.map(|(one, other)| one / other.max(1e-12)).collect();
        if ratios.is_empty() { vec![self.first[one] / self.first[other].max(1e-12)] } else { ratios }
    }

    /// The median of the ratios and its uncertainty: two standard errors, estimated from the median deviation.
    fn ratio(&self, one: usize, other: usize) -> (f64, f64) {
        let mut ratios = self.ratios(one, other);
        let middle = median(&mut ratios);
        let mut deviations: Vec<_> = ratios.iter().map(|ratio| (ratio - middle).abs()).collect();
        (middle, 2.0 * 1.25 * 1.48 * median(&mut deviations) / (ratios.len() as f64).sqrt())
    }

    /// Drops contenders after a round of samples; returns whether the race is over.
    fn judge(&mut self, seconds: f64) -> bool {
        let (leader, rounds, rules) = (self.leader(), self.rounds(), self.rules);
        let mut settled = true;
        let mut running = vec![leader];
        for &one in self.running.iter().filter(|&&one| one != leader) {
            let least = self.ratios(one, leader).into_iter().fold(f64::INFINITY, f64::min);
            let (middle, error) = self.ratio(one, leader);
            // Disturbances only make a call longer, so the best times must differ as well.
            let apart = self.best(one) > TIE * self.best(leader) && middle > TIE && middle - error > 1.0;
            let clear = rules.settles && rounds >= rules.least && apart;
            // In the first round the leader may have been lucky or the other unlucky.
            if clear || (rounds >= 2 && least > rules.out) {
                continue;
            }
            settled &= middle + error < TIE;
            running.push(one);
        }
        running.sort_unstable();
        self.running = running;
        let enough = rounds >= rules.least && (seconds > rules.seconds || (rules.settles && settled));
        self.running.len() == 1 || rounds >= rules.rounds || enough || seconds > PATIENCE * rules.seconds
    }

    /// Seconds per call of each contender: the leader's median times their ratio in the rounds that both ran.
    fn seconds(&self) -> Vec<f64> {
        let leader = self.leader();
        let mut best = match self.rounds() {
            0 => vec![self.first[leader]],
            _ => self.samples[leader].clone(),
        };
        let best = median(&mut best);
        (0..self.first.len()).map(|one| best * self.ratio(one, leader).0).collect()
    }
}

/// A call that takes longer is not repeated only to measure it better.
pub(crate) const LONG: f64 = 0.05;

impl Gpu {
    /// Seconds per call of `repeat` calls.
    ///
    /// # Errors
    /// Returns the errors of the call and of the driver.
    pub async fn clock(&self, call: &Call<'_>, repeat: usize) -> Result<f64> {
        let start = Instant::now();
        for _ in 0..repeat {
            call()?;
        }
        self.finish().await?;
        Ok(start.elapsed().as_secs_f64() / repeat as f64)
    }

    /// Seconds per call of each, measured under `rules`. For those dropped early it is only a rough figure. The calls'
    /// kernels should have run before: a first call that compiles looks slow, and is dropped.
    ///
    /// # Errors
    /// Returns the errors of the calls and of the driver.
    pub async fn race(&self, rules: Rules, calls: &[Call<'_>]) -> Result<Vec<f64>> {
        let mut first = Vec::with_capacity(calls.len());
        for call in calls {
            let mut once = self.clock(call, 1).await?;
            if once < LONG {
                once = once.min(self.clock(call, 1).await?);
                // Waiting for the driver takes longer than a short call, so short calls are timed many at a time.
                let more = (rules.sample / once.max(1e-9) / 2.0) as usize;
                if more > 1 {
                    once = self.clock(call, more.min(32)).await?;
                }
            }
            first.push(once);
        }
        let repeats: Vec<_> = first.iter().map(|once| (rules.sample / once.max(1e-9)).clamp(1.0, 256.0)).collect();
        let mut race = Race::new(rules, first);
        let start = Instant::now();
        while race.running.len() > 1 {
            for one in race.running.clone() {
                let seconds = self.clock(&calls[one], repeats[one] as usize).await?;
                race.samples[one].push(seconds);
            }
            if race.judge(start.elapsed().as_secs_f64()) {
                break;
            }
        }
        Ok(race.seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::{Race, Rules};

    /// Runs a race over made-up times: `time(contender, round)`.
    fn run(rules: Rules, count: usize, time: impl Fn(usize, usize) -> f64) -> (Race, usize) {
        let mut race = Race::new(rules, (0..count).map(|one| time(one, 0)).collect());
        for round in 1.. {
            for one in race.running.clone() {
                race.samples[one].push(time(one, round));
            }
            if race.judge(0.0) {
                return (race, round);
            }
        }
        unreachable!("a race ends")
    }

    /// Reproducible noise between 0 and 1.
    fn noise(one: usize, round: usize) -> f64 {
        ((one * 7919 + round * 104_729 + 13) % 1009) as f64 / 1009.0
    }

    #[test]
    fn the_slow_are_dropped_and_the_close_are_told_apart() {
        // Ten times as slow, 30 % slower, 4 % slower with that much noise, and the fastest.
        let base = [10.0, 1.3, 1.04, 1.0];
        let (race, rounds) = run(Rules::CHOOSE, 4, |one, round| base[one] * (1.0 + 0.04 * noise(one, round)));
        assert!((5..=25).contains(&rounds), "{rounds}");
        assert_eq!(race.leader(), 3);
        assert_eq!(race.samples[0].len(), 0);
        assert!(race.samples[1].len() <= 5);
        let seconds = race.seconds();
        assert!(seconds[3] < seconds[2] && seconds[2] < seconds[1] && seconds[1] < seconds[0], "{seconds:?}");
    }

    /// A machine that becomes slower during the race does not make contenders look good that were dropped before.
    #[test]
    fn drifts_cancel_out() {
        let base = [1.2, 1.0, 1.03];
        let time = |one: usize, round: usize| base[one] * (1.0 + 0.02 * noise(one, round)) * (1.0 + round as f64 / 5.0);
        let (race, _) = run(Rules::CHOOSE, 3, time);
        let seconds = race.seconds();
        assert!(seconds[1] < seconds[2] && seconds[2] < seconds[0], "{seconds:?}");
        assert!((seconds[0] / seconds[1] - 1.2).abs() < 0.05, "{seconds:?}");
    }

    #[test]
    fn equals_end_early_and_nobody_is_dropped_when_all_are_measured() {
        let (_, rounds) = run(Rules::CHOOSE, 2, |one, round| 1.0 + 0.004 * noise(one, round));
        assert_eq!(rounds, Rules::CHOOSE.least);
        let (race, rounds) = run(Rules::MEASURE, 2, |one, _| [1.0, 2.5][one]);
        assert_eq!((rounds, race.running.len()), (Rules::MEASURE.rounds, 2));
    }

    /// Calls that take seconds are not repeated as often as those that vary.
    #[test]
    fn long_calls_are_timed_once() {
        let mut race = Race::new(Rules::CHOOSE, vec![5.0, 5.5]);
        race.samples = vec![vec![5.1], vec![5.6]];
        assert!(!race.judge(3.0));
        assert!(race.judge(10.7));
        assert_eq!(race.leader(), 0);
    }

    /// One interrupted sample does not lose a contender the race.
    #[test]
    fn an_interruption_is_forgiven() {
        let time = |one: usize, round: usize| if one == 1 && round == 1 { 2.0 } else { [1.2, 1.0][one] };
        assert_eq!(run(Rules::CHOOSE, 2, time).0.leader(), 1);
    }
}
