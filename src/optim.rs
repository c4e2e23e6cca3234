//! AdamW over a model's parameters, and the learning-rate schedule.

use crate::{
    Result, arena,
    gpu::Gpu,
    ops::{optimizer, reduce},
    tape::Gradients,
    tensor::{DType, Tensor},
};

/// The settings of AdamW (Loshchilov and Hutter 2019).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the square root of the second moment.
    pub epsilon: f32,
    /// Weight decay, on tensors of two or more dimensions only.
    pub weight_decay: f32,
    /// Gradients with a larger global norm are scaled down to this one; 0 turns clipping off.
    pub clip: f32,
}

/// One parameter with its gradient and moments.
struct Slot {
    name: String,
    /// In a shape of its own, which is that of the others too.
    weight: Tensor,
    gradient: Tensor,
    /// First and second moments; `None` when other ranks may hold them.
    moments: Option<[Tensor; 2]>,
    /// The copy in f16, if it has one.
    half: Option<Tensor>,
}

/// Parameters whose weights, gradients and moments each lie one after the other, so that one dispatch updates them all.
struct Run {
    /// The whole state, or this rank's share; `None` if the share is empty.
    state: Option<optimizer::State>,
    decays: bool,
    members: Vec<Member>,
}

/// A parameter's place among those updated together with it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The parameter.
    pub weight: Tensor,
    /// Its gradient, in its shape.
    pub gradient: Tensor,
    /// The offset of its first element.
    pub first: usize,
}

/// The optimizer's state on the GPU.
pub struct Optimizer {
    settings: AdamW,
    slots: Vec<Slot>,
    runs: Vec<Run>,
    /// Steps, including skipped ones.
    pub step: u64,
    /// Steps that were skipped because their gradient was not finite.
    pub skipped: u64,
}

fn decays(weight: &Tensor) -> bool {
    weight.shape().len() >= 2
}

/// Cuts `slots`, given in memory order, into the longest possible runs.
fn runs(slots: &[&Slot]) -> Vec<Run> {
    let parts = |slot: &Slot| {
        let all = [&slot.weight, &slot.gradient].into_iter().chain(slot.moments.iter().flatten()).chain(&slot.half);
        all.cloned().collect::<Vec<_>>()
    };
    let (mut runs, mut at) = (Vec::new(), 0);
    while at < slots.len() {
        let first = parts(slots[at]);
        let (mut last, mut end) = (first.clone(), at + 1);
        while let Some(next) = slots.get(end).filter(|next| decays(&next.weight) == decays(&slots[at].weight)) {
            let next = parts(next);
            let follows = |part: usize| arena::follows(&first[part], &last[part], &next[part]);
            if next.len() != first.len() || !(0..first.len()).all(follows) {
                break;
            }
            (last, end) = (next, end + 1);
        }
        let whole = |part: usize| first[part].through(&last[part]).unwrap_or_else(|| first[part].clone());
        let half = (first.len() > 4).then(|| whole(4));
        let state = optimizer::State { weight: whole(0), gradient: whole(1), m: whole(2), v: whole(3), half };
        let place = |slot: &&Slot| {
            let through = first[0].through(&slot.weight).map_or(0, |through| through.elements());
            let (name, weight, gradient) = (slot.name.clone(), slot.weight.clone(), slot.gradient.clone());
            Member { name, first: through.saturating_sub(weight.elements()), weight, gradient }
        };
        let members = slots[at..end].iter().map(place).collect();
        runs.push(Run { state: Some(state), decays: decays(&first[0]), members });
        at = end;
    }
    runs
}

impl Optimizer {
    /// Fresh moments for `parameters`, whose gradients are kept in `gradients` across all steps. `halves` are f16
    /// copies of the first parameters, rewritten by every step.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(
        gpu: &Gpu,
        parameters: &[(String, Tensor)],
        halves: &[Tensor],
        settings: AdamW,
        gradients: &mut Gradients,
    ) -> Result<Self> {
        let shapes: Vec<_> = parameters.iter().map(|(_, weight)| weight.shape()).collect();
        let room = || arena::of_parameters(gpu, &shapes, DType::F32).map(Vec::into_iter);
        let (mut all_gradients, mut all_m, mut all_v) = (room()?, room()?, room()?);
        let mut slots = Vec::with_capacity(parameters.len());
        for (name, weight) in parameters {
            let (Some(gradient), Some(m), Some(v)) = (all_gradients.next(), all_m.next(), all_v.next()) else { break };
            gradients.keep(weight, gradient.clone());
            let half = halves.get(slots.len()).cloned();
            let moments = Some([m, v]);
            slots.push(Slot { name: name.clone(), weight: weight.clone(), gradient, moments, half });
        }
        let in_memory: Vec<_> = arena::update_order(&shapes).into_iter().map(|index| &slots[index]).collect();
        let runs = runs(&in_memory);
        Ok(Self { settings, slots, runs, step: 0, skipped: 0 })
    }

    /// Updates every parameter; returns the global gradient norm `[1]` before clipping, still on the GPU. A parameter that
    /// no gradient reached counts as having gradient 0. Nothing is updated if the norm is not finite: the caller, who reads
    /// it, counts that in `skipped`. With `scale`, the gradients are that many times the real ones. `join` turns the norm
    /// into that of all ranks when this one has only a share of the gradients.
    ///
    /// # Errors
    /// Returns the errors of the driver and of `join`.
    pub fn update(
        &mut self,
        gpu: &Gpu,
        gradients: &mut Gradients,
        lr: f32,
        scale: Option<f32>,
        join: impl FnOnce(&Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        for slot in &self.slots {
            if gradients.get(&slot.weight).is_none() {
                slot.gradient.clear();
            }
        }
        let all: Vec<_> = self.runs.iter().filter_map(|run| Some(&run.state.as_ref()?.gradient)).collect();
        let unscale = scale.map(f32::recip);
        let norm = match all.is_empty() {
            true => Tensor::zeros(gpu, &[1])?,
            false => reduce::global_norm(gpu, &all, unscale.unwrap_or(1.0))?,
        };
        join(&norm)?;
        self.step += 1;
        let power = i32::try_from(self.step.saturating_sub(self.skipped).max(1)).unwrap_or(i32::MAX);
        let correction = |beta: f32| (1.0 - f64::from(beta).powi(power)) as f32;
        for (run, state) in self.runs.iter().filter_map(|run| Some((run, run.state.as_ref()?))) {
            let step = optimizer::Step {
                lr,
                beta1: self.settings.beta1,
                beta2: self.settings.beta2,
                epsilon: self.settings.epsilon,
                decay: if run.decays { self.settings.weight_decay } else { 0.0 },
                correction1: correction(self.settings.beta1),
                correction2: correction(self.settings.beta2),
                max_norm: self.settings.clip,
                unscale,
            };
            optimizer::adamw(step, state, &norm)?;
        }
        gradients.reset();
        Ok(norm)
    }

    /// Every parameter with its name and its f16 copy, if it has one.
    pub fn parameters(&self) -> Vec<(&str, &Tensor, Option<&Tensor>)> {
        self.slots.iter().map(|slot| (slot.name.as_str(), &slot.weight, slot.half.as_ref())).collect()
    }

    /// Every parameter with its gradient, in memory order.
    pub fn in_memory(&self) -> impl Iterator<Item = (&Tensor, &Tensor)> {
        let shapes: Vec<_> = self.slots.iter().map(|slot| slot.weight.shape()).collect();
        let slot = |index: usize| (&self.slots[index].weight, &self.slots[index].gradient);
        arena::update_order(&shapes).into_iter().map(slot)
    }

    /// Replaces each run's state by the share of it that `share` returns, and drops the moments that are in no share.
    ///
    /// # Errors
    /// Returns the errors of `share`.
    pub fn cut(
        &mut self,
        mut share: impl FnMut(&optimizer::State, &[Member]) -> Result<Option<optimizer::State>>,
    ) -> Result<()> {
        for run in &mut self.runs {
            if let Some(state) = &run.state {
                run.state = share(state, &run.members)?;
            }
        }
        self.slots.iter_mut().for_each(|slot| slot.moments = None);
        Ok(())
    }

    /// The moments by name (`m.<parameter>`, `v.<parameter>`), for checkpoints; empty if they are spread over ranks.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let moments = |slot: &Slot| {
            let [m, v] = slot.moments.clone()?;
            Some([(format!("m.{}", slot.name), m), (format!("v.{}", slot.name), v)])
        };
        self.slots.iter().filter_map(moments).flatten().collect()
    }
}

/// How a learning rate decays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Along half a cosine period.
    #[default]
    Cosine,
    /// By the same amount at every step.
    Linear,
}

/// Linear warm-up, then decay to the minimum.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Schedule {
    /// Peak learning rate.
    pub lr: f32,
    /// Learning rate of the last step.
    pub min_lr: f32,
    /// Steps of warm-up.
    pub warmup: u64,
    /// Total number of steps.
    pub steps: u64,
    /// The shape of the decay.
    #[serde(default)]
    pub decay: Decay,
}

impl Schedule {
    /// The same shape with another peak and length: decays to a tenth of the peak, and warms up for at
    /// most a tenth of the steps.
    #[must_use]
    pub fn rescaled(self, lr: f32, steps: u64) -> Self {
        Self { lr, min_lr: lr / 10.0, warmup: self.warmup.min(steps / 10), steps, ..self }
    }

    /// The learning rate of `step`, counted from 0 (nanoGPT's `get_lr`).
    pub fn at(&self, step: u64) -> f32 {
        if step < self.warmup {
            return self.lr * (step + 1) as f32 / (self.warmup + 1) as f32;
        }
        if step >= self.steps {
            return self.min_lr;
        }
        let done = (step - self.warmup) as f64 / (self.steps - self.warmup).max(1) as f64;
        let share = match self.decay {
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Decay::Linear => 1.0 - done,
        };
        (f64::from(self.min_lr) + share * f64::from(self.lr - self.min_lr)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::{Decay, Schedule};

    #[test]
    fn warms_up_and_ends_at_the_minimum() {
        let schedule = Schedule { lr: 1e-3, min_lr: 1e-4, warmup: 100, steps: 2000, decay: Decay::Cosine };
        assert!(schedule.at(0) < schedule.at(50) && schedule.at(50) < schedule.at(99));
        assert!((schedule.at(100) - 1e-3).abs() < 1e-9);
        assert!((schedule.at(1050) - 5.5e-4).abs() < 1e-6);
        assert!((schedule.at(2000) - 1e-4).abs() < 1e-9);
        let linear = Schedule { lr: 1.0, min_lr: 0.0, warmup: 0, steps: 4, decay: Decay::Linear };
        assert_eq!([0, 1, 2, 3, 4].map(|step| linear.at(step)), [1.0, 0.75, 0.5, 0.25, 0.0]);
    }
}
