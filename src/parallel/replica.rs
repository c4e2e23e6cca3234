//! One rank's copy of the trained parameters, and how it stays in step with the other ranks' copies.

use half::f16;

use super::{GradientSum, Group, Outer, Shards, shards::Kept};
use crate::{
    Result,
    gpu::{Gpu, readback::Readback, wait},
    optim::Optimizer,
    tape::{Gradients, Tape},
    tensor::Tensor,
};

/// How a rank's copy stays in step: not at all, by the sum of all gradients at every step, by the sum of its share of
/// the gradients, or by an occasional outer step.
enum SyncStrategy {
    Alone,
    Gradients(GradientSum),
    Shards(Shards),
    Outer(Outer),
}

/// A rank's copy of the trained parameters; there may be only one rank.
pub struct Replica {
    group: Group,
    strategy: SyncStrategy,
    /// The parameters and their f16 copies, if the ranks' adapters differ and may round them differently; empty
    /// otherwise.
    apart: Vec<(Tensor, Option<Tensor>)>,
}

impl Replica {
    /// The copy of a single rank.
    pub fn alone() -> Self {
        Self { group: Group::alone(), strategy: SyncStrategy::Alone, apart: Vec::new() }
    }

    /// The copy that `optimizer` trains; all ranks must start with the same weights.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn new(gpu: &Gpu, group: &Group, optimizer: &mut Optimizer) -> Result<Self> {
        if group.size() == 1 {
            return Ok(Self::alone());
        }
        let strategy = match group.options().sync_every {
            0 | 1 if group.options().shard_optimizer => SyncStrategy::Shards(Shards::new(gpu, group, optimizer)?),
            0 | 1 => SyncStrategy::Gradients(GradientSum::new(group, optimizer)),
            every => SyncStrategy::Outer(Outer::new(gpu, group, every, optimizer)?),
        };
        let adapters = group.gather(gpu.tuner().adapter().as_bytes().to_vec()).wait()?;
        let alike = adapters.iter().all(|adapter| *adapter == adapters[0]);
        let apart = match &strategy {
            SyncStrategy::Gradients(_) if !alike => optimizer.parameters(),
            _ => Vec::new(),
        };
        let apart = apart.into_iter().map(|(_, weight, half)| (weight.clone(), half.cloned())).collect();
        Ok(Self { group: group.clone(), strategy, apart })
    }

    /// The ranks.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Whether the ranks' gradients are added at every step. If so, each rank's loss is its part of the mean over all
    /// ranks.
    pub fn adds_gradients(&self) -> bool {
        !matches!(self.strategy, SyncStrategy::Outer(_))
    }

    /// The ranks that take every step together; a group of one if each rank takes its own steps.
    pub fn together(&self) -> Group {
        if self.adds_gradients() { self.group.clone() } else { Group::alone() }
    }

    /// [`Tape::backward`]. In the `last` backward pass of a step, gradients are sent to the other ranks as they become
    /// complete.
    ///
    /// # Errors
    /// Returns the errors of the backward kernels and of the driver.
    pub fn backward(
        &mut self,
        tape: Tape,
        loss: &Tensor,
        one: Tensor,
        gradients: &mut Gradients,
        last: bool,
    ) -> Result<()> {
        match &mut self.strategy {
            SyncStrategy::Gradients(sum) if last => {
                tape.backward_telling(loss, one, gradients, |gradients, parameter| sum.complete(gradients, parameter))
            }
            _ => tape.backward(loss, one, gradients),
        }
    }

    /// [`Optimizer::update`] with the ranks' combined gradients. Returns the readback of the gradient norm.
    ///
    /// # Errors
    /// [`crate::Error::Rank`], and the driver's errors.
    pub fn update(
        &mut self,
        gpu: &Gpu,
        optimizer: &mut Optimizer,
        gradients: &mut Gradients,
        lr: f32,
        scale: Option<f32>,
    ) -> Result<Readback> {
        match &mut self.strategy {
            SyncStrategy::Gradients(sum) => sum.finish(gradients)?,
            SyncStrategy::Shards(shards) => shards.before_update(gradients)?,
            SyncStrategy::Alone | SyncStrategy::Outer(_) => {}
        }
        let join = |norm: &Tensor| match &self.strategy {
            SyncStrategy::Shards(shards) => shards.join_norm(norm),
            SyncStrategy::Alone | SyncStrategy::Gradients(_) | SyncStrategy::Outer(_) => Ok(()),
        };
        let norm = optimizer.update(gpu, gradients, lr, scale, join)?.read();
        gpu.submit()?;
        match &mut self.strategy {
            SyncStrategy::Shards(shards) => shards.after_update()?,
            SyncStrategy::Outer(outer) => outer.after_step()?,
            SyncStrategy::Alone | SyncStrategy::Gradients(_) => {}
        }
        Ok(norm)
    }

    /// Whether all ranks' weights agree after the next step.
    pub fn meets(&self) -> bool {
        match &self.strategy {
            SyncStrategy::Alone | SyncStrategy::Gradients(_) | SyncStrategy::Shards(_) => true,
            SyncStrategy::Outer(outer) => outer.meets(),
        }
    }

    /// Makes all ranks' weights the same, before they are evaluated or saved.
    ///
    /// # Errors
    /// Returns the errors of [`Replica::update`].
    pub fn meet(&mut self) -> Result<()> {
        for (weight, half) in &self.apart {
            // Equal gradients give equal weights except for adapter-specific rounding, which would accumulate.
            let values = wait::now(weight.to_f32())?;
            let first = self.group.from_first(bytemuck::cast_slice(&values).to_vec())?;
            overwrite(weight, half.as_ref(), &bytemuck::pod_collect_to_vec(&first))?;
        }
        match &mut self.strategy {
            SyncStrategy::Alone | SyncStrategy::Gradients(_) | SyncStrategy::Shards(_) => Ok(()),
            SyncStrategy::Outer(outer) => outer.meet(),
        }
    }

    /// The tensors needed to resume a run, by name.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        match &self.strategy {
            SyncStrategy::Alone | SyncStrategy::Gradients(_) | SyncStrategy::Shards(_) => Vec::new(),
            SyncStrategy::Outer(outer) => outer.state(),
        }
    }

    /// The moments that are spread over the ranks; empty if each rank has all of them. All ranks must call this.
    ///
    /// # Errors
    /// Returns the errors of [`Replica::update`].
    pub fn moments(&self) -> Result<Vec<Kept>> {
        match &self.strategy {
            SyncStrategy::Shards(shards) => shards.moments(),
            SyncStrategy::Alone | SyncStrategy::Gradients(_) | SyncStrategy::Outer(_) => Ok(Vec::new()),
        }
    }
}

/// Replaces a parameter and its f16 copy by `values`.
pub(super) fn overwrite(weight: &Tensor, half: Option<&Tensor>, values: &[f32]) -> Result<()> {
    weight.write(values)?;
    if let Some(half) = half {
        half.write(&values.iter().map(|value| f16::from_f32(*value)).collect::<Vec<_>>())?;
    }
    // Uploads wait in a ring until they are submitted.
    weight.gpu().submit()
}
