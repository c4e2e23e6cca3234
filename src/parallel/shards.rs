//! Moments spread over the ranks (ZeRO stage 1, Rajbhandari et al. 2020): each rank gets the sum of its share of the
//! gradients, updates its share of the parameters, and sends the result to the other ranks.

use std::ops::Range;

use super::{Group, replica::overwrite};
use crate::{
    Result,
    gpu::{Gpu, wait},
    ops::optimizer,
    optim::{Member, Optimizer},
    tape::Gradients,
    tensor::Tensor,
};

/// Shares begin at multiples of this many elements: the strictest alignment of bindings, in f16.
const ALIGNMENT: usize = 128;

/// Contiguous parameters, divided into one block per rank.
struct Run {
    /// Weights, gradients and f16 copies of all ranks' blocks. The moments are only this rank's.
    whole: optimizer::State,
    members: Vec<Member>,
    /// This rank's elements; empty for the last ranks of a short run.
    own: Range<usize>,
    /// Number of elements in a block.
    block: usize,
}

/// A tensor of an optimizer's state on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its name in checkpoints.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

/// The ranks' shares of an optimizer.
pub struct Shards {
    group: Group,
    runs: Vec<Run>,
}

impl Shards {
    /// Divides `optimizer` into shares: from now on it keeps and updates only this rank's.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, group: &Group, optimizer: &mut Optimizer) -> Result<Self> {
        let mut runs = Vec::new();
        optimizer.cut(|state, members| {
            let elements = state.weight.elements();
            let block = elements.div_ceil(group.size()).next_multiple_of(ALIGNMENT);
            let edge = |rank: usize| (rank * block).min(elements);
            let own = edge(group.rank())..edge(group.rank() + 1);
            let part = |tensor: &Tensor| tensor.part(own.start, &[own.len()]);
            let copy = |tensor: &Tensor| -> Result<Tensor> {
                let copy = Tensor::empty_f32(gpu, &[own.len()])?;
                gpu.copy(part(tensor)?.bind(), copy.bind());
                Ok(copy)
            };
            let share = match own.is_empty() {
                true => None,
                false => Some(optimizer::State {
                    weight: part(&state.weight)?,
                    gradient: part(&state.gradient)?,
                    m: copy(&state.m)?,
                    v: copy(&state.v)?,
                    half: state.half.as_ref().map(part).transpose()?,
                }),
            };
            let whole = optimizer::State {
                m: share.as_ref().map_or_else(|| state.m.clone(), |share| share.m.clone()),
                v: share.as_ref().map_or_else(|| state.v.clone(), |share| share.v.clone()),
                ..state.clone()
            };
            runs.push(Run { whole, members: members.to_vec(), own, block });
            Ok(share)
        })?;
        gpu.submit()?;
        Ok(Self { group: group.clone(), runs })
    }

    /// Replaces this rank's share of the gradients by their sum over all ranks.
    ///
    /// # Errors
    /// [`crate::Error::Rank`], and the driver's errors.
    pub fn before_update(&mut self, gradients: &mut Gradients) -> Result<()> {
        let mut sums = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            for member in &run.members {
                // Parameters that no gradient reached have gradient 0.
                if gradients.get(&member.weight).is_none() {
                    member.gradient.clear();
                    gradients.wrote(&member.weight);
                }
            }
            let mut values = wait::now(run.whole.gradient.to_f32())?;
            values.resize(run.block * self.group.size(), 0.0);
            sums.push(self.group.sum_blocks(values));
        }
        for (run, sum) in self.runs.iter().zip(sums) {
            let sum = sum.wait()?;
            if !run.own.is_empty() {
                let own = run.whole.gradient.part(run.own.start, &[run.own.len()])?;
                own.write(&sum[..run.own.len()])?;
                own.gpu().submit()?;
            }
        }
        Ok(())
    }

    /// Replaces the norm of this rank's gradients by the norm of all.
    ///
    /// # Errors
    /// Returns the errors of [`Shards::before_update`].
    pub fn join_norm(&self, norm: &Tensor) -> Result<()> {
        let own = wait::now(norm.to_f32())?[0];
        let squares = self.group.gather_numbers(&[f64::from(own) * f64::from(own)]).wait()?;
        let sum: f64 = squares.iter().flatten().sum();
        norm.write(&[sum.sqrt() as f32])
    }

    /// Sends this rank's updated parameters to the other ranks, and receives theirs.
    ///
    /// # Errors
    /// Returns the errors of [`Shards::before_update`].
    pub fn after_update(&mut self) -> Result<()> {
        let mut replies = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            replies.push(self.group.gather_numbers(&own(run, &run.whole.weight)?));
        }
        for (run, all) in self.runs.iter().zip(replies) {
            for (rank, values) in all.wait()?.iter().enumerate() {
                if rank == self.group.rank() || values.is_empty() {
                    continue;
                }
                let part = |tensor: &Tensor| tensor.part(rank * run.block, &[values.len()]);
                let half = run.whole.half.as_ref().map(part).transpose()?;
                overwrite(&part(&run.whole.weight)?, half.as_ref(), values)?;
            }
        }
        Ok(())
    }

    /// All ranks' moments, parameter by parameter, as a single rank would have them.
    ///
    /// # Errors
    /// Returns the errors of [`Shards::before_update`].
    pub fn moments(&self) -> Result<Vec<Kept>> {
        let mut all = Vec::new();
        for run in &self.runs {
            for (letter, moments) in [("m", &run.whole.m), ("v", &run.whole.v)] {
                let own = if run.own.is_empty() { Vec::new() } else { wait::now(moments.to_f32())? };
                let values = self.group.gather_numbers(&own).wait()?.concat();
                all.extend(run.members.iter().map(|member| Kept {
                    name: format!("{letter}.{}", member.name),
                    shape: member.weight.shape().to_vec(),
                    values: values[member.first..member.first + member.weight.elements()].to_vec(),
                }));
            }
        }
        Ok(all)
    }
}

/// This rank's elements of `tensor`.
fn own(run: &Run, tensor: &Tensor) -> Result<Vec<f32>> {
    match run.own.len() {
        0 => Ok(Vec::new()),
        count => wait::now(tensor.part(run.own.start, &[count])?.to_f32()),
    }
}
