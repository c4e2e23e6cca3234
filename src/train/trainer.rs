//! A model with its optimizer, and one training step.

use crate::{
    Result,
    gpu::{Gpu, readback::Readback},
    model::{Gpt, gpt::Pass, heads::ScalarHead},
    ops::{
        cross_entropy::{self, Targets},
        embedding::Tokens,
        losses::pairs,
    },
    optim::Optimizer,
    random,
    tape::{Gradients, Tape},
    tensor::Tensor,
    text::batches::{self, Batch},
    train::Settings,
};

/// The random stream of dropout keys.
const DROPOUT_STREAM: u64 = u64::from_le_bytes(*b"dropout ");

/// Everything that a step changes.
pub struct Trainer {
    /// The device.
    pub gpu: Gpu,
    /// The model.
    pub model: Gpt,
    /// The head that is trained with it: of a reward model, or of values.
    pub head: Option<ScalarHead>,
    /// The optimizer of both.
    pub optimizer: Optimizer,
    gradients: Gradients,
    /// The constant 1 from which every backward pass starts.
    one: Tensor,
}

/// Numbers of micro-batches on their way from the GPU, each with its share in the step's.
pub type Shares = Vec<(Readback, f32)>;

/// The numbers of a step that is still on the GPU.
#[must_use]
pub struct Pending {
    /// Mean loss of each micro-batch, and its share in the step's.
    losses: Shares,
    norm: Readback,
    /// [`Loss::totals`](crate::ops::losses::Loss::totals) of pairs, and each one's share of the step's.
    pairs: Shares,
}

/// The numbers of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Mean loss over the step's scored tokens, before the update.
    pub loss: f32,
    /// Global gradient norm before clipping.
    pub norm: f32,
    /// Share of pairs in the right order, of a step that compared pairs.
    pub accuracy: Option<f32>,
}

// The batches of `text` know nothing of the kernels, but agree with them.
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

impl Trainer {
    /// A trainer for `model` with fresh moments.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, model: Gpt, settings: &Settings) -> Result<Self> {
        Self::with_head(gpu, model, None, settings)
    }

    /// A trainer for `model` and a head on its hidden states, with fresh moments.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn with_head(gpu: &Gpu, model: Gpt, head: Option<ScalarHead>, settings: &Settings) -> Result<Self> {
        let mut gradients = Gradients::default();
        let mut parameters = model.parameters().to_vec();
        // A language model's own head may be `head.weight`: moments are told apart by name.
        parameters.extend(head.iter().flat_map(|head| head.parameters("scalar")));
        let optimizer = Optimizer::new(gpu, &parameters, settings.optimizer, &mut gradients)?;
        let one = Tensor::from_f32(gpu, &[1], &[1.0])?;
        Ok(Self { gpu: gpu.clone(), model, head, optimizer, gradients, one })
    }

    /// Asks `tape` for the gradients of all that is trained.
    pub fn watch(&self, tape: &Tape) {
        self.model.watch(tape);
        self.head.iter().for_each(|head| head.watch(tape));
    }

    /// How the forward pass of micro-batch `counter` of the run goes.
    pub fn pass(settings: &Settings, counter: u64) -> Pass {
        Pass {
            dropout: settings.dropout,
            dropout_key: random::bits(settings.seed, DROPOUT_STREAM, counter) as u32,
            checkpoint: settings.checkpoint_activations,
            reference: false,
        }
    }

    /// Adds the gradients of `loss`, one element; the tape is used up.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn backward(&mut self, tape: Tape, loss: &Tensor) -> Result<()> {
        tape.backward(loss, self.one.clone(), &mut self.gradients)
    }

    /// Ends a step whose gradients are there: `losses` and `pairs` are its numbers by micro-batch, each with its share.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn update(&mut self, settings: &Settings, losses: Shares, pairs: Shares) -> Result<Pending> {
        let lr = settings.schedule.at(self.optimizer.step);
        let norm = self.optimizer.update(&self.gpu, &mut self.gradients, lr)?.read();
        self.gpu.submit()?;
        Ok(Pending { losses, norm, pairs })
    }

    /// Ends a rehearsal: its gradients are forgotten.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn forget(&mut self) -> Result<()> {
        self.gradients.reset();
        self.gpu.submit()
    }

    /// Adds the gradients of one micro-batch; returns its mean loss, still on the GPU.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn accumulate(&mut self, batch: &Batch, pass: Pass, factor: f32) -> Result<Tensor> {
        let tape = Tape::new(&self.gpu);
        self.watch(&tape);
        let tokens = tokens(&self.gpu, batch, true)?;
        let targets = Targets::new(&self.gpu, &batch.targets)?;
        let hidden = self.model.forward(&tape, &tokens, pass, None)?;
        let loss = self.model.loss(&tape, &hidden, &targets, factor)?.mean;
        drop(hidden);
        self.backward(tape, &loss)?;
        Ok(loss)
    }

    /// One optimizer step over `batches`. Nothing is waited for: read the outcome while the next step is recorded.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn step(&mut self, settings: &Settings, batches: &[Batch]) -> Result<Pending> {
        let step = self.optimizer.step;
        let mut losses = Vec::with_capacity(batches.len());
        let all: usize = batches.iter().map(scored).sum();
        for (micro, batch) in batches.iter().enumerate() {
            let counter = step * batches.len() as u64 + micro as u64;
            let pass = Self::pass(settings, counter);
            // Each scored token of the step counts the same; a step without any has loss 0.
            let share = scored(batch) as f32 / all.max(1) as f32;
            losses.push((self.accumulate(batch, pass, share)?.read(), share));
        }
        self.update(settings, losses, Vec::new())
    }

    /// The gradients of the last backward pass, by parameter.
    pub fn gradients(&self) -> &Gradients {
        &self.gradients
    }

    /// Compiles every kernel of a step, and lets the tuner see every shape: a step without an update.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn rehearse(&mut self, settings: &Settings, batch: &Batch) -> Result<()> {
        let (dropout, checkpoint) = (settings.dropout, settings.checkpoint_activations);
        let pass = Pass { dropout, checkpoint, ..Pass::default() };
        self.accumulate(batch, pass, 1.0)?;
        self.forget()
    }
}

impl Pending {
    /// The numbers, once the GPU has them.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn outcome(self) -> Result<Outcome> {
        let mut loss = 0.0;
        for (readback, share) in self.losses {
            loss += readback.numbers::<f32>().await?[0] * share;
        }
        let mut accuracy = None;
        for (totals, share) in self.pairs {
            let right = pairs::Statistics::of(totals).await?.accuracy * share;
            accuracy = Some(accuracy.unwrap_or(0.0) + right);
        }
        Ok(Outcome { loss, norm: self.norm.numbers::<f32>().await?[0], accuracy })
    }
}
