//! One rank's copy of what is trained, and how it keeps in step with the others'.

use super::{GradientSum, Group, Outer, Shards, shards::Kept};
use half::f16;

use crate::{
    Result,
    gpu::{Gpu, wait},
    optim::Optimizer,
    tape::Gradients,
    tensor::Tensor,
};

/// How a rank's copy keeps in step: by the sum of all gradients at every step, by the sums of its share of them, or by an outer
/// step now and then.
enum Way {
    Gradients(GradientSum),
    Shards(Shards),
    Outer(Outer),
}

/// A rank's copy among others.
pub struct Replica {
    group: Group,
    way: Way,
    /// The parameters with their copies in f16, where ranks' adapters differ and may round them apart; empty where they cannot.
    apart: Vec<(Tensor, Option<Tensor>)>,
}

impl Replica {
    /// The copy that `optimizer` trains; all ranks have the same weights now. None where this rank is alone.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn new(gpu: &Gpu, group: &Group, optimizer: &mut Optimizer) -> Result<Option<Self>> {
        if group.size() == 1 {
            return Ok(None);
        }
        let way = match group.options().sync_every {
            0 | 1 if group.options().shard_optimizer => Way::Shards(Shards::new(gpu, group, optimizer)?),
            0 | 1 => Way::Gradients(GradientSum::new(group, optimizer)),
            every => Way::Outer(Outer::new(gpu, group, every, optimizer)?),
        };
        let adapters = group.gather(gpu.tuner().adapter().as_bytes().to_vec()).wait()?;
        let alike = adapters.iter().all(|adapter| *adapter == adapters[0]);
        let apart = match &way {
            Way::Gradients(_) if !alike => optimizer.parameters(),
            _ => Vec::new(),
        };
        let apart = apart.into_iter().map(|(_, weight, half)| (weight.clone(), half.cloned())).collect();
        Ok(Some(Self { group: group.clone(), way, apart }))
    }

    /// Whether the ranks' gradients are added at every step: a rank's loss is then its part in the mean over all.
    pub fn adds_gradients(&self) -> bool {
        !matches!(self.way, Way::Outer(_))
    }

    /// The ranks.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Takes note that a parameter's gradient is complete.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn complete(&mut self, gradients: &Gradients, parameter: u64) -> Result<()> {
        match &mut self.way {
            Way::Gradients(sum) => sum.complete(gradients, parameter),
            Way::Shards(_) | Way::Outer(_) => Ok(()),
        }
    }

    /// Before the optimizer's step: gradients become what it is to see.
    ///
    /// # Errors
    /// [`crate::Error::Rank`], and those of the driver.
    pub fn before_update(&mut self, gradients: &mut Gradients) -> Result<()> {
        match &mut self.way {
            Way::Gradients(sum) => sum.finish(gradients),
            Way::Shards(shards) => shards.before_update(gradients),
            Way::Outer(_) => Ok(()),
        }
    }

    /// After the optimizer's step.
    ///
    /// # Errors
    /// As [`Replica::before_update`].
    pub fn after_update(&mut self) -> Result<()> {
        match &mut self.way {
            Way::Gradients(_) => Ok(()),
            Way::Shards(shards) => shards.after_update(),
            Way::Outer(outer) => outer.after_step(),
        }
    }

    /// Whether the next step ends with all ranks meeting.
    pub fn meets(&self) -> bool {
        match &self.way {
            Way::Gradients(_) | Way::Shards(_) => true,
            Way::Outer(outer) => outer.meets(),
        }
    }

    /// Makes all ranks' weights the same, before they are looked at or saved.
    ///
    /// # Errors
    /// As [`Replica::before_update`].
    pub fn meet(&mut self) -> Result<()> {
        for (weight, half) in &self.apart {
            // Equal gradients move all weights alike but for what adapters round in their own ways, which would add up.
            let values = wait::now(weight.to_f32())?;
            let first = self.group.from_first(bytemuck::cast_slice(&values).to_vec())?;
            overwrite(weight, half.as_ref(), &bytemuck::pod_collect_to_vec(&first))?;
        }
        match &mut self.way {
            Way::Gradients(_) | Way::Shards(_) => Ok(()),
            Way::Outer(outer) => outer.meet(),
        }
    }

    /// Makes the norm of this rank's gradients that of all ranks'.
    ///
    /// # Errors
    /// As [`Replica::before_update`].
    pub fn join_norm(&self, norm: &Tensor) -> Result<()> {
        match &self.way {
            Way::Shards(shards) => shards.join_norm(norm),
            Way::Gradients(_) | Way::Outer(_) => Ok(()),
        }
    }

    /// What a resumed run needs of this, by name.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        match &self.way {
            Way::Gradients(_) | Way::Shards(_) => Vec::new(),
            Way::Outer(outer) => outer.state(),
        }
    }

    /// The moments that are spread over the ranks; all of them ask. None where each rank has all.
    ///
    /// # Errors
    /// As [`Replica::before_update`].
    pub fn moments(&self) -> Result<Vec<Kept>> {
        match &self.way {
            Way::Shards(shards) => shards.moments(),
            Way::Gradients(_) | Way::Outer(_) => Ok(Vec::new()),
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
