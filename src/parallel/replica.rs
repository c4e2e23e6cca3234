//! One rank's copy of what is trained, and how it keeps in step with the others'.

use super::{GradientSum, Group, Outer, Shards, shards::Kept};
use crate::{Result, gpu::Gpu, optim::Optimizer, tape::Gradients, tensor::Tensor};

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
        Ok(Some(Self { group: group.clone(), way }))
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
