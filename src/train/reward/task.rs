//! The reward stage: steps over comparisons, held-out accuracy, and the scale of rewards.
//!
//! Micro-batches differ in their number of rows, from 1 to tokens / width: once the pool has seen each size, steps
//! create no more buffers.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;
use serde_json::json;

use super::{
    Objective, Recipe,
    data::{self, Comparison, Label},
    evaluation::{Evaluation, moments},
    judge::rewards,
    rows::{self, Rows},
};
use crate::{
    Error, Result,
    io::atomic,
    model::{gpt::Pass, heads::ScalarHead},
    ops::{
        cross_entropy::Targets,
        gather::RowIndex,
        losses::{
            RowWeights,
            choice::choice_loss,
            pairs::{Pairs, pair_loss},
            value::squared_error,
            weighted_sum,
        },
    },
    report::calibration,
    tape::Tape,
    tensor::Tensor,
    text::packing::shuffled,
    train::{
        Settings, dpo,
        run::Validation,
        supervised::Task,
        trainer::{Part, Pending, Trainer},
    },
};

/// The random stream of the order of comparisons.
const ORDER: u64 = u64::from_le_bytes(*b"rwdorder");

/// Maximum number of training texts that rewards are normalised on.
const REFERENCE: usize = 1024;

/// What rewards were normalised with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Normalised {
    /// Number of texts.
    pub texts: usize,
    /// The mean of their rewards before normalisation.
    pub mean: f64,
    /// The standard deviation of their rewards before normalisation.
    pub deviation: f64,
}

/// Comparisons to learn from, and those that are held out.
pub struct Reward {
    comparisons: Vec<Comparison>,
    /// For each comparison, the number of tokens in each of its texts.
    lengths: Vec<Vec<usize>>,
    train: Vec<u32>,
    held_out: Vec<u32>,
    /// The order of each epoch, as far as it has been needed.
    orders: Vec<Vec<u32>>,
    recipe: Recipe,
    width: usize,
    seed: u64,
    /// Mean and deviation of the training scores.
    scale: (f64, f64),
    /// Texts that rewards are normalised on; `None` for texts of the training part.
    reference: Option<Vec<Vec<u32>>>,
    /// The last validation.
    pub evaluation: Option<Evaluation>,
    /// What rewards were normalised with at the end of a run; `None` if all rewards were equal.
    pub normalised: Option<Normalised>,
}

impl Reward {
    /// Holds out a share of the prompts. Rewards are normalised on the texts of `reference`, or on (at most 1024) training
    /// answers.
    ///
    /// # Errors
    /// [`Error::Config`] if there are no comparisons to learn from, or if all training scores are equal.
    pub fn new(
        comparisons: Vec<Comparison>,
        settings: &Settings,
        recipe: Recipe,
        reference: Option<Vec<Vec<u32>>>,
    ) -> Result<Self> {
        let (train, held_out) = data::split(&comparisons, settings.val_fraction, settings.common.seed);
        if train.is_empty() {
            return Err(Error::Config("no comparisons to learn from".to_string()));
        }
        let score = |index: &u32| match comparisons[*index as usize].label {
            Label::Score(score) => Some(score),
            Label::Best(_) => None,
        };
        let scale = match recipe.objective {
            Objective::Scores => moments(train.iter().filter_map(score)),
            _ => (0.0, 1.0),
        };
        if !(scale.1.is_finite() && scale.1 > 0.0) {
            let reason =
                format!("all {} training scores are {}: there is no difference to learn", train.len(), scale.0);
            return Err(Error::Config(reason));
        }
        let lengths: Vec<Vec<usize>> =
            comparisons.iter().map(|comparison| comparison.texts.iter().map(Vec::len).collect()).collect();
        let all = lengths.iter().flatten().copied().chain(reference.iter().flatten().map(Vec::len));
        let width = rows::width(all.max().unwrap_or(1), settings.config.context);
        let seed = settings.common.seed;
        let (evaluation, normalised, orders) = (None, None, Vec::new());
        Ok(Self {
            comparisons,
            lengths,
            train,
            held_out,
            orders,
            recipe,
            width,
            seed,
            scale,
            reference,
            evaluation,
            normalised,
        })
    }

    /// The number of comparisons to learn from, and the number of held-out comparisons.
    pub fn sizes(&self) -> (usize, usize) {
        (self.train.len(), self.held_out.len())
    }

    /// The number of steps that take every comparison as often as the recipe says; the last step may be smaller.
    pub fn steps(&self, settings: &Settings) -> u64 {
        (self.train.len() * self.recipe.epochs).div_ceil(settings.batch) as u64
    }

    /// The comparisons of a step.
    fn members(&mut self, batch: usize, step: u64) -> Vec<u32> {
        let (count, first) = (self.train.len(), step as usize * batch);
        let all = count * self.recipe.epochs;
        let end = if first < all { (first + batch).min(all) } else { first + batch };
        let mut members = Vec::with_capacity(end - first);
        for position in first..end {
            let epoch = position / count;
            while self.orders.len() <= epoch {
                self.orders.push(shuffled(self.train.clone(), self.seed, ORDER, self.orders.len() as u64));
            }
            members.push(self.orders[epoch][position % count]);
        }
        members
    }

    /// Adds the gradients of this rank's share of `members`, micro-batch by micro-batch; returns the micro-batches'
    /// numbers and their shares of the step. `rehearsed` tells that no step follows.
    fn accumulate(&self, trainer: &mut Trainer, members: Vec<u32>, rehearsed: bool) -> Result<Vec<Part>> {
        let (members, of) = trainer.share(members);
        let lengths = members.iter().map(|index| &self.lengths[*index as usize][..]);
        let most = (self.recipe.tokens / self.width).max(1);
        let runs = rows::cut(lengths, self.width, most);
        let (count, mut parts) = (runs.len(), Vec::new());
        for (micro, run) in runs.into_iter().enumerate() {
            let chosen: Vec<_> = members[run].iter().map(|index| &self.comparisons[*index as usize]).collect();
            let (pass, last) = (trainer.pass(micro, count), micro + 1 == count && !rehearsed);
            let found = trainer.backward(last, |trainer, tape| self.loss(trainer, tape, &chosen, of, pass))?;
            parts.extend(found);
        }
        Ok(parts)
    }

    /// What `chosen` contributes to the mean loss over `all` comparisons (one element), and its numbers with their
    /// shares.
    fn loss(
        &self,
        trainer: &Trainer,
        tape: &Tape,
        chosen: &[&Comparison],
        all: usize,
        pass: Pass,
    ) -> Result<(Tensor, Vec<Part>)> {
        let gpu = &trainer.gpu;
        let texts: Vec<&[u32]> = chosen.iter().flat_map(|of| of.texts.iter().map(Vec::as_slice)).collect();
        let rows = Rows::new(&texts, self.width);
        let hidden = trainer.model.forward(tape, &rows.tokens(gpu, true)?, pass, None)?;
        // Comparisons with the same number of answers form a table of rewards.
        let mut tables: BTreeMap<usize, (Vec<u32>, Vec<&Comparison>)> = BTreeMap::new();
        let mut lasts = &rows.lasts[..];
        for comparison in chosen {
            let (own, rest) = lasts.split_at(comparison.texts.len());
            let (places, of) = tables.entry(own.len()).or_default();
            places.extend(own);
            of.push(comparison);
            lasts = rest;
        }
        let (mut parts, mut numbers) = (Vec::with_capacity(tables.len()), Vec::new());
        for (lasts, of) in tables.values() {
            let rewards = head(trainer)?.apply_at(tape, &hidden, &RowIndex::new(gpu, lasts, true)?)?;
            let (count, share) = (of.len(), of.len() as f32 / all as f32);
            let mean = match self.recipe.objective {
                Objective::Pairs => {
                    let Recipe { margin, centring, .. } = self.recipe;
                    let margins = Tensor::from_f32(gpu, &[count], &vec![margin; count])?;
                    let margins = (margin != 0.0).then_some(&margins);
                    let loss = pair_loss(tape, &rewards, Pairs { margins, centring, ..Pairs::REWARD })?;
                    numbers.push(Part::new(loss.totals.read(), share));
                    loss.mean
                }
                Objective::Best => {
                    choice_loss(tape, &rewards, &Targets::new(gpu, &of.iter().map(best).collect::<Vec<_>>())?)?
                }
                Objective::Scores => {
                    let scores: Vec<f32> = of.iter().map(|of| self.score(of)).collect();
                    let targets = Tensor::from_f32(gpu, &[count], &scores)?;
                    squared_error(tape, &rewards, &targets, &RowWeights::mean(gpu, &vec![true; count])?)?.mean
                }
            };
            if self.recipe.objective != Objective::Pairs {
                numbers.push(Part::new(mean.read(), share));
            }
            parts.push((mean, share));
        }
        let loss = weighted_sum(tape, &parts.iter().map(|(mean, share)| (mean, *share)).collect::<Vec<_>>())?;
        Ok((loss, numbers))
    }

    /// A comparison's score, scaled as it is learned.
    fn score(&self, comparison: &Comparison) -> f32 {
        match comparison.label {
            Label::Score(score) => ((score - self.scale.0) / self.scale.1) as f32,
            Label::Best(_) => 0.0,
        }
    }

    async fn rewards(&self, trainer: &Trainer, texts: &[&[u32]]) -> Result<Vec<f32>> {
        let sizes = (self.width, self.recipe.tokens);
        rewards(&trainer.gpu, (&trainer.model, head(trainer)?), texts, sizes, |_| ()).await
    }

    /// Evaluates at most `most` held-out comparisons with the model as it is.
    async fn evaluate(&self, trainer: &Trainer, most: usize) -> Result<Evaluation> {
        let held: Vec<_> = self.held_out.iter().take(most).map(|index| &self.comparisons[*index as usize]).collect();
        let texts: Vec<&[u32]> = held.iter().flat_map(|of| of.texts.iter().map(Vec::as_slice)).collect();
        let mut found = self.rewards(trainer, &texts).await?.into_iter();
        let tables: Vec<Vec<f32>> = held.iter().map(|of| found.by_ref().take(of.texts.len()).collect()).collect();
        Ok(Evaluation::of(&held, &tables, self.scale))
    }

    /// The texts that rewards are normalised on.
    fn reference(&self) -> Vec<&[u32]> {
        if let Some(reference) = &self.reference {
            return reference.iter().map(Vec::as_slice).collect();
        }
        let all: Vec<&[u32]> = self
            .train
            .iter()
            .flat_map(|index| self.comparisons[*index as usize].texts.iter().map(Vec::as_slice))
            .collect();
        let step = all.len().div_ceil(REFERENCE).max(1);
        all.into_iter().step_by(step).collect()
    }
}

fn best(comparison: &&Comparison) -> u32 {
    match comparison.label {
        Label::Best(best) => best as u32,
        Label::Score(_) => 0,
    }
}

fn head(trainer: &Trainer) -> Result<&ScalarHead> {
    trainer.head.as_ref().ok_or_else(|| Error::Config("the run has no reward head: it is another stage's".to_string()))
}

impl Task for Reward {
    const STAGE: &'static str = "reward";

    fn step(&mut self, trainer: &mut Trainer, settings: &Settings, step: u64) -> Result<Pending> {
        let members = self.members(settings.batch, step);
        let parts = self.accumulate(trainer, members, false)?;
        let names = if self.recipe.objective == Objective::Pairs { dpo::NAMES } else { &[] };
        trainer.update(parts, names)
    }

    fn rehearse(&mut self, trainer: &mut Trainer, settings: &Settings) -> Result<()> {
        let members = self.members(settings.batch, 0);
        self.accumulate(trainer, members, true)?;
        trainer.forget()
    }

    async fn validate(&mut self, trainer: &Trainer, settings: &Settings) -> Result<Option<Validation>> {
        if self.held_out.is_empty() || !trainer.group().is_first() {
            return Ok(None);
        }
        let found = self.evaluate(trainer, settings.val_batches * settings.batch).await?;
        let interval = found.interval.unzip();
        let metrics = [
            ("val_accuracy", found.accuracy),
            ("val_accuracy_low", interval.0),
            ("val_accuracy_high", interval.1),
            ("val_calibration_error", found.calibration_error),
        ];
        let metrics = metrics.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
        let validation = Validation { loss: found.loss(), metrics };
        self.evaluation = Some(found);
        Ok(Some(validation))
    }

    /// Writes `evaluation.json` and `calibration.svg`, and normalises the head.
    async fn finish(&mut self, trainer: &mut Trainer, out: &Path) -> Result<()> {
        if let Some(evaluation) = &self.evaluation {
            let text = format!("{:#}\n", json!(evaluation));
            atomic::write(&out.join("evaluation.json"), text.as_bytes())?;
            let bins: Vec<_> =
                evaluation.calibration.iter().map(|bin| (bin.count, bin.predicted, bin.observed)).collect();
            atomic::write(&out.join("calibration.svg"), calibration::chart(&bins)?.as_bytes())?;
        }
        let reference = self.reference();
        let texts = reference.len();
        let found = self.rewards(trainer, &reference).await?;
        let (mean, deviation) = moments(found.iter().map(|reward| f64::from(*reward)));
        // If all rewards are equal, they stay as they are: this must not make the run fail.
        let scaled = trainer.head.as_mut().is_some_and(|head| head.normalise(&found).is_ok());
        self.normalised = scaled.then_some(Normalised { texts, mean, deviation });
        Ok(())
    }

    fn tokens_per_step(&self, settings: &Settings) -> usize {
        let of = |index: &u32| self.lengths[*index as usize].iter().sum::<usize>();
        settings.batch.min(self.train.len()) * self.train.iter().map(of).sum::<usize>() / self.train.len().max(1)
    }
}
