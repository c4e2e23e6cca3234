//! The policy, its reference, and the passes over episodes: reading them, and learning from them.

use crate::{
    Error, Result,
    gpu::Gpu,
    infer::batch::Answer,
    model::{
        Gpt,
        gpt::Pass,
        heads::{ScalarHead, Start},
    },
    ops::{
        cross_entropy::{IGNORED, Targets},
        embedding::Tokens,
        gather::{RowIndex, gather},
        losses::{
            RowWeights,
            policy::{self, Policy, policy_loss},
            value::{self, value_loss},
            weighted_sum,
        },
    },
    parallel::{Group, Kept},
    tape::Tape,
    tensor::Tensor,
    train::{
        state,
        trainer::{Part, Pending as PendingStep, Trainer},
    },
};

use super::{
    prompts::Prompt,
    settings::{Algorithm, Settings},
};

/// A prompt and its answer.
#[derive(Clone, Debug)]
pub struct Episode {
    /// The prompt.
    pub prompt: Prompt,
    /// The policy's answer.
    pub answer: Answer,
}

/// What the models compute for an answer, one number per token of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollout {
    /// Log-probabilities under the policy.
    pub logprobs: Vec<f32>,
    /// Log-probabilities under the reference.
    pub reference: Vec<f32>,
    /// The value before each token; empty without a value head.
    pub values: Vec<f32>,
    /// Entropies of the policy's distributions.
    pub entropies: Vec<f32>,
}

/// What is learned from an episode, one number per token of its answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainSample {
    /// What the models computed before the first update.
    pub rollout: Rollout,
    /// How much better than expected each token was.
    pub advantages: Vec<f32>,
    /// The targets of the values; empty without a value head.
    pub returns: Vec<f32>,
    /// Whether the episode counts: a group of equal rewards teaches nothing.
    pub counts: bool,
}

/// Means of an update, measured before it is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Statistics of the policy loss.
    pub policy: policy::Statistics,
    /// Statistics of the value loss.
    pub value: value::Statistics,
    /// Global gradient norm before clipping.
    pub norm: f32,
}

/// The numbers of an update that follow the policy loss: those of [`policy::Statistics`], then those of
/// [`value::Statistics`].
const NAMES: &[&str] = &[
    "approx_kl",
    "clip_fraction",
    "ratio",
    "reference_kl",
    "value_loss",
    "value_clip_fraction",
    "squared_error",
    "mean_value",
];

/// The index of the value loss among an update's numbers.
const VALUE_LOSS: usize = 5;

/// An update that is still on the GPU.
#[must_use]
pub struct Pending(PendingStep);

/// The models, and everything that learns.
pub struct Learner {
    /// The policy, with the value head if there is one, which computes the values of tokens from the policy's hidden
    /// states.
    pub trainer: Trainer,
    /// The frozen reference; `None` if the policy without its adapters is the reference.
    reference: Option<Gpt>,
}

/// Episodes on the GPU, one row each, padded on the right, where no earlier token attends to the padding.
struct Rows {
    tokens: Tokens,
    /// Positions of the hidden states that predict the answers' tokens: `max_tokens` per episode.
    states: RowIndex,
    targets: Targets,
    /// Which of them are real, not padding.
    real: Vec<bool>,
}

impl Rows {
    fn new(gpu: &Gpu, episodes: &[&Episode], settings: &Settings, trains: bool) -> Result<Self> {
        let (longest, most) = (settings.prompt_tokens, settings.max_tokens);
        // The last token is only a target.
        let width = longest + most - 1;
        let (mut ids, mut states, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for (row, episode) in episodes.iter().enumerate() {
            let (prompt, answer) = (&episode.prompt.ids, &episode.answer.tokens);
            if prompt.is_empty() || prompt.len() > longest || answer.len() > most {
                let reason = format!("{} + {} tokens do not fit {longest} + {most}", prompt.len(), answer.len());
                return Err(Error::shape("episodes", reason));
            }
            let text = prompt.iter().chain(answer).copied().chain(std::iter::repeat(0));
            ids.extend(text.take(width));
            let first = row * width + prompt.len() - 1;
            states.extend((first..first + most).map(|state| state as u32));
            targets.extend(answer.iter().copied().chain(std::iter::repeat(IGNORED)).take(most));
        }
        Ok(Self {
            tokens: Tokens::new(gpu, &ids, episodes.len(), width, trains)?,
            states: RowIndex::new(gpu, &states, trains)?,
            real: targets.iter().map(|id| *id != IGNORED).collect(),
            targets: Targets::new(gpu, &targets)?,
        })
    }
}

/// The hidden states that predict answers: `[episodes * max_tokens, width]`.
fn answer_states(tape: &Tape, model: &Gpt, rows: &Rows, pass: Pass) -> Result<Tensor> {
    gather(tape, &model.forward(tape, &rows.tokens, pass, None)?, &rows.states)
}

impl Learner {
    /// Creates a learner with fresh moments and, if `value`, a value head that outputs 0. A policy without adapters
    /// needs a reference.
    ///
    /// # Errors
    /// [`Error::Config`] without a reference, [`Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, policy: Gpt, reference: Option<Gpt>, value: bool, settings: &Settings) -> Result<Self> {
        if policy.lora().is_none() && reference.is_none() {
            return Err(Error::Config("a policy without adapters needs a frozen reference beside it".to_string()));
        }
        let head = || Ok(("value", ScalarHead::new(gpu, policy.config().width, Start::Zeros)?));
        let head = value.then(head).transpose()?;
        let trainer = Trainer::with_named_head(gpu, policy, head, settings.into())?;
        Ok(Self { trainer, reference })
    }

    /// The policy.
    pub fn policy(&self) -> &Gpt {
        &self.trainer.model
    }

    /// What a resumed run needs besides the policy's weights, by name: the value head and the moments.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = self.trainer.optimizer.state();
        state.extend(self.trainer.head.iter().flat_map(|head| head.parameters("value")));
        state
    }

    /// Copies [`Learner::state`] to the host. All ranks must call this; only the first gets the result.
    ///
    /// # Errors
    /// [`Error::Rank`], and the driver's errors.
    pub async fn kept(&self) -> Result<Vec<Kept>> {
        state::keep(&self.trainer.replica, self.state().into_iter()).await
    }

    /// Joins the ranks of `group`, which must have the same weights, to learn together.
    ///
    /// # Errors
    /// [`Error::Setting`] if the ranks are to take steps of their own: a batch is shared by all ranks. Also the
    /// driver's errors.
    pub fn join(&mut self, group: &Group) -> Result<()> {
        if group.options().sync_every > 1 {
            let reason = "reinforcement learns from one batch of all ranks' answers; leave it at 1";
            return Err(Error::setting("sync_every", group.options().sync_every, reason));
        }
        self.trainer.join(group)
    }

    /// The ranks that this one learns with.
    pub fn group(&self) -> Group {
        self.trainer.group()
    }

    /// Reads episodes with policy, reference and value head, in micro-batches of the size used for learning.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub async fn read(&self, episodes: &[Episode], settings: &Settings) -> Result<Vec<Rollout>> {
        let Trainer { gpu, model: policy, head, .. } = &self.trainer;
        let tape = Tape::off(gpu);
        let mut pending = Vec::new();
        let all: Vec<_> = episodes.iter().collect();
        for episodes in all.chunks(settings.micro()) {
            let rows = Rows::new(gpu, episodes, settings, false)?;
            let states = answer_states(&tape, policy, &rows, Pass::default())?;
            let own = policy.token_logprobs(&tape, &states, &rows.targets, settings.temperature)?;
            let values = head.as_ref().map(|head| head.apply(&tape, &states)).transpose()?;
            drop(states);
            let reference = self.reference.as_ref().unwrap_or(policy);
            let states = answer_states(&tape, reference, &rows, Pass { reference: true, ..Pass::default() })?;
            let other = reference.token_logprobs(&tape, &states, &rows.targets, settings.temperature)?;
            pending.push([
                Some(own.logprobs.read()),
                Some(other.logprobs.read()),
                values.map(|values| values.read()),
                Some(own.entropies.read()),
            ]);
            gpu.submit()?;
        }
        let mut columns: [Vec<f32>; 4] = Default::default();
        for micro in pending {
            for (column, read) in columns.iter_mut().zip(micro) {
                if let Some(read) = read {
                    column.extend(read.numbers::<f32>().await?);
                }
            }
        }
        let rollout = |(row, episode): (usize, &Episode)| {
            let first = row * settings.max_tokens;
            let cut = |column: &Vec<f32>| match column.is_empty() {
                true => Vec::new(),
                false => column[first..first + episode.answer.tokens.len()].to_vec(),
            };
            let [logprobs, reference, values, entropies] = columns.each_ref().map(cut);
            Rollout { logprobs, reference, values, entropies }
        };
        Ok(episodes.iter().enumerate().map(rollout).collect())
    }

    /// Makes one update of the optimizer from these episodes, of which each rank takes its share; `beta` is the
    /// coefficient of GRPO's KL term. Waits for nothing but other ranks.
    ///
    /// The losses are means over all tokens of the minibatch, however it is cut into micro-batches.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn learn(
        &mut self,
        minibatch: &[(&Episode, &TrainSample)],
        settings: &Settings,
        lr: f32,
        beta: f64,
    ) -> Result<Pending> {
        let counted = minibatch.iter().filter(|(_, sample)| sample.counts);
        let total = counted.map(|(episode, _)| episode.answer.tokens.len()).sum();
        let mut numbers = Vec::new();
        let own = &minibatch[self.group().share(minibatch.len())];
        let parts = own.chunks(settings.micro());
        let count = parts.len();
        for (index, part) in parts.enumerate() {
            numbers.extend(self.accumulate(part, settings, total, beta, index + 1 == count)?);
        }
        // All updates of a batch have the same learning rate.
        Ok(Pending(self.trainer.update_at(lr, numbers, NAMES)?))
    }

    /// Compiles every kernel of an update and shows the tuner every shape, by an update that changes nothing.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn rehearse(&mut self, episodes: &[(&Episode, &TrainSample)], settings: &Settings) -> Result<()> {
        let own = &episodes[self.group().share(episodes.len())];
        if let Some(part) = own.chunks(settings.micro()).next() {
            drop(self.accumulate(part, settings, 1, 0.1, false)?);
        }
        self.trainer.forget()
    }

    /// Adds the gradients of a micro-batch, which is part of a mean over `total` tokens; `last` tells whether it is the
    /// last of an update.
    fn accumulate(
        &mut self,
        part: &[(&Episode, &TrainSample)],
        settings: &Settings,
        total: usize,
        beta: f64,
        last: bool,
    ) -> Result<Vec<Part>> {
        self.trainer.backward(last, |trainer, tape| loss(trainer, tape, part, settings, total, beta))
    }
}

/// What the episodes of a micro-batch contribute to the mean loss over `total` tokens (one element), and the
/// micro-batch's numbers.
fn loss(
    trainer: &Trainer,
    tape: &Tape,
    part: &[(&Episode, &TrainSample)],
    settings: &Settings,
    total: usize,
    beta: f64,
) -> Result<(Tensor, Vec<Part>)> {
    let Trainer { gpu, model, head, .. } = trainer;
    let episodes: Vec<_> = part.iter().map(|(episode, _)| *episode).collect();
    let rows = Rows::new(gpu, &episodes, settings, true)?;
    let most = settings.max_tokens;
    let upload = |column: fn(&TrainSample) -> &Vec<f32>| {
        let padded = |(_, sample): &(&Episode, &TrainSample)| {
            column(sample).iter().copied().chain(std::iter::repeat(0.0)).take(most).collect::<Vec<_>>()
        };
        Tensor::from_f32(gpu, &[part.len() * most], &part.iter().flat_map(padded).collect::<Vec<_>>())
    };
    let counts: Vec<_> = rows.real.iter().enumerate().map(|(row, real)| *real && part[row / most].1.counts).collect();
    let weights = RowWeights::share(gpu, &counts, total)?;
    let pass = Pass { checkpoint: settings.common.checkpoint_activations, ..Pass::default() };
    let states = answer_states(tape, model, &rows, pass)?;
    let logprobs = model.token_logprobs(tape, &states, &rows.targets, settings.temperature)?.logprobs;
    let (old_logprobs, advantages) = (upload(|sample| &sample.rollout.logprobs)?, upload(|sample| &sample.advantages)?);
    let (clip, weights) = (settings.clip, &weights);
    let held = Policy { old_logprobs: &old_logprobs, advantages: &advantages, weights, clip, reference: None };
    match (settings.algorithm, head.as_ref()) {
        (Algorithm::Ppo { value_clip, value_factor, .. }, Some(head)) => {
            let policy = policy_loss(tape, &logprobs, held)?;
            let values = head.apply(tape, &states)?;
            let (old, returns) = (upload(|sample| &sample.rollout.values)?, upload(|sample| &sample.returns)?);
            let value = value_loss(tape, &values, &returns, weights, Some((&old, value_clip)))?;
            let of_value = Part { first: VALUE_LOSS, ..Part::new(value.totals.read(), 1.0) };
            let numbers = vec![Part::new(policy.totals.read(), 1.0), of_value];
            Ok((weighted_sum(tape, &[(&policy.mean, 1.0), (&value.mean, value_factor)])?, numbers))
        }
        _ => {
            let reference = upload(|sample| &sample.rollout.reference)?;
            let reference = (beta > 0.0).then_some((&reference, beta as f32));
            let policy = policy_loss(tape, &logprobs, Policy { reference, ..held })?;
            let numbers = vec![Part::new(policy.totals.read(), 1.0)];
            Ok((policy.mean, numbers))
        }
    }
}

impl Pending {
    /// Waits for the numbers.
    ///
    /// # Errors
    /// Returns the driver's errors and [`Error::Rank`].
    pub async fn outcome(self) -> Result<Outcome> {
        let (sums, norm) = self.0.sums().await?;
        let mut numbers = sums.into_iter();
        let mut next = || numbers.next().unwrap_or(f32::NAN);
        let policy = policy::Statistics {
            loss: next(),
            approx_kl: next(),
            clip_fraction: next(),
            ratio: next(),
            reference_kl: next(),
        };
        let value = value::Statistics { loss: next(), clip_fraction: next(), squared_error: next(), mean: next() };
        Ok(Outcome { policy, value, norm })
    }
}
