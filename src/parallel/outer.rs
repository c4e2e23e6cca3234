//! Independent steps on each rank, joined now and then by an outer step (DiLoCo, Douillard et al. 2023): the mean
//! movement of the ranks' weights is the gradient of an outer SGD with Nesterov momentum.
//!
//! ```text
//! d = w_before - mean(w)        v <- 0.9 v + d        w <- w_before - 0.7 (d + 0.9 v)
//! ```

use super::{Group, Wire, replica::overwrite};
use crate::{
    Result, arena,
    gpu::{Gpu, wait},
    optim::Optimizer,
    tensor::{DType, Tensor},
};

/// The outer step's learning rate and momentum, as in the paper.
const LR: f32 = 0.7;
const MOMENTUM: f32 = 0.9;

/// A parameter in the outer step.
struct Slot {
    name: String,
    weight: Tensor,
    half: Option<Tensor>,
    /// Its value after the last outer step.
    before: Vec<f32>,
    /// The momentum, in the parameter's shape.
    velocity: Tensor,
}

/// The outer optimizer.
pub struct Outer {
    group: Group,
    every: u64,
    slots: Vec<Slot>,
    /// Number of steps since the last outer step.
    own: u64,
}

impl Outer {
    /// An outer optimizer over `optimizer`'s parameters, which must have the same values on all ranks. It acts after
    /// every `every` steps.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn new(gpu: &Gpu, group: &Group, every: u64, optimizer: &Optimizer) -> Result<Self> {
        let parameters = optimizer.parameters();
        let shapes: Vec<_> = parameters.iter().map(|(_, weight, _)| weight.shape()).collect();
        let velocities = arena::of_parameters(gpu, &shapes, DType::F32)?;
        let mut slots = Vec::with_capacity(parameters.len());
        for ((name, weight, half), velocity) in parameters.iter().zip(velocities) {
            let before = wait::now(weight.to_f32())?;
            let (weight, half) = ((*weight).clone(), half.cloned());
            slots.push(Slot { name: (*name).to_string(), weight, half, before, velocity });
        }
        Ok(Self { group: group.clone(), every, slots, own: 0 })
    }

    /// Whether the next step will be followed by an outer step.
    pub fn meets(&self) -> bool {
        self.own + 1 >= self.every
    }

    /// Must be called after each step of this rank: takes an outer step when one is due.
    ///
    /// # Errors
    /// [`crate::Error::Rank`], and the driver's errors.
    pub fn after_step(&mut self) -> Result<()> {
        self.own += 1;
        if self.own >= self.every { self.meet() } else { Ok(()) }
    }

    /// Takes an outer step, unless no step was taken since the last one. Afterwards all ranks have the same weights.
    ///
    /// # Errors
    /// Returns the errors of [`Outer::after_step`].
    pub fn meet(&mut self) -> Result<()> {
        if std::mem::take(&mut self.own) == 0 {
            return Ok(());
        }
        let share = 1.0 / self.group.size() as f32;
        let mut moves = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let now = wait::now(slot.weight.to_f32())?;
            let moved = slot.before.iter().zip(&now).map(|(before, now)| (before - now) * share).collect();
            moves.push(self.group.sum(moved, Wire::F32));
        }
        for (slot, moved) in self.slots.iter_mut().zip(moves) {
            let moved = moved.wait()?;
            let mut velocity = wait::now(slot.velocity.to_f32())?;
            step(&mut slot.before, &mut velocity, &moved);
            slot.velocity.write(&velocity)?;
            overwrite(&slot.weight, slot.half.as_ref(), &slot.before)?;
        }
        Ok(())
    }

    /// The momentum by name (`outer.<parameter>`), for checkpoints.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        self.slots.iter().map(|slot| (format!("outer.{}", slot.name), slot.velocity.clone())).collect()
    }
}

/// Takes one outer step from the weights `before`; the ranks moved by -`moved` on average.
fn step(before: &mut [f32], velocity: &mut [f32], moved: &[f32]) {
    for ((weight, velocity), moved) in before.iter_mut().zip(velocity).zip(moved) {
        *velocity = MOMENTUM * *velocity + moved;
        *weight -= LR * (moved + MOMENTUM * *velocity);
    }
}

#[cfg(test)]
mod tests {
    use super::step;

    /// Compares with torch.optim.SGD(lr=0.7, momentum=0.9, nesterov=True): two steps with gradients 1 and -0.5.
    #[test]
    fn is_sgd_with_nesterov() {
        let (mut weight, mut velocity) = ([2.0f32], [0.0f32]);
        step(&mut weight, &mut velocity, &[1.0]);
        assert!((weight[0] - 0.67).abs() < 1e-6, "{weight:?}");
        step(&mut weight, &mut velocity, &[-0.5]);
        assert!((weight[0] - 0.768).abs() < 1e-6, "{weight:?}");
    }
}
