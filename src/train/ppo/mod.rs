//! Reinforcement learning from human feedback: a policy writes, a judge scores, and the policy learns to be scored higher
//! without going far from its reference. PPO as in lm-human-preferences (Ziegler et al. 2019), and GRPO (Shao et al. 2024)
//! on the same parts.
//!
//! A step ([`Ppo::step`]) depends only on the settings, the weights and moments, and [`Progress`]. A checkpoint holds
//! all of these, so a resumed run continues bit for bit.

mod exchange;
pub mod guards;
pub mod learner;
pub mod prompts;
pub mod run;
pub mod settings;
pub mod statistics;

use serde::{Deserialize, Serialize};

use self::{
    guards::Guards,
    learner::{Episode, Learner, Rollout, TrainSample},
    prompts::Prompts,
    settings::{Algorithm, Settings},
    statistics::{Scores, Statistics},
};
use super::{
    judge::{Judge, ScoredAnswer},
    rlhf::{
        advantages::{gae, group_advantages, moments, token_rewards, whiten},
        kl::KlController,
    },
};
use crate::{
    Error, Result,
    feedback::LARGEST_SCORE,
    infer::{
        batch::{self, Request, continue_all},
        sampler::Sampling,
    },
    interchange::TextCodec,
};

/// Episodes of the reference, used for normalisation, are numbered from here on: no step reaches these numbers.
const REFERENCE_EPISODES: u64 = 1 << 40;

/// Normalises scores by the mean and the deviation of the reference's scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normal {
    /// Mean score of the reference.
    pub mean: f64,
    /// Deviation of the reference's scores.
    pub deviation: f64,
}

/// What steps change, besides weights and moments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done. Prompts, random keys and the learning rate follow from it.
    pub step: u64,
    /// Updates of the optimizer.
    pub updates: u64,
    /// The KL penalty.
    pub controller: KlController,
    /// The mean and deviation of the reference's scores, once they are known.
    pub normal: Normal,
    /// What the guards remember.
    pub guards: Guards,
}

impl Progress {
    /// The progress of a run that has not begun.
    pub fn new(settings: &Settings) -> Self {
        let normal = Normal { mean: 0.0, deviation: 1.0 };
        Self { step: 0, updates: 0, controller: settings.controller, normal, guards: Guards::default() }
    }
}

/// A policy that is trained by reinforcement learning.
pub struct Ppo {
    /// The run's settings.
    pub settings: Settings,
    /// The models.
    pub learner: Learner,
    /// The prompts.
    pub prompts: Prompts,
    /// Scores the answers.
    pub judge: Box<dyn Judge>,
    /// Scores them too, by what the answers are really for, and is never learned from: whether it still rises with the
    /// judge's scores tells learning from over-optimisation (Gao et al. 2022).
    pub gold: Option<Box<dyn Judge>>,
    /// Text to tokens and back.
    pub codec: TextCodec,
    /// Where the run is.
    pub progress: Progress,
}

/// A step that was done.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its numbers.
    pub statistics: Statistics,
    /// Its episodes as text.
    pub samples: Vec<Sample>,
}

/// An episode as text.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// What was asked, as the policy read it.
    pub prompt: String,
    /// The policy's answer.
    pub answer: String,
    /// The score that counted, after normalisation and stop penalties.
    pub score: f32,
}

impl Ppo {
    /// Takes one step: samples a batch, scores it, reads it with policy and reference, and learns from it.
    ///
    /// # Errors
    /// Returns the errors of the judge and of the driver. NaN is not an error, but shows in the statistics.
    pub async fn step(&mut self) -> Result<Step> {
        let (settings, step) = (self.settings.clone(), self.progress.step);
        let (beta, lr) = (self.progress.controller.beta(), settings.lr_at(step));

        let (first, group) = (step * settings.batch as u64, self.learner.group());
        let own = exchange::share(&group, settings.batch, settings.algorithm.group());
        let own_episodes = self.rollout(first + own.start as u64, own.len()).await?;
        let raw = self.judged(&own_episodes)?;
        let gold = self.gold(&own_episodes)?;
        let own_rollouts = self.learner.read(&own_episodes, &settings).await?;
        // From here on every rank knows all episodes.
        let prompts = (first..first + settings.batch as u64).map(|episode| self.prompt(episode)).collect();
        let (episodes, raw, rollout) = exchange::gather(&group, prompts, own_episodes, raw, own_rollouts)?;
        let scores = self.counted(&episodes, raw);
        let samples = match settings.algorithm {
            Algorithm::Ppo { .. } => ppo_samples(rollout, &scores.counted, beta, &settings),
            Algorithm::Grpo { group } => grpo_samples(rollout, &scores.counted, group),
        };
        let before = Statistics { gold, ..statistics::of_episodes(step, &episodes, &scores, &samples) };

        let mut pending = Vec::new();
        let each = settings.batch / settings.minibatches;
        for epoch in 0..settings.epochs {
            let order = match settings.minibatches {
                1 => (0..settings.batch as u32).collect(),
                _ => prompts::order(
                    settings.common.seed,
                    !(step * settings.epochs as u64 + epoch as u64),
                    settings.batch,
                ),
            };
            for minibatch in order.chunks(each) {
                let pair = |index: &u32| (&episodes[*index as usize], &samples[*index as usize]);
                let minibatch: Vec<_> = minibatch.iter().map(pair).collect();
                // If no episode counts, there is nothing to divide by, and Adam's moments would still move the weights.
                if minibatch.iter().any(|(_, train_sample)| train_sample.counts) {
                    pending.push(self.learner.learn(&minibatch, &settings, lr, beta)?);
                }
            }
        }
        let mut updates = Vec::with_capacity(pending.len());
        for pending in pending {
            updates.push(pending.outcome().await?);
        }
        let statistics = Statistics { beta, learning_rate: lr, ..statistics::with_updates(before, &updates) };
        self.progress.controller.update(statistics.kl, settings.batch);
        self.progress.updates = self.learner.trainer.optimizer.step;
        self.progress.step += 1;
        let text = |ids: &[u32]| self.codec.tokenizer.decode(ids);
        let sample = |(Episode { prompt, answer }, &score): (&Episode, &f32)| Sample {
            prompt: text(&prompt.ids),
            answer: text(&answer.tokens),
            score,
        };
        let samples = episodes.iter().zip(&scores.counted).map(sample).collect();
        Ok(Step { statistics, samples })
    }

    /// Samples `count` episodes, numbered from `first` on, from the policy at the training temperature, without
    /// truncating the distribution.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub async fn rollout(&self, first: u64, count: usize) -> Result<Vec<Episode>> {
        let settings = &self.settings;
        let prompts: Vec<_> = (first..first + count as u64).map(|episode| self.prompt(episode)).collect();
        let request = |(prompt, episode)| {
            let prompt: &prompts::Prompt = prompt;
            Request { prompt: &prompt.ids, episode }
        };
        let requests: Vec<_> = prompts.iter().zip(first..).map(request).collect();
        let limits = batch::Limits {
            count: settings.max_tokens,
            stops: &settings.stops,
            earliest: settings.earliest_stop,
            width: settings.prompt_tokens,
        };
        let sampling =
            Sampling { temperature: settings.temperature, seed: settings.common.seed, ..Sampling::default() };
        let (gpu, policy) = (&self.learner.trainer.gpu, self.learner.policy());
        let answers = continue_all(gpu, policy, &requests, limits, &sampling, |_| ()).await?;
        Ok(prompts.into_iter().zip(answers).map(|(prompt, answer)| Episode { prompt, answer }).collect())
    }

    /// The prompt of episode number `episode`.
    fn prompt(&self, episode: u64) -> prompts::Prompt {
        self.prompts.get(episode / self.settings.algorithm.group() as u64, &self.codec)
    }

    /// The scores that count, from the judge's raw scores.
    fn counted(&self, episodes: &[Episode], raw: Vec<f32>) -> Scores {
        let Normal { mean, deviation } = self.progress.normal;
        let counted = episodes.iter().zip(&raw).map(|(episode, raw)| {
            let normal = ((f64::from(*raw) - mean) / deviation) as f32;
            let ends = episode.answer.stopped || self.settings.stops.is_empty();
            self.settings.missing_stop.apply(normal, ends)
        });
        Scores { counted: counted.collect(), raw }
    }

    /// The judge's scores of the episodes.
    fn judged(&mut self, episodes: &[Episode]) -> Result<Vec<f32>> {
        scored(&mut *self.judge, &self.settings.judge, episodes, &self.codec)
    }

    /// The mean gold score of all ranks' episodes, of which this rank has `own`.
    fn gold(&mut self, own: &[Episode]) -> Result<Option<f64>> {
        let Some(gold) = &mut self.gold else { return Ok(None) };
        let own = scored(&mut **gold, "gold", own, &self.codec)?;
        let all = self.learner.group().gather_numbers(&own).wait()?.concat();
        Ok(Some(moments(&all).0))
    }

    /// Called before the first step: sets the mean and deviation of the scores from [`Settings::normalise`] samples of
    /// the reference, which the policy still equals.
    ///
    /// # Errors
    /// [`Error::EqualScores`] if all of them have the same score; the errors of the judge and of the driver.
    pub async fn normalise(&mut self) -> Result<()> {
        let (batch, group, mut scores) = (self.settings.batch, self.learner.group(), Vec::new());
        let own = exchange::share(&group, batch, 1);
        while scores.len() < self.settings.normalise {
            let first = REFERENCE_EPISODES + scores.len() as u64 + own.start as u64;
            let episodes = self.rollout(first, own.len()).await?;
            scores.extend(group.gather_numbers(&self.judged(&episodes)?).wait()?.concat());
        }
        if scores.is_empty() {
            return Ok(());
        }
        let (mean, variance) = moments(&scores);
        if variance == 0.0 {
            return Err(Error::EqualScores { answers: scores.len(), score: mean + 0.0 });
        }
        self.progress.normal = Normal { mean, deviation: variance.sqrt() };
        Ok(())
    }

    /// Compiles the kernels of a step and shows the tuner every shape, with this rank's share of a step; changes
    /// nothing.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub async fn rehearse(&mut self) -> Result<()> {
        let own = exchange::share(&self.learner.group(), self.settings.batch, self.settings.algorithm.group());
        let episodes = self.rollout(REFERENCE_EPISODES, own.len()).await?;
        let rollout = self.learner.read(&episodes, &self.settings).await?;
        let train_sample = |rollout: Rollout| {
            let zeros = vec![0.0; rollout.logprobs.len()];
            TrainSample { advantages: zeros.clone(), returns: zeros, counts: true, rollout }
        };
        let samples: Vec<_> = rollout.into_iter().map(train_sample).collect();
        let pairs: Vec<_> = episodes.iter().zip(&samples).collect();
        self.learner.rehearse(&pairs, &self.settings)
    }
}

/// A judge's scores of episodes.
fn scored(judge: &mut dyn Judge, name: &str, episodes: &[Episode], codec: &TextCodec) -> Result<Vec<f32>> {
    let text = |episode: &Episode| {
        let Episode { answer, .. } = episode;
        let kept = answer.tokens.len() - usize::from(answer.stopped);
        codec.tokenizer.decode(&answer.tokens[..kept])
    };
    let answers: Vec<_> = episodes.iter().map(text).collect();
    let said = episodes.iter().zip(&answers).map(|(Episode { prompt, .. }, answer)| ScoredAnswer {
        prompt: &prompt.text,
        messages: &prompt.messages,
        answer,
        expected: prompt.expected.as_deref(),
    });
    let scores = judge.score(&said.collect::<Vec<_>>())?;
    let reason = if scores.len() != episodes.len() {
        format!("gave {} scores for {} answers", scores.len(), episodes.len())
    } else if !scores.iter().all(|score| f64::from(*score).abs() <= LARGEST_SCORE) {
        format!("gave a score that is not a number from -{LARGEST_SCORE:e} to {LARGEST_SCORE:e}")
    } else {
        return Ok(scores);
    };
    Err(Error::Judge { judge: name.to_string(), reason })
}

/// Rewards per token from scores and the KL penalty, whitened; advantages by GAE, whitened over the batch.
fn ppo_samples(rollout: Vec<Rollout>, scores: &[f32], beta: f64, settings: &Settings) -> Vec<TrainSample> {
    let Algorithm::Ppo { gamma, lambda, whiten_rewards, whiten_advantages, .. } = settings.algorithm else {
        return Vec::new();
    };
    let rewards = rollout.iter().zip(scores).map(|(rollout, score)| {
        token_rewards(&rollout.logprobs, &rollout.reference, *score, beta, settings.reward_clip)
    });
    let mut rewards: Vec<_> = rewards.collect();
    if whiten_rewards {
        replace(rewards.iter_mut(), |all| whiten(all, false));
    }
    let train_sample = |(rollout, rewards): (Rollout, Vec<f32>)| {
        let found = gae(&rewards, &rollout.values, gamma, lambda);
        TrainSample { rollout, advantages: found.advantages, returns: found.returns, counts: true }
    };
    let mut samples: Vec<_> = rollout.into_iter().zip(rewards).map(train_sample).collect();
    if whiten_advantages {
        replace(samples.iter_mut().map(|train_sample| &mut train_sample.advantages), |all| whiten(all, true));
    }
    samples
}

/// The advantage of each answer over the others to its prompt, the same for all of its tokens.
fn grpo_samples(rollout: Vec<Rollout>, scores: &[f32], group: usize) -> Vec<TrainSample> {
    let advantages = scores.chunks(group).flat_map(|scores| match group_advantages(scores) {
        Some(advantages) => advantages.into_iter().map(Some).collect(),
        None => vec![None; scores.len()],
    });
    let train_sample = |(rollout, advantage): (Rollout, Option<f32>)| {
        let advantages = vec![advantage.unwrap_or(0.0); rollout.logprobs.len()];
        TrainSample { rollout, advantages, returns: Vec::new(), counts: advantage.is_some() }
    };
    rollout.into_iter().zip(advantages).map(train_sample).collect()
}

/// Applies `change` to the numbers of all columns at once.
fn replace<'a>(columns: impl Iterator<Item = &'a mut Vec<f32>>, change: impl FnOnce(&[f32]) -> Vec<f32>) {
    let columns: Vec<_> = columns.collect();
    let all: Vec<f32> = columns.iter().flat_map(|column| column.iter().copied()).collect();
    let mut changed = change(&all).into_iter();
    for column in columns {
        column.iter_mut().zip(&mut changed).for_each(|(number, new)| *number = new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(logprobs: &[f32]) -> Rollout {
        let count = logprobs.len();
        Rollout {
            logprobs: logprobs.to_vec(),
            reference: vec![-1.0; count],
            values: vec![0.5; count],
            entropies: vec![1.0; count],
        }
    }

    #[test]
    fn whitening_is_over_the_whole_batch() {
        let settings = Settings::recipe(Algorithm::PPO);
        let samples = ppo_samples(vec![rollout(&[-1.0, -2.0, -0.5]), rollout(&[-1.5])], &[2.0, -1.0], 0.5, &settings);
        let all: Vec<f32> = samples.iter().flat_map(|train_sample| train_sample.advantages.clone()).collect();
        let (mean, variance) = moments(&all);
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "{all:?}");
        assert_eq!(samples.iter().map(|train_sample| train_sample.returns.len()).collect::<Vec<_>>(), [3, 1]);

        let Algorithm::Ppo { gamma, lambda, value_clip, value_factor, .. } = Algorithm::PPO else { unreachable!() };
        let plain =
            Algorithm::Ppo { gamma, lambda, value_clip, value_factor, whiten_rewards: false, whiten_advantages: false };
        let settings = Settings { algorithm: plain, ..settings };
        let samples = ppo_samples(vec![rollout(&[-1.5])], &[-1.0], 0.5, &settings);
        // r = -0.5 * (-1.5 + 1) - 1 = -0.75, A = r - V.
        assert_eq!((&samples[0].advantages[..], &samples[0].returns[..]), (&[-1.25f32][..], &[-0.75f32][..]));
    }

    #[test]
    fn groups_of_equal_rewards_do_not_count() {
        let all = (0..4).map(|_| rollout(&[-1.0, -1.0])).collect();
        let samples = grpo_samples(all, &[1.0, 1.0, 0.0, 1.0], 2);
        assert_eq!(
            samples.iter().map(|train_sample| train_sample.counts).collect::<Vec<_>>(),
            [false, false, true, true]
        );
        assert!(samples[2].advantages[0] < -0.7 && samples[3].advantages == vec![samples[3].advantages[0]; 2]);
    }
}
