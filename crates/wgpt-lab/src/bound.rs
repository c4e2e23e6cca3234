//! The share of a GPU's peak that a hot loop allows, as `docs/lab.md` explains: no kernel is faster than its loop.

use serde::{Deserialize, Serialize};

use crate::{
    gpus::Gpu,
    machine_code::{Counts, Hot, Nest},
    variant::{Item, Phase},
};

/// What the hot loop allows, and why not more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// The share of the peak, from 0 to 1: of multiply-adds or, for kernels that stream weights or a cache, of the memory
    /// bandwidth.
    pub(crate) share: f64,
    /// Of what it is a share.
    pub(crate) of: Peak,
    /// What limits it.
    pub(crate) limit: Limit,
    /// The share that the turns of the multiply-adds' unit alone would allow.
    pub(crate) issue: f64,
    /// The share that workgroup memory alone would allow.
    pub(crate) workgroup_memory: f64,
    /// The share that waiting for loads alone would allow, at the occupancy that registers and workgroup memory leave.
    pub(crate) latency: f64,
}

/// A peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peak {
    /// f32 multiply-adds.
    MultiplyAdds,
    /// Global memory.
    Bandwidth,
}

/// What limits a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Limit {
    /// Instructions other than multiply-adds.
    Issue,
    /// Bytes from workgroup memory.
    WorkgroupMemory,
    /// Waiting for loads.
    Latency,
    /// Nothing: it runs at the peak.
    Peak,
}

/// The bytes per multiply-add that a kernel reads from global memory and no cache has, if it streams; see `docs/lab.md`.
pub(crate) type Stream = Option<f64>;

/// The bound of a loop of subgroups of `lanes`, of which `waves` take turns on a scheduler. `None` without a multiply-add.
pub(crate) fn bound(gpu: &Gpu, hot: &Hot, waves: f64, lanes: f64, item: &Item) -> Option<Bound> {
    let Turn { counts: whole, needed, waits } = turn(hot, &item.phases);
    if whole.multiply_adds == 0 {
        return None;
    }
    // Clocks for one round of all lanes of a unit, by each resource.
    let peak = needed / gpu.multiply_adds;
    let issue = (whole.slots / gpu.turns).max(whole.multiply_add_slots) / gpu.multiply_adds;
    let issue = issue.max(f64::from(whole.special) / gpu.special).max(peak);
    let workgroup = f64::from(whole.workgroup_load_bytes + whole.workgroup_store_bytes) / gpu.workgroup_bytes;
    // One wave's round takes its turns on one scheduler; while it waits for memory, the others have theirs.
    let round = issue.max(workgroup) * lanes * gpu.simds;
    let waiting = (round + waits * gpu.latency) / waves.max(1.0) / (lanes * gpu.simds);
    let (peak, of) = match item.stream {
        None => (peak, Peak::MultiplyAdds),
        Some(bytes) => {
            let per_clock = gpu.bandwidth / gpu.gigahertz / gpu.units;
            (needed * bytes / per_clock, Peak::Bandwidth)
        }
    };
    let share = |clocks: f64| if clocks > peak { peak / clocks } else { 1.0 };
    let shares = [share(issue), share(workgroup), share(waiting)];
    let limits = [Limit::Issue, Limit::WorkgroupMemory, Limit::Latency];
    let least = limits.into_iter().zip(shares).min_by(|left, right| left.1.total_cmp(&right.1))?;
    let limit = if least.1 < 1.0 { least.0 } else { Limit::Peak };
    // Three digits are more than the model deserves.
    let round = |share: f64| (share * 1e3).round() / 1e3;
    let [issue, workgroup_memory, latency] = shares.map(round);
    Some(Bound { share: round(least.1), of, limit, issue, workgroup_memory, latency })
}

/// What a loop executes.
struct Turn {
    counts: Counts,
    /// Multiply-adds that compute more than padding.
    needed: f64,
    /// How often a wave waits for loads.
    waits: f64,
}

/// A turn of the kernel's outer loop, as far as that is known.
fn turn(hot: &Hot, phases: &[Phase]) -> Turn {
    let (counts, around) = (&hot.counts, &hot.around);
    let of = |counts: Counts, waits: f64| Turn { needed: f64::from(counts.multiply_adds), counts, waits };
    if phases.len() == 1 && counts.global_loads > 0 {
        return of(counts.clone(), 1.0); // It is the outer loop.
    }
    if let Some(counts) = whole(&hot.nest, phases) {
        let sum = |of: fn(&Phase) -> f64| phases.iter().map(of).sum();
        return Turn { counts, needed: sum(|phase| phase.needed), waits: sum(|phase| phase.stages) };
    }
    // A loop whose operands are loaded around it is taken to turn twice.
    if counts.global_loads > 0 || around.global_loads == 0 {
        return of(counts.clone(), f64::from(counts.global_loads > 0));
    }
    of(counts.repeated(2).plus(around), 1.0)
}

/// All that a turn of the outer loop executes. A compiler may have written out, in the outer loop, all loops over scores or
/// all loops over results. `None` if the loops that were found match the phases in neither form.
fn whole(nest: &Nest, phases: &[Phase]) -> Option<Counts> {
    let of = |results: bool| phases.iter().filter(move |phase| phase.results == results).collect::<Vec<_>>();
    let written_out = |results: bool| {
        let out: f64 = of(results).iter().map(|phase| phase.multiply_adds).sum();
        f64::from(nest.outer.multiply_adds) >= out
    };
    let looped: Vec<_> = match nest.inner.len() {
        0 => return None,
        count if count == phases.len() => phases.iter().collect(),
        count if count == of(false).len() && written_out(true) => of(false),
        count if count == of(true).len() && written_out(false) => of(true),
        _ => return None,
    };
    let turns = nest.inner.iter().zip(looped).map(|(inner, phase)| {
        let turns = (phase.multiply_adds / f64::from(inner.counts.multiply_adds)).round();
        inner.counts.repeated((turns as u32).max(1)).plus(&inner.between.repeated(phase.stages as u32))
    });
    Some(turns.fold(nest.outer.clone(), |sum, phase| sum.plus(&phase)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine_code::Inner;

    #[test]
    fn loops_turn_as_often_as_their_phases_say() {
        let counts = |multiply_adds, barriers| Counts { multiply_adds, barriers, ..Counts::default() };
        let inner = |multiply_adds, barriers| Inner { counts: counts(multiply_adds, 0), between: counts(0, barriers) };
        let nest = Nest { outer: counts(5, 1), inner: vec![inner(16, 2), inner(8, 1)] };
        let phase = |multiply_adds, stages, results| Phase { multiply_adds, needed: multiply_adds, results, stages };
        let phases = [phase(64.0, 2.0, false), phase(32.0, 4.0, true)];
        assert_eq!(whole(&nest, &phases), Some(counts(5 + 64 + 32, 1 + 2 * 2 + 4)));
        assert_eq!(whole(&nest, &phases[..1]), None);
        // The loop over results, written out.
        let nest = Nest { outer: counts(32 + 5, 1), inner: vec![inner(16, 2)] };
        assert_eq!(whole(&nest, &phases), Some(counts(32 + 5 + 64, 1 + 2 * 2)));
    }
}
