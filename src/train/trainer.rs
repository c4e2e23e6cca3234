//! A model with its optimizer, and one training step.

use std::borrow::Cow;

use crate::{
    Error, Result,
    error::Origin,
    gpu::{Gpu, readback::Readback},
    model::{Gpt, Model, gpt::Pass, heads::ScalarHead, origin},
    ops::{
        cross_entropy::{self, Targets},
        embedding::Tokens,
        weight::Weight,
    },
    optim::{AdamW, Decay, Optimizer, Schedule},
    parallel::{Group, Kept, Replica, Wire},
    random,
    tape::{Gradients, Tape},
    tensor::Tensor,
    text::batches::{self, Batch},
    train::{scaling::LossScale, settings::Precision, state},
};

/// The random stream of dropout keys.
const DROPOUT_STREAM: u64 = u64::from_le_bytes(*b"dropout ");

/// How a trainer takes its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSettings {
    /// The learning-rate schedule.
    pub schedule: Schedule,
    /// The optimizer.
    pub optimizer: AdamW,
    /// Probability of dropping an activation.
    pub dropout: f32,
    /// Seed of the dropout masks.
    pub seed: u64,
    /// Recompute blocks in the backward pass instead of keeping their activations.
    pub checkpoint_activations: bool,
    /// How weights and activations are stored.
    pub precision: Precision,
}

impl StepSettings {
    /// nanoGPT's recipe for small models: AdamW with betas 0.9 and 0.99, weight decay 0.1, clipping at 1, no dropout,
    /// in f32; learning rate `lr` after a warm-up over a tenth of `steps`, then down to a tenth of it along half a
    /// cosine.
    pub fn new(lr: f32, steps: u64, seed: u64) -> Self {
        Self {
            schedule: Schedule { lr, min_lr: lr / 10.0, warmup: steps / 10, steps, decay: Decay::Cosine },
            optimizer: AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1, clip: 1.0 },
            dropout: 0.0,
            seed,
            checkpoint_activations: false,
            precision: Precision::F32,
        }
    }
}

/// A model with its optimizer: everything that a step changes.
pub struct Trainer<M = Gpt> {
    /// The device.
    pub gpu: Gpu,
    /// How steps are taken.
    pub settings: StepSettings,
    /// The model.
    pub model: M,
    /// The head that is trained with it: the reward of a reward model, or the value of a policy.
    pub head: Option<ScalarHead>,
    /// The optimizer of both.
    pub optimizer: Optimizer,
    /// The scale of the loss, in mixed precision.
    pub loss_scale: Option<LossScale>,
    /// Keeps this copy in step with those of the other ranks.
    pub replica: Replica,
    gradients: Gradients,
    /// The constant 1 from which every backward pass starts.
    one: Tensor,
}

/// The numbers of a micro-batch, still on the GPU.
pub struct Part {
    /// The numbers.
    pub numbers: Readback,
    /// The index among the step's numbers to which the first of them is added.
    pub first: usize,
    /// The factor of each number: the micro-batch's share of the step.
    pub share: f32,
}

impl Part {
    /// A micro-batch's loss and what is measured with it; `share` is its share of the step.
    pub fn new(numbers: Readback, share: f32) -> Self {
        Self { numbers, first: 0, share }
    }
}

/// The numbers of a step that is still on the GPU.
#[must_use]
pub struct Pending {
    parts: Vec<Part>,
    /// Names of the step's numbers that follow the loss.
    names: &'static [&'static str],
    norm: Readback,
    /// The ranks that take part in the step.
    group: Group,
}

/// The numbers of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Mean loss over everything that the step scored, before the update.
    pub loss: f32,
    /// Global gradient norm before clipping.
    pub norm: f32,
    /// Other measurements of the stage, by name.
    pub metrics: Vec<(&'static str, f32)>,
}

// The batches of `text` do not depend on the kernels, but must use the same constant.
const _: () = assert!(batches::IGNORED == cross_entropy::IGNORED);

/// The inputs of a batch on the GPU.
///
/// # Errors
/// [`crate::Error::Shape`] for a batch that is not `[rows, context]`.
pub fn tokens(gpu: &Gpu, batch: &Batch, trains: bool) -> Result<Tokens> {
    match &batch.starts {
        Some(starts) => Tokens::with_segments(gpu, &batch.inputs, starts, batch.rows, batch.context, trains),
        None => Tokens::new(gpu, &batch.inputs, batch.rows, batch.context, trains),
    }
}

fn scored(batch: &Batch) -> usize {
    batch.targets.iter().filter(|&&target| target != batches::IGNORED).count()
}

impl<M: Model> Trainer<M> {
    /// Creates a trainer for `model` with fresh moments.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, model: M, settings: impl Into<StepSettings>) -> Result<Self> {
        Self::with_head(gpu, model, None, settings)
    }

    /// Creates a trainer for `model` and a head on its hidden states, with fresh moments.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn with_head(gpu: &Gpu, model: M, head: Option<ScalarHead>, settings: impl Into<StepSettings>) -> Result<Self> {
        // A language model's own head may be called `head.weight`: moments are told apart by name.
        Self::with_named_head(gpu, model, head.map(|head| ("scalar", head)), settings.into())
    }

    /// Like [`Trainer::with_head`]; the names of the head's moments begin with the name given with it.
    pub(super) fn with_named_head(
        gpu: &Gpu,
        mut model: M,
        head: Option<(&str, ScalarHead)>,
        settings: StepSettings,
    ) -> Result<Self> {
        let loss_scale = (settings.precision == Precision::F16).then(LossScale::default);
        if loss_scale.is_some() {
            model.mix()?;
        }
        let mut gradients = Gradients::default();
        let mut parameters = model.parameters().to_vec();
        parameters.extend(head.iter().flat_map(|(name, head)| head.parameters(name)));
        let optimizer = Optimizer::new(gpu, &parameters, model.halves(), settings.optimizer, &mut gradients)?;
        let (one, head) = (Tensor::from_f32(gpu, &[1], &[1.0])?, head.map(|(_, head)| head));
        let (gpu, replica) = (gpu.clone(), Replica::alone());
        Ok(Self { gpu, settings, model, head, optimizer, loss_scale, replica, gradients, one })
    }

    /// Joins the ranks of `group`, which must have the same weights, to train together.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn join(&mut self, group: &Group) -> Result<()> {
        self.replica = Replica::new(&self.gpu, group, &mut self.optimizer)?;
        Ok(())
    }

    /// The ranks that this one trains with.
    pub fn group(&self) -> Group {
        self.replica.group().clone()
    }

    /// Copies what a resumed run needs from the optimizer and the replica to the host. All ranks must call this; only
    /// the first gets the result.
    ///
    /// # Errors
    /// [`Error::Rank`], and the driver's errors.
    pub async fn kept(&self) -> Result<Vec<Kept>> {
        state::keep(&self.replica, self.optimizer.state().into_iter().chain(self.replica.state())).await
    }

    /// This rank's share of a step's items, and the number of items that its loss is a mean over: all items where the
    /// ranks' gradients are added, this rank's items where it takes steps of its own.
    pub fn share<T>(&self, mut all: Vec<T>) -> (Vec<T>, usize) {
        let (count, own) = (all.len(), self.group().share(all.len()));
        let rest = all.split_off(own.start);
        let share: Vec<T> = rest.into_iter().take(own.len()).collect();
        let of = if self.replica.adds_gradients() { count } else { share.len() };
        (share, of)
    }

    /// This rank's share of a step, in micro-batches no larger than those of the whole step, and the number of scored
    /// tokens that its loss is a mean over.
    fn own<'a>(&self, all: &'a [Batch]) -> (Cow<'a, [Batch]>, usize) {
        let count = |batches: &[Batch]| batches.iter().map(scored).sum();
        if self.group().size() == 1 {
            return (Cow::Borrowed(all), count(all));
        }
        let rows = self.group().share(all.iter().map(|batch| batch.rows).sum());
        let own = batches::rows(all, rows);
        let of = if self.replica.adds_gradients() { count(all) } else { count(&own) };
        (Cow::Owned(own), of)
    }

    /// Adds the gradients of one micro-batch; `last` tells whether it is the last of a step. Returns its mean loss,
    /// still on the GPU.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn accumulate(&mut self, batch: &Batch, pass: Pass, factor: f32, last: bool) -> Result<Tensor> {
        let factor = factor * self.loss_scale.map_or(1.0, |loss| loss.scale);
        self.backward(last, |trainer, tape| {
            let (gpu, model) = (tape.gpu(), &trainer.model);
            let (tokens, targets) = (tokens(gpu, batch, true)?, Targets::new(gpu, &batch.targets)?);
            let output = model.forward(tape, &tokens, pass)?;
            let loss = model.loss(tape, &output, &targets, factor)?;
            Ok((loss.clone(), loss))
        })
    }

    /// Adds the gradients of the loss (one element) that `record` computes with model and head, and returns `record`'s
    /// other result. In the `last` micro-batch of a step, gradients are sent to the other ranks as soon as they are
    /// complete.
    ///
    /// # Errors
    /// Returns the errors of `record` and of the driver, and [`Error::Rank`].
    pub fn backward<T>(&mut self, last: bool, record: impl FnOnce(&Self, &Tape) -> Result<(Tensor, T)>) -> Result<T> {
        self.gpu.watch_part(|| "forward pass".to_string(), false);
        let tape = Tape::new(&self.gpu);
        self.model.watch(&tape);
        self.head.iter().for_each(|head| head.watch(&tape));
        let (loss, more) = record(self, &tape)?;
        self.gpu.watch_part(|| "backward pass".to_string(), false);
        self.replica.backward(tape, &loss, self.one.clone(), &mut self.gradients, last)?;
        Ok(more)
    }

    /// Discards the gradients added so far: a rehearsal is not a step.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn forget(&mut self) -> Result<()> {
        self.gradients.reset();
        self.gpu.submit()
    }

    /// How the forward pass of micro-batch `micro` of `count` runs in this step.
    pub fn pass(&self, micro: usize, count: usize) -> Pass {
        let (group, settings) = (self.group(), &self.settings);
        // Each rank drops different activations.
        let counter = (self.optimizer.step * count as u64 + micro as u64) * group.size() as u64 + group.rank() as u64;
        Pass {
            dropout: settings.dropout,
            dropout_key: random::bits(settings.seed, DROPOUT_STREAM, counter) as u32,
            checkpoint: settings.checkpoint_activations,
            reference: false,
        }
    }

    /// Takes the optimizer's step after the gradients of all micro-batches, at the schedule's learning rate. `parts`
    /// are the micro-batches' numbers: the loss, then one for each of `names`.
    ///
    /// # Errors
    /// Returns the driver's errors and [`Error::Rank`].
    pub fn update(&mut self, parts: Vec<Part>, names: &'static [&'static str]) -> Result<Pending> {
        self.update_at(self.settings.schedule.at(self.optimizer.step), parts, names)
    }

    /// Like [`Trainer::update`], at the learning rate `lr`.
    ///
    /// # Errors
    /// Same as [`Trainer::update`].
    pub fn update_at(&mut self, lr: f32, parts: Vec<Part>, names: &'static [&'static str]) -> Result<Pending> {
        self.gpu.watch_part(|| "update".to_string(), true);
        let scale = self.loss_scale.map(|loss| loss.scale);
        let norm = self.replica.update(&self.gpu, &mut self.optimizer, &mut self.gradients, lr, scale)?;
        Ok(Pending { parts, names, norm, group: self.replica.together() })
    }

    /// Takes one optimizer step over `batches`, of which each rank takes its share. Waits for nothing but other ranks:
    /// read the outcome while the next step is recorded.
    ///
    /// # Errors
    /// Returns the driver's errors and [`Error::Rank`].
    pub fn step(&mut self, batches: &[Batch]) -> Result<Pending> {
        let (batches, all) = self.own(batches);
        let mut parts = Vec::with_capacity(batches.len());
        for (micro, batch) in batches.iter().enumerate() {
            let pass = self.pass(micro, batches.len());
            // Each scored token of the step has the same weight; a step without any has loss 0.
            let share = scored(batch) as f32 / all.max(1) as f32;
            let last = micro + 1 == batches.len();
            parts.push(Part::new(self.accumulate(batch, pass, share, last)?.read(), share));
        }
        self.update(parts, &[])
    }

    /// Records the outcome of a step. A step whose gradients were not finite was skipped; in mixed precision, the loss is
    /// then scaled down for the next steps.
    ///
    /// # Errors
    /// [`Error::Diverged`] for a loss that is not finite, and for gradients that are not, in mixed precision only if no
    /// scale helps.
    pub fn observe(&mut self, step: u64, outcome: &Outcome) -> Result<()> {
        let diverged = |what, value| Err(Error::Diverged { step: step as usize, what, value, origin: None });
        if !outcome.loss.is_finite() {
            return diverged("loss", outcome.loss);
        }
        let Some(loss) = &mut self.loss_scale else {
            return if outcome.norm.is_finite() { Ok(()) } else { diverged("gradient norm", outcome.norm) };
        };
        let helps = loss.observe(outcome.norm);
        self.optimizer.skipped = loss.skipped;
        if helps { Ok(()) } else { diverged("gradient norm", outcome.norm) }
    }

    /// The first weight that holds a number that is not finite, if any does. `given` says whether no step of training has
    /// changed the weights.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub async fn broken_weight(&self, given: bool) -> Result<Option<Origin>> {
        let name = origin::broken_weight(&self.gpu, &self.weights()).await?;
        Ok(name.map(|name| Origin::Weight { name, given }))
    }

    /// Finds out where numbers that are not finite begin: in a weight, or in step number `step`, which `again` takes once
    /// more. A step whose gradient is not finite changes nothing, so that these are its weights, or those that the step after
    /// it made of them if that was taken already.
    ///
    /// # Errors
    /// Returns the driver's errors and those of `again`.
    pub async fn origin(
        &mut self,
        step: u64,
        given: bool,
        again: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Option<Origin>> {
        let broken = self.broken_weight(given).await?;
        // Ranks that find different things would wait for each other.
        if broken.is_some() || self.group().size() > 1 {
            return Ok(broken);
        }
        let gpu = self.gpu.clone();
        origin::watch(&gpu, &self.weights())?;
        self.optimizer.step = step;
        let result = again(self);
        origin::origin(&gpu, result).await.map(Some)
    }

    /// The model's weights, and the head's.
    fn weights(&self) -> Vec<(String, Weight)> {
        let mut all = self.model.weights();
        let known = all.len();
        let new = |name: &str| !all[..known].iter().any(|(other, _)| other == name);
        let rest: Vec<_> = self.optimizer.parameters().into_iter().filter(|(name, ..)| new(name)).collect();
        all.extend(rest.into_iter().map(|(name, weight, _)| (name.to_string(), Weight::Plain(weight.clone()))));
        all
    }

    /// The gradients of the last backward pass, by parameter.
    pub fn gradients(&self) -> &Gradients {
        &self.gradients
    }

    /// Compiles every kernel of a step and shows the tuner every shape, by a step without an update.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn rehearse(&mut self, batches: &[Batch]) -> Result<()> {
        let (dropout, checkpoint) = (self.settings.dropout, self.settings.checkpoint_activations);
        let pass = Pass { dropout, checkpoint, ..Pass::default() };
        if let Some(batch) = self.own(batches).0.first() {
            self.accumulate(batch, pass, 1.0, false)?;
        }
        self.forget()
    }
}

impl Pending {
    /// Waits for the step's numbers, summed over micro-batches and ranks, and the gradient norm.
    ///
    /// # Errors
    /// Returns the driver's errors and [`Error::Rank`].
    pub async fn sums(self) -> Result<(Vec<f32>, f32)> {
        let mut sums = vec![0.0; 1 + self.names.len()];
        for Part { numbers, first, share } in self.parts {
            let means = numbers.numbers::<f32>().await?;
            sums[first..].iter_mut().zip(means).for_each(|(sum, mean)| *sum += mean * share);
        }
        let sums = self.group.sum(sums, Wire::F32).wait()?;
        Ok((sums, self.norm.numbers::<f32>().await?[0]))
    }

    /// Waits for the step's numbers, by name.
    ///
    /// # Errors
    /// Same as [`Pending::sums`].
    pub async fn outcome(self) -> Result<Outcome> {
        let names = self.names;
        let (sums, norm) = self.sums().await?;
        let metrics = names.iter().copied().zip(sums[1..].iter().copied()).collect();
        Ok(Outcome { loss: sums[0], norm, metrics })
    }
}
