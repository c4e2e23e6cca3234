//! The stages of a loop, and the answers of its models.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    super::{
        Shared,
        judges::{Learned, NamedJudge},
        output,
    },
    Arguments, StageResult,
    answers::{self, AnswerArguments, Drawing, scored},
    gold::Gold,
    ratings::{self, Source},
    train::{RewardResult, Training},
};
use wgpt::{
    Error, Result,
    error::{GuardCause, counted},
    gpu::Gpu,
    interchange::{self, TextCodec, load},
    io::{checkpoint, metrics},
    model::build::Storage,
    train::{
        judge::Judge,
        ppo::prompts::{Prompt, Prompts},
        reward::{Ensemble, Reader},
    },
};

/// Random streams of the answers that are rated, of those that set the scale of rewards, and of those to held-out prompts.
pub(super) const RATED: u64 = u64::from_le_bytes(*b"loop rat");
const SCALE: u64 = u64::from_le_bytes(*b"loop sca");
const ASKED: u64 = u64::from_le_bytes(*b"loop ask");

/// The models before the first round and after each, and the reward models between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stage {
    Base,
    Reward(usize),
    Ppo(usize),
}

impl Stage {
    pub fn all(rounds: usize) -> Vec<Self> {
        let round = |round| [Self::Reward(round), Self::Ppo(round)];
        std::iter::once(Self::Base).chain((1..=rounds).flat_map(round)).collect()
    }

    pub fn name(self) -> String {
        match self {
            Self::Base => "base".to_string(),
            Self::Reward(round) => format!("reward{round}"),
            Self::Ppo(round) => format!("ppo{round}"),
        }
    }
}

/// The state of all rounds.
pub(super) struct Loop<'a> {
    pub shared: &'a Shared,
    pub arguments: &'a Arguments,
    pub gpu: Gpu,
    pub codec: TextCodec,
    pub prompts: Prompts,
    pub held_out: Prompts,
    pub source: Source,
    /// The option of the gold judge, if there is one.
    pub gold: Option<String>,
    /// Answers of the model before the first round as tokens, once they were drawn; they set the scale of all rewards.
    pub reference: OnceCell<Vec<Vec<u32>>>,
    pub stop: Arc<AtomicBool>,
}

/// Whether a round that a guard stopped is over: the policy went wrong, not the numbers, and the checkpoint from before is the
/// round's result.
fn ends_round(cause: &GuardCause) -> bool {
    !matches!(cause, GuardCause::NotFinite { .. } | GuardCause::SamplingGap { .. })
}

impl Loop<'_> {
    pub fn introduce(&self, stage: Stage) -> String {
        match stage {
            Stage::Base => format!("answers of the model to {}", counted(self.held_out.count(), "held-out prompt")),
            Stage::Reward(round) => format!("round {round}: ratings by {}, and reward models", self.arguments.ratings),
            Stage::Ppo(round) => format!("round {round}: PPO"),
        }
    }

    /// The folder of a stage's run: for [`Stage::Base`] the model, for reward models the first one's.
    pub fn folder(&self, stage: Stage) -> PathBuf {
        match stage {
            Stage::Base => self.arguments.model.clone(),
            stage => self.arguments.out.join(stage.name()),
        }
    }

    /// The folders of a round's reward models.
    fn reward_models(&self, round: usize) -> Vec<PathBuf> {
        let first = self.folder(Stage::Reward(round));
        let further = (2..=self.arguments.reward_models).map(|number| first.with_extension(number.to_string()));
        std::iter::once(first.clone()).chain(further).collect()
    }

    /// The stage whose policy a round starts from.
    fn before(round: usize) -> Stage {
        if round == 1 { Stage::Base } else { Stage::Ppo(round - 1) }
    }

    /// Runs or resumes a stage; [`None`] if it was asked to stop.
    pub async fn stage(&self, stage: Stage) -> Result<Option<StageResult>> {
        match stage {
            Stage::Base => Ok(Some(StageResult::default())),
            Stage::Reward(round) => self.reward(round).await,
            Stage::Ppo(round) => self.ppo(round).await,
        }
    }

    async fn reward(&self, round: usize) -> Result<Option<StageResult>> {
        let policy = self.folder(Self::before(round));
        let store = ratings::collect(self, round, &policy).await?;
        let reference = self.reference().await?;
        if self.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut accuracies = Vec::new();
        for (number, out) in (0..).zip(self.reward_models(round)) {
            let base = match round {
                1 => self.arguments.model.clone(),
                _ => self.reward_models(round - 1)[number as usize].clone(),
            };
            // Models that began alike would agree in their mistakes too.
            let training = self.training(self.arguments.seed.wrapping_add(number));
            let learned = training.reward(&base, &out, &store, reference.clone()).await?;
            let Some(RewardResult { accuracy, .. }) = learned else { return Ok(None) };
            accuracies.extend(accuracy);
        }
        let count = accuracies.len();
        let accuracy = (count > 0).then(|| accuracies.iter().sum::<f64>() / count as f64);
        Ok(Some(StageResult { accuracy, ..StageResult::default() }))
    }

    async fn ppo(&self, round: usize) -> Result<Option<StageResult>> {
        // Each round begins with other prompts.
        let seed = self.arguments.seed.wrapping_add(round as u64);
        let (base, out) = (self.folder(Self::before(round)), self.folder(Stage::Ppo(round)));
        let judges = (&*self.reward_models(round), self.arguments.caution());
        let gold = self.gold.as_ref().map(|gold| NamedJudge::read("gold", gold, None)?.open(&self.gpu)).transpose()?;
        let outcome = self.training(seed).ppo(&base, &out, judges, self.prompts.clone().seeded(seed), gold).await;
        match outcome {
            Ok(summary) if summary.stopped => Ok(None),
            Ok(summary) => Ok(Some(StageResult { kl: Some(summary.last_quarter_kl), ..StageResult::default() })),
            Err(Error::Guarded { step, cause }) if ends_round(&cause) && checkpoint::resolve(&out).is_ok() => {
                self.shared.say(format_args!("the round ends after step {step}: {cause}"));
                let lines = metrics::read(&out.join("metrics.jsonl"))?;
                let mut kls = lines.iter().filter(|line| line["step"].as_u64() < Some(step));
                let kl = kls.rfind(|line| line["kl"].is_number()).and_then(|line| line["kl"].as_f64());
                Ok(Some(StageResult { kl, stopped: Some(cause.to_string()), ..StageResult::default() }))
            }
            Err(error) => Err(error),
        }
    }

    fn training(&self, seed: u64) -> Training<'_> {
        let recipe = self.arguments.recipe();
        Training { shared: self.shared, gpu: &self.gpu, codec: &self.codec, recipe, seed, stop: &self.stop }
    }

    /// The prompts whose answers are rated in a round: others in each, while there are enough.
    pub fn rated(&self, round: usize) -> impl Iterator<Item = &Prompt> {
        let (list, count) = (self.prompts.list(), self.arguments.rated.min(self.prompts.count()));
        list.iter().cycle().skip((round - 1) * count % list.len()).take(count)
    }

    /// Answers of a model to prompts, in their order.
    pub async fn draw(&self, model: &Path, prompts: &[&Prompt], stream: u64) -> Result<Vec<String>> {
        let bar = output::bar(prompts.len() as u64, self.shared.quiet);
        bar.set_message(format!("answers of {}", model.display()));
        let asked: Vec<_> = prompts.iter().map(|prompt| &*prompt.ids).collect();
        let Arguments { seed, batch, .. } = *self.arguments;
        let AnswerArguments { max_tokens, temperature, .. } = self.arguments.answers;
        let drawing = Drawing { max_tokens, temperature, seed: seed ^ stream, rows: batch };
        let model = load::frozen(&self.gpu, model, Storage::AsStored, |_, _| ())?;
        let found = answers::draw(&self.gpu, &model, &self.codec, &asked, drawing, |done| {
            bar.set_position(done as u64);
        });
        let found = found.await;
        bar.finish_and_clear();
        Ok(found?.iter().map(|answer| answer.text.trim().to_string()).collect())
    }

    async fn reference(&self) -> Result<&Vec<Vec<u32>>> {
        if let Some(known) = self.reference.get() {
            return Ok(known);
        }
        let prompts: Vec<_> = self.rated(1).collect();
        let answers = self.draw(&self.arguments.model, &prompts, SCALE).await?;
        let reader = Reader::new(&self.codec, interchange::open(&self.arguments.model)?.config().context)?;
        let read = |(prompt, answer): (&&Prompt, &String)| Some(reader.read(&prompt.messages, answer).ok()?.ids);
        let found = prompts.iter().zip(&answers).filter_map(read).collect();
        Ok(self.reference.get_or_init(|| found))
    }

    /// Asks a stage's model the held-out prompts.
    pub async fn ask(&self, stage: Stage, result: &mut StageResult) -> Result<()> {
        let prompts: Vec<_> = self.held_out.list().iter().collect();
        result.answers = self.draw(&self.folder(stage), &prompts, ASKED).await?;
        if let Some(gold) = &self.gold {
            let mut gold = NamedJudge::read("gold", gold, None)?.open(&self.gpu)?;
            let scores = gold.score(&scored(&prompts, &result.answers))?;
            result.scores = scores.into_iter().map(f64::from).collect();
            result.gold = Gold::of(&result.scores, self.arguments.seed);
        }
        if let Some(gold) = result.gold {
            self.shared.say(format_args!("gold score {}", gold.plain()));
        }
        Ok(())
    }

    /// Scores all answers with the last reward models.
    pub fn judge(&self, done: &mut [StageResult]) -> Result<()> {
        let judges = self.reward_models(self.arguments.rounds);
        let mut judge = Learned(Ensemble::open(&self.gpu, &judges, self.arguments.caution())?);
        let prompts: Vec<_> = self.held_out.list().iter().collect();
        for stage in done.iter_mut().filter(|stage| !stage.answers.is_empty()) {
            let rewards = judge.score(&scored(&prompts, &stage.answers))?;
            stage.reward = Some(rewards.iter().copied().map(f64::from).sum::<f64>() / rewards.len().max(1) as f64);
            stage.rewards = rewards;
        }
        Ok(())
    }
}
