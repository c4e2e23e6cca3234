//! Direct preference optimisation (Rafailov et al. 2023): of two answers, the better one becomes more likely than the
//! other, relative to a frozen reference.
//!
//! The loss is the mean over pairs of `-log sigmoid(beta [(log pi_c - log ref_c) - (log pi_r - log ref_r)])`, where
//! each term is the sum of the log-probabilities of an answer's tokens. The reference is the model before training: a
//! model with adapters is evaluated without them, and if the whole model is trained, its log-probabilities are computed
//! once, before the first step.

use std::{collections::BTreeMap, path::Path};

use super::{
    Settings,
    interval::wilson,
    preferences::{Epochs, Pair, Pairs, padded},
    run::Validation,
    settings::StageSettings,
    supervised::Task,
    trainer::{self, Part, Pending, Trainer},
};
use crate::{
    Error, Result,
    gpu::Gpu,
    io::tensors::{self, NamedTensor, TensorFile},
    model::{Gpt, gpt::Pass},
    ops::{
        cross_entropy::Targets,
        losses::{
            Loss,
            pairs::{self as losses, Statistics, pair_loss},
            weighted_sum,
        },
        row_sum::weighted_row_sum,
    },
    tape::Tape,
    tensor::Tensor,
    text::batches::{Batch, IGNORED},
};

/// Names of a pair loss's statistics that follow the loss; see [`Statistics`].
pub(super) const NAMES: &[&str] = &["margin", "accuracy", "chosen_reward", "rejected_reward"];

/// The file in a run's folder that holds the reference's log-probabilities, and their tensor's name in it.
const FILE: &str = "reference.safetensors";
const TENSOR: &str = "reference";

/// Where the reference's log-probabilities come from.
enum Reference {
    /// The model without its adapters.
    AdaptersOff,
    /// Computed beforehand: the log-probabilities of the chosen and the rejected answer of every pair.
    Known(Vec<[f32; 2]>),
}

/// Preferences to learn from.
pub struct Dpo {
    pairs: Pairs,
    train: Epochs,
    held_out: Vec<u32>,
    reference: Reference,
    /// Row lengths that batches are padded to, in inputs per row, ascending: only a few, so that steps reuse buffers
    /// and kernels.
    lengths: Vec<usize>,
    beta: f32,
    stops: Vec<u32>,
}

impl Dpo {
    /// Holds out all pairs of a share of the prompts. A model with adapters is its own reference; if the whole model is
    /// trained, set the reference with [`Dpo::remember`] or [`Dpo::recall`]. The tokens `stops` end the samples.
    ///
    /// # Errors
    /// [`Error::Config`] for settings of another stage.
    pub fn new(pairs: Pairs, settings: &Settings, stops: Vec<u32>) -> Result<Self> {
        let (train, held_out) = pairs.split(settings.val_fraction, settings.common.seed);
        // The last token is only a target, never an input.
        let longest = pairs.longest().saturating_sub(1).max(1);
        let mut lengths =
            [4, 2, 1].map(|part| longest.div_ceil(part).next_multiple_of(16).min(settings.context)).to_vec();
        lengths.dedup();
        let StageSettings::Dpo { beta } = settings.stage else {
            return Err(Error::Config("these are settings of another stage than DPO".to_string()));
        };
        let train = Epochs::new(train, settings.common.seed);
        Ok(Self { pairs, train, held_out, reference: Reference::AdaptersOff, lengths, beta, stops })
    }

    /// The number of pairs to learn from, and the number of held-out pairs.
    pub fn sizes(&self) -> (usize, usize) {
        (self.train.len(), self.held_out.len())
    }

    /// The number of steps that take every pair `epochs` times; the last step may run on into the next epoch.
    pub fn steps(&self, settings: &Settings, epochs: usize) -> u64 {
        (self.train.len() * epochs).div_ceil(settings.batch * settings.accumulate) as u64
    }

    /// Computes the reference's log-probabilities with the model as it is now, and saves them in the run's folder `out`
    /// for [`Dpo::recall`]. `progress` is called with the number of pairs done. Rehearse and tune first: policy and
    /// reference then use the kernels of training, so that they are equal before the first step.
    ///
    /// # Errors
    /// [`Error::Io`], and the driver's errors.
    pub async fn remember(
        &mut self,
        trainer: &Trainer,
        settings: &Settings,
        out: &Path,
        mut progress: impl FnMut(usize),
    ) -> Result<()> {
        let (tape, mut known) = (Tape::off(&trainer.gpu), Vec::with_capacity(self.pairs.pairs.len()));
        let all: Vec<u32> = (0..self.pairs.pairs.len() as u32).collect();
        // As many pairs as a micro-batch of this rank has: with the same kernels, policy and reference are equal at
        // first.
        let micro = trainer.group().share(settings.batch * settings.accumulate).len().clamp(1, settings.batch);
        for members in all.chunks(micro) {
            let batch = self.batch(members);
            let sums = answer_logprobs(&tape, &trainer.model, &batch, Pass::default())?.to_f32().await?;
            known.extend(sums.chunks_exact(2).map(|pair| [pair[0], pair[1]]));
            progress(known.len());
        }
        let tensor = NamedTensor { name: TENSOR, shape: &[known.len(), 2], data: known.as_flattened() };
        tensors::write(&out.join(FILE), &[tensor], &BTreeMap::new())?;
        self.reference = Reference::Known(known);
        Ok(())
    }

    /// Loads the reference's log-probabilities from the run's folder.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if they are missing or belong to other pairs.
    pub fn recall(&mut self, out: &Path) -> Result<()> {
        let file = TensorFile::open(&out.join(FILE))?;
        let shape = [self.pairs.pairs.len(), 2];
        if file.shape(TENSOR)? != shape {
            let reason = format!("it holds {:?} numbers, the data wants {shape:?}; begin again", file.shape(TENSOR)?);
            return Err(Error::checkpoint(file.path(), reason));
        }
        let numbers = file.to_f32(TENSOR)?;
        self.reference = Reference::Known(numbers.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect());
        Ok(())
    }

    fn pair(&self, member: u32) -> &Pair {
        &self.pairs.pairs[member as usize]
    }

    /// The shortest padded length that fits the rows of `members`.
    fn length(&self, members: &[u32]) -> usize {
        let rows = members.iter().map(|member| self.pair(*member)).flat_map(|pair| [&pair.chosen, &pair.rejected]);
        let longest = rows.map(|row| row.ids.len() - 1).max().unwrap_or(0);
        let fits = self.lengths.iter().find(|length| **length >= longest);
        fits.or(self.lengths.last()).copied().unwrap_or(longest)
    }

    /// The rows alternate: chosen, rejected, chosen, rejected, ...
    fn batch(&self, members: &[u32]) -> Batch {
        let rows = members.iter().map(|member| self.pair(*member)).flat_map(|pair| [&pair.chosen, &pair.rejected]);
        padded(rows, self.length(members))
    }

    /// The loss of the pairs `members`.
    fn loss(&self, tape: &Tape, model: &Gpt, members: &[u32], pass: Pass) -> Result<Loss> {
        let (gpu, batch) = (tape.gpu(), self.batch(members));
        let reference = match &self.reference {
            Reference::AdaptersOff => {
                let pass = Pass { reference: true, ..Pass::default() };
                answer_logprobs(&Tape::off(gpu), model, &batch, pass)?.reshape(&[members.len(), 2])?
            }
            Reference::Known(known) => {
                let numbers: Vec<_> = members.iter().flat_map(|member| known[*member as usize]).collect();
                Tensor::from_f32(gpu, &[members.len(), 2], &numbers)?
            }
        };
        let sums = answer_logprobs(tape, model, &batch, pass)?;
        pair_loss(tape, &sums, losses::Pairs::dpo(self.beta, &reference))
    }

    /// The members of micro-batch `micro` of `step`.
    fn members(&mut self, settings: &Settings, step: u64, micro: usize) -> Vec<u32> {
        let first = (step * settings.accumulate as u64 + micro as u64) * settings.batch as u64;
        self.train.take(first, settings.batch)
    }
}

/// The summed log-probabilities of each answer in a batch: `[rows]`.
///
/// # Errors
/// Returns the driver's errors.
pub fn answer_logprobs(tape: &Tape, model: &Gpt, batch: &Batch, pass: Pass) -> Result<Tensor> {
    let gpu: &Gpu = tape.gpu();
    let tokens = trainer::tokens(gpu, batch, tape.is_recording())?;
    let targets = Targets::new(gpu, &batch.targets)?;
    let mask: Vec<f32> = batch.targets.iter().map(|id| if *id == IGNORED { 0.0 } else { 1.0 }).collect();
    let mask = Tensor::from_f32(gpu, &[batch.rows, batch.context], &mask)?;
    let hidden = model.forward(tape, &tokens, pass, None)?;
    let logprobs = model.token_logprobs(tape, &hidden, &targets, 1.0)?.logprobs;
    weighted_row_sum(tape, &logprobs, &mask)
}

impl Task for Dpo {
    const STAGE: &'static str = "dpo";

    fn step(&mut self, trainer: &mut Trainer, settings: &Settings, step: u64) -> Result<Pending> {
        let all = (0..settings.accumulate).flat_map(|micro| self.members(settings, step, micro)).collect();
        let (own, of) = trainer.share::<u32>(all);
        let micros = own.chunks(settings.batch);
        let (count, mut parts) = (micros.len(), Vec::with_capacity(settings.accumulate));
        for (micro, members) in micros.enumerate() {
            let (pass, share) = (trainer.pass(micro, count), members.len() as f32 / of as f32);
            let totals = trainer.backward(micro + 1 == count, |trainer, tape| {
                let Loss { mean, totals } = self.loss(tape, &trainer.model, members, pass)?;
                Ok((weighted_sum(tape, &[(&mean, share)])?, totals))
            })?;
            parts.push(Part::new(totals.read(), share));
        }
        trainer.update(parts, NAMES)
    }

    /// Rehearses every length that occurs in the first epoch.
    fn rehearse(&mut self, trainer: &mut Trainer, settings: &Settings) -> Result<()> {
        let steps = self.steps(settings, 1);
        let mut open = self.lengths.clone();
        for (step, micro) in (0..steps).flat_map(|step| (0..settings.accumulate).map(move |micro| (step, micro))) {
            let members = trainer.share(self.members(settings, step, micro)).0;
            let length = self.length(&members);
            if members.is_empty() || !open.contains(&length) {
                continue;
            }
            open.retain(|other| *other != length);
            let pass = Pass { dropout_key: 0, ..trainer.pass(0, 1) };
            // The reference may not be known yet, and its numbers do not matter here.
            let batch = self.batch(&members);
            let lora = trainer.model.lora().is_some();
            trainer.backward(false, |trainer, tape| {
                let off = Tape::off(tape.gpu());
                let frozen =
                    answer_logprobs(&off, &trainer.model, &batch, Pass { reference: lora, ..Pass::default() })?;
                let sums = answer_logprobs(tape, &trainer.model, &batch, pass)?;
                let Loss { mean, .. } = pair_loss(tape, &sums, losses::Pairs::dpo(self.beta, &frozen))?;
                Ok((weighted_sum(tape, &[(&mean, 1.0)])?, ()))
            })?;
            trainer.forget()?;
        }
        Ok(())
    }

    /// Means over the held-out pairs, and a confidence interval of the accuracy.
    async fn validate(&mut self, trainer: &Trainer, settings: &Settings) -> Result<Option<Validation>> {
        if !trainer.group().is_first() {
            return Ok(None);
        }
        let Settings { batch, val_batches, .. } = *settings;
        let members = &self.held_out[..self.held_out.len().min(batch * val_batches)];
        if members.is_empty() {
            return Ok(None);
        }
        let (tape, mut sums, mut right) = (Tape::off(&trainer.gpu), [0.0; 4], 0);
        for members in members.chunks(batch) {
            let totals = self.loss(&tape, &trainer.model, members, Pass::default())?.totals;
            let found = Statistics::of(totals.read()).await?;
            let count = members.len() as f64;
            for (sum, mean) in sums.iter_mut().zip([found.loss, found.gap, found.chosen, found.rejected]) {
                *sum += f64::from(mean) * count;
            }
            right += (f64::from(found.accuracy) * count).round() as usize;
        }
        let count = members.len();
        let [loss, margin, chosen, rejected] = sums.map(|sum| sum / count as f64);
        let (low, high) = wilson(right, count);
        let metrics = vec![
            ("val_accuracy", right as f64 / count as f64),
            ("val_accuracy_low", low),
            ("val_accuracy_high", high),
            ("val_margin", margin),
            ("val_chosen_reward", chosen),
            ("val_rejected_reward", rejected),
        ];
        Ok(Some(Validation { loss, metrics }))
    }

    /// The prompt of the first held-out pair, or of pair 0 if none is held out.
    fn sample(&self) -> (Vec<u32>, Vec<u32>) {
        let member = self.held_out.first().copied().unwrap_or(0);
        let row = &self.pair(member).chosen;
        (row.ids[..row.answer].to_vec(), self.stops.clone())
    }

    fn tokens_per_step(&self, settings: &Settings) -> usize {
        let longest = self.lengths.last().copied().unwrap_or(0);
        2 * settings.batch * settings.accumulate * longest
    }
}
