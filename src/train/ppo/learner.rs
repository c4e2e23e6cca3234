//! The policy, what it is held against, and the passes over episodes: reading them, and learning from them.

use crate::{
    Error, Result,
    gpu::{Gpu, readback::Readback},
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
    optim::{AdamW, Optimizer},
    parallel::{Group, Replica, Wire},
    tape::{Gradients, Tape},
    tensor::Tensor,
};

use super::{
    prompts::Prompt,
    settings::{Algorithm, Settings},
};

/// A prompt and its answer.
#[derive(Clone, Debug)]
pub struct Episode {
    /// What was asked.
    pub prompt: Prompt,
    /// What the policy said.
    pub answer: Answer,
}

/// What the models say about an answer, a number per token of it.
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

/// What is learned from an episode, a number per token of its answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainSample {
    /// What the models said before the first update.
    pub rollout: Rollout,
    /// How much better than expected each token was.
    pub advantages: Vec<f32>,
    /// What the values should have been; empty without a value head.
    pub returns: Vec<f32>,
    /// Whether the episode counts: a group of equal rewards teaches nothing.
    pub counts: bool,
}

/// Means of an update, before it was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Of the policy's loss.
    pub policy: policy::Statistics,
    /// Of the value loss.
    pub value: value::Statistics,
    /// Global gradient norm before clipping.
    pub norm: f32,
}

/// An update that is still on the GPU.
#[must_use]
pub struct Pending {
    losses: Vec<(Readback, Option<Readback>)>,
    norm: Readback,
    /// The ranks that have a part in the update.
    group: Group,
}

/// Everything that an update changes.
pub struct Learner {
    /// The device.
    pub gpu: Gpu,
    /// The policy.
    pub policy: Gpt,
    /// The frozen reference; none where the policy without its adapters is it.
    reference: Option<Gpt>,
    /// Values of tokens, from the policy's hidden states.
    value: Option<ScalarHead>,
    /// Its optimizer, over policy and value head.
    pub optimizer: Optimizer,
    /// How this copy keeps in step with other ranks'.
    pub replica: Replica,
    gradients: Gradients,
    one: Tensor,
}

/// Episodes on the GPU: a row each, padded on the right, where nothing before sees it.
struct Rows {
    tokens: Tokens,
    /// The hidden states from which the tokens of answers come: `max_tokens` per episode.
    states: RowIndex,
    targets: Targets,
    /// Which of them are there.
    real: Vec<bool>,
}

impl Rows {
    fn new(gpu: &Gpu, episodes: &[&Episode], settings: &Settings, trains: bool) -> Result<Self> {
        let (longest, most) = (settings.prompt_tokens, settings.max_tokens);
        // The last token is a target only.
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

impl Learner {
    /// A learner with fresh moments, and with `value` a value head that says 0. A policy without adapters needs a reference.
    ///
    /// # Errors
    /// [`Error::Config`] without a reference, [`Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, policy: Gpt, reference: Option<Gpt>, value: bool, settings: AdamW) -> Result<Self> {
        if policy.lora().is_none() && reference.is_none() {
            return Err(Error::Config("a policy without adapters needs a frozen reference beside it".to_string()));
        }
        let head = || ScalarHead::new(gpu, policy.config().width, Start::Zeros);
        let value = value.then(head).transpose()?;
        let mut parameters = policy.parameters().to_vec();
        parameters.extend(value.iter().flat_map(|head| head.parameters("value")));
        let mut gradients = Gradients::default();
        let optimizer = Optimizer::new(gpu, &parameters, &[], settings, &mut gradients)?;
        let one = Tensor::from_f32(gpu, &[1], &[1.0])?;
        Ok(Self { gpu: gpu.clone(), policy, reference, value, optimizer, replica: Replica::alone(), gradients, one })
    }

    /// What a resumed run needs beside the policy's weights, by name: the value head and the moments.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = self.optimizer.state();
        state.extend(self.value.iter().flat_map(|head| head.parameters("value")));
        state
    }

    /// Learns together with the ranks of `group`, whose weights are the same as these.
    ///
    /// # Errors
    /// [`Error::Setting`] where they want to take steps of their own: a batch is one for all ranks. Those of the driver.
    pub fn join(&mut self, group: &Group) -> Result<()> {
        if group.options().sync_every > 1 {
            let reason = "reinforcement learns from one batch of all ranks' answers; leave it at 1";
            return Err(Error::setting("sync_every", group.options().sync_every, reason));
        }
        self.replica = Replica::new(&self.gpu, group, &mut self.optimizer)?;
        Ok(())
    }

    /// The ranks that this one learns with.
    pub fn group(&self) -> Group {
        self.replica.group().clone()
    }

    /// Hidden states that answers come from: `[episodes * max_tokens, width]`.
    fn states(&self, tape: &Tape, model: &Gpt, rows: &Rows, pass: Pass) -> Result<Tensor> {
        gather(tape, &model.forward(tape, &rows.tokens, pass, None)?, &rows.states)
    }

    /// Reads episodes with policy, reference and value head, in micro-batches of the size that is learned from.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn read(&self, episodes: &[Episode], settings: &Settings) -> Result<Vec<Rollout>> {
        let tape = Tape::off(&self.gpu);
        let mut pending = Vec::new();
        let all: Vec<_> = episodes.iter().collect();
        for episodes in all.chunks(settings.micro()) {
            let rows = Rows::new(&self.gpu, episodes, settings, false)?;
            let states = self.states(&tape, &self.policy, &rows, Pass::default())?;
            let own = self.policy.token_logprobs(&tape, &states, &rows.targets, settings.temperature)?;
            let values = self.value.as_ref().map(|head| head.apply(&tape, &states)).transpose()?;
            drop(states);
            let reference = self.reference.as_ref().unwrap_or(&self.policy);
            let states = self.states(&tape, reference, &rows, Pass { reference: true, ..Pass::default() })?;
            let other = reference.token_logprobs(&tape, &states, &rows.targets, settings.temperature)?;
            pending.push([
                Some(own.logprobs.read()),
                Some(other.logprobs.read()),
                values.map(|values| values.read()),
                Some(own.entropies.read()),
            ]);
            self.gpu.submit()?;
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

    /// One update of the optimizer by these episodes, of which each rank takes its share; `beta` is the coefficient of GRPO's KL term. Nothing
    /// but other ranks is waited for.
    ///
    /// The losses are means over all tokens of the minibatch, however it is cut into micro-batches.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn learn(
        &mut self,
        minibatch: &[(&Episode, &TrainSample)],
        settings: &Settings,
        lr: f32,
        beta: f64,
    ) -> Result<Pending> {
        let counted = minibatch.iter().filter(|(_, sample)| sample.counts);
        let total = counted.map(|(episode, _)| episode.answer.tokens.len()).sum();
        let mut losses = Vec::new();
        let own = &minibatch[self.group().share(minibatch.len())];
        let parts = own.chunks(settings.micro());
        let count = parts.len();
        for (index, part) in parts.enumerate() {
            losses.push(self.accumulate(part, settings, total, beta, index + 1 == count)?);
        }
        let norm = self.replica.update(&self.gpu, &mut self.optimizer, &mut self.gradients, lr, None)?;
        Ok(Pending { losses, norm, group: self.group() })
    }

    /// Compiles every kernel of an update, and lets the tuner see every shape: an update that changes nothing.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn rehearse(&mut self, episodes: &[(&Episode, &TrainSample)], settings: &Settings) -> Result<()> {
        let own = &episodes[self.group().share(episodes.len())];
        if let Some(part) = own.chunks(settings.micro()).next() {
            drop(self.accumulate(part, settings, 1, 0.1, false)?);
        }
        self.gradients.reset();
        self.gpu.submit()
    }

    /// Adds the gradients of a micro-batch, the `last` of an update or not, which has a part in a mean over `total` tokens.
    fn accumulate(
        &mut self,
        part: &[(&Episode, &TrainSample)],
        settings: &Settings,
        total: usize,
        beta: f64,
        last: bool,
    ) -> Result<(Readback, Option<Readback>)> {
        let (gpu, tape) = (&self.gpu, Tape::new(&self.gpu));
        self.policy.watch(&tape);
        let episodes: Vec<_> = part.iter().map(|(episode, _)| *episode).collect();
        let rows = Rows::new(gpu, &episodes, settings, true)?;
        let most = settings.max_tokens;
        let upload = |column: fn(&TrainSample) -> &Vec<f32>| {
            let padded = |(_, sample): &(&Episode, &TrainSample)| {
                column(sample).iter().copied().chain(std::iter::repeat(0.0)).take(most).collect::<Vec<_>>()
            };
            Tensor::from_f32(gpu, &[part.len() * most], &part.iter().flat_map(padded).collect::<Vec<_>>())
        };
        let counts: Vec<_> =
            rows.real.iter().enumerate().map(|(row, real)| *real && part[row / most].1.counts).collect();
        let weights = RowWeights::share(gpu, &counts, total)?;
        let pass = Pass { checkpoint: settings.checkpoint_activations, ..Pass::default() };
        let states = self.states(&tape, &self.policy, &rows, pass)?;
        let logprobs = self.policy.token_logprobs(&tape, &states, &rows.targets, settings.temperature)?.logprobs;
        let (old_logprobs, advantages) =
            (upload(|sample| &sample.rollout.logprobs)?, upload(|sample| &sample.advantages)?);
        let (clip, weights) = (settings.clip, &weights);
        let held = Policy { old_logprobs: &old_logprobs, advantages: &advantages, weights, clip, reference: None };
        match (settings.algorithm, self.value.as_ref()) {
            (Algorithm::Ppo { value_clip, value_factor, .. }, Some(head)) => {
                head.watch(&tape);
                let policy = policy_loss(&tape, &logprobs, held)?;
                let values = head.apply(&tape, &states)?;
                let (old, returns) = (upload(|sample| &sample.rollout.values)?, upload(|sample| &sample.returns)?);
                let value = value_loss(&tape, &values, &returns, weights, Some((&old, value_clip)))?;
                let read = (policy.totals.read(), Some(value.totals.read()));
                let loss = weighted_sum(&tape, &[(&policy.mean, 1.0), (&value.mean, value_factor)])?;
                self.replica.backward(tape, &loss, self.one.clone(), &mut self.gradients, last)?;
                Ok(read)
            }
            _ => {
                let reference = upload(|sample| &sample.rollout.reference)?;
                let reference = (beta > 0.0).then_some((&reference, beta as f32));
                let policy = policy_loss(&tape, &logprobs, Policy { reference, ..held })?;
                let read = policy.totals.read();
                self.replica.backward(tape, &policy.mean, self.one.clone(), &mut self.gradients, last)?;
                Ok((read, None))
            }
        }
    }
}

impl Pending {
    /// The numbers, once the GPU has them.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn outcome(self) -> Result<Outcome> {
        let (mut policy, mut value) = ([0.0f32; 5], [0.0f32; 4]);
        let add = |sums: &mut [f32], numbers: Vec<f32>| sums.iter_mut().zip(numbers).for_each(|(sum, x)| *sum += x);
        for (of_policy, of_value) in self.losses {
            add(&mut policy, of_policy.numbers().await?);
            if let Some(of_value) = of_value {
                add(&mut value, of_value.numbers().await?);
            }
        }
        let all = self.group.sum([&policy[..], &value[..]].concat(), Wire::F32).wait()?;
        let (of_policy, of_value) = all.split_at(policy.len());
        policy.copy_from_slice(of_policy);
        value.copy_from_slice(of_value);
        let [loss, approx_kl, clip_fraction, ratio, reference_kl] = policy;
        let policy = policy::Statistics { loss, approx_kl, clip_fraction, ratio, reference_kl };
        let [loss, clip_fraction, squared_error, mean] = value;
        let value = value::Statistics { loss, clip_fraction, squared_error, mean };
        Ok(Outcome { policy, value, norm: self.norm.numbers::<f32>().await?[0] })
    }
}
