//! A model with its optimizer, and one training step.

use crate::{
    Result,
    gpu::{Gpu, readback::Readback},
    model::{Gpt, gpt::Pass},
    ops::{cross_entropy::Targets, embedding::Tokens},
    optim::Optimizer,
    random,
    tape::{Gradients, Tape},
    tensor::Tensor,
    text::batches::Batch,
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
    /// Its optimizer.
    pub optimizer: Optimizer,
    gradients: Gradients,
    /// The constant 1 from which every backward pass starts.
    one: Tensor,
}

/// The numbers of a step that is still on the GPU.
#[must_use]
pub struct Pending {
    losses: Vec<Readback>,
    norm: Readback,
}

/// The numbers of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Mean loss over the step's tokens, before the update.
    pub loss: f32,
    /// Global gradient norm before clipping.
    pub norm: f32,
}

impl Trainer {
    /// A trainer for `model` with fresh moments.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, model: Gpt, settings: &Settings) -> Result<Self> {
        let mut gradients = Gradients::default();
        let optimizer = Optimizer::new(gpu, model.parameters(), settings.optimizer, &mut gradients)?;
        let one = Tensor::from_f32(gpu, &[1], &[1.0])?;
        Ok(Self { gpu: gpu.clone(), model, optimizer, gradients, one })
    }

    /// Adds the gradients of one micro-batch; returns its mean loss, still on the GPU.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn accumulate(&mut self, batch: &Batch, pass: Pass, factor: f32) -> Result<Tensor> {
        let tape = Tape::new(&self.gpu);
        self.model.watch(&tape);
        let tokens = Tokens::new(&self.gpu, &batch.inputs, batch.rows, batch.context, true)?;
        let targets = Targets::new(&self.gpu, &batch.targets)?;
        let hidden = self.model.forward(&tape, &tokens, pass, None)?;
        let loss = self.model.loss(&tape, &hidden, &targets, factor)?.mean;
        drop(hidden);
        tape.backward(&loss, self.one.clone(), &mut self.gradients)?;
        Ok(loss)
    }

    /// One optimizer step over `batches`. Nothing is waited for: read the outcome while the next step is recorded.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn step(&mut self, settings: &Settings, batches: &[Batch]) -> Result<Pending> {
        let step = self.optimizer.step;
        let mut losses = Vec::with_capacity(batches.len());
        for (micro, batch) in batches.iter().enumerate() {
            let counter = step * batches.len() as u64 + micro as u64;
            let pass = Pass {
                dropout: settings.dropout,
                dropout_key: random::bits(settings.seed, DROPOUT_STREAM, counter) as u32,
                checkpoint: settings.checkpoint_activations,
                reference: false,
            };
            losses.push(self.accumulate(batch, pass, 1.0 / batches.len() as f32)?.read());
        }
        let norm = self.optimizer.update(&self.gpu, &mut self.gradients, settings.schedule.at(step))?.read();
        self.gpu.submit()?;
        Ok(Pending { losses, norm })
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
        self.gradients.reset();
        self.gpu.submit()
    }
}

impl Pending {
    /// The numbers, once the GPU has them.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn outcome(self) -> Result<Outcome> {
        let count = self.losses.len() as f32;
        let mut loss = 0.0;
        for readback in self.losses {
            loss += readback.numbers::<f32>().await?[0] / count;
        }
        Ok(Outcome { loss, norm: self.norm.numbers::<f32>().await?[0] })
    }
}
