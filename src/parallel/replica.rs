//! One rank's copy of what is trained, and how it keeps in step with the others'.

use half::f16;

use super::{GradientSum, Group, Outer, Shards, shards::Kept};
use crate::{
    Result,
    gpu::{Gpu, readback::Readback, wait},
    optim::Optimizer,
    tape::{Gradients, Tape},
    tensor::Tensor,
};

/// How a rank's copy keeps in step: it has to with nobody, by the sum of all gradients at every step, by the sums of its share of
/// them, or by an outer step now and then.
enum SyncStrategy {
    Alone,
    Gradients(GradientSum),
    Shards(Shards),
    Outer(Outer),
}

/// A rank's copy, among others or alone.
pub struct Replica {
    group: Group,
    strategy: SyncStrategy,
    /// The parameters with their copies in f16, where ranks' adapters differ and may round them apart; empty where they cannot.
    apart: Vec<(Tensor, Option<Tensor>)>,
}

impl Replica {
    /// That of a rank that is alone.
    pub fn alone() -> Self {
        Self { group: Group::alone(), strategy: SyncStrategy::Alone, apart: Vec::new() }
    }

    /// The copy that `optimizer` trains; all ranks have the same weights now.
    ///
    /// # Errors
    /// Those of the driver.
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

    /// Whether the ranks' gradients are added at every step: a rank's loss is then its part in the mean over all.
    pub fn adds_gradients(&self) -> bool {
        !matches!(self.strategy, SyncStrategy::Outer(_))
    }

    /// Those with which every step is taken together: nobody where each takes steps of its own.
    pub fn together(&self) -> Group {
        if self.adds_gradients() { self.group.clone() } else { Group::alone() }
    }

    /// [`Tape::backward`]. With the `last` of a step, gradients that are complete set off for the other ranks.
    ///
    /// # Errors
    /// Those of the backward kernels and of the driver.
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

    /// [`Optimizer::update`] by what the ranks' gradients come to together; the norm is on its way to the host.
    ///
    /// # Errors
    /// [`crate::Error::Rank`], and those of the driver.
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

    /// Whether the next step ends with all ranks meeting.
    pub fn meets(&self) -> bool {
        match &self.strategy {
            SyncStrategy::Alone | SyncStrategy::Gradients(_) | SyncStrategy::Shards(_) => true,
            SyncStrategy::Outer(outer) => outer.meets(),
        }
    }

    /// Makes all ranks' weights the same, before they are looked at or saved.
    ///
    /// # Errors
    /// As [`Replica::update`].
    pub fn meet(&mut self) -> Result<()> {
        for (weight, half) in &self.apart {
            // Equal gradients move all weights alike but for what adapters round in their own ways, which would add up.
            let values = wait::now(weight.to_f32())?;
            let first = self.group.from_first(bytemuck::cast_slice(&values).to_vec())?;
            overwrite(weight, half.as_ref(), &bytemuck::pod_collect_to_vec(&first))?;
        }
        match &mut self.strategy {
            SyncStrategy::Alone | SyncStrategy::Gradients(_) | SyncStrategy::Shards(_) => Ok(()),
            SyncStrategy::Outer(outer) => outer.meet(),
        }
    }

    /// What a resumed run needs of this, by name.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        match &self.strategy {
            SyncStrategy::Alone | SyncStrategy::Gradients(_) | SyncStrategy::Shards(_) => Vec::new(),
            SyncStrategy::Outer(outer) => outer.state(),
        }
    }

    /// The moments that are spread over the ranks; all of them ask. None where each rank has all.
    ///
    /// # Errors
    /// As [`Replica::update`].
    pub fn moments(&self) -> Result<Vec<Kept>> {
        match &self.strategy {
            SyncStrategy::Shards(shards) => shards.moments(),
            SyncStrategy::Alone | SyncStrategy::Gradients(_) | SyncStrategy::Outer(_) => Ok(Vec::new()),
        }
    }
}

/// Replaces a parameter by `values`, and its copy in f16 with it.
pub(super) fn overwrite(weight: &Tensor, half: Option<&Tensor>, values: &[f32]) -> Result<()> {
    weight.write(values)?;
    if let Some(half) = half {
        half.write(&values.iter().map(|value| f16::from_f32(*value)).collect::<Vec<_>>())?;
    }
    // What was uploaded waits in a ring: let it go.
    weight.gpu().submit()
}
