//! The stages of the demo, each equivalent to the command of the same name.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use super::{
    super::{Shared, output, pretrain, reinforce, training},
    StageResult,
    answers::{self, Drawn, ScorableAnswer},
    ratings,
    recipe::Recipe,
    texts::{self, Preference},
};
use wgpt::{
    Result,
    gpu::Gpu,
    interchange::{self, TextCodec, adapter, load},
    io::{atomic, checkpoint},
    model::{
        Config, Gpt,
        heads::{ScalarHead, Start},
    },
    optim::Schedule,
    text::{DataFile, shards},
    train::{
        Settings, plan,
        ppo::{
            Ppo, Progress,
            prompts::Prompts,
            run::{self as reinforcement, Run},
            settings::{self as ppo, Algorithm},
        },
        pretrain::Pretrain,
        reward::{self, Data, Reader, Reward, RewardModel},
        rlhf::{kl::KlController, response::MissingStop},
        settings::Common,
        sft::{self, Sft},
        state,
        supervised::{Summary, Supervised, Task},
        trainer::Trainer,
    },
};

/// The random stream of the answers after each stage.
const ANSWERS: u64 = u64::from_le_bytes(*b"demo ans");

/// How many times as long as a step of pretraining the whole demo takes, with everything that is not a step.
const STEPS: f64 = 1300.0;

/// The smallest share of the steps with which answers still improve.
const LEAST: f64 = 0.3;

/// Maximum number of tokens of the words around a prompt.
const ROLES: usize = 16;

/// The state shared by all stages.
pub(super) struct DemoRun<'a> {
    pub shared: &'a Shared,
    pub gpu: &'a Gpu,
    pub recipe: Recipe,
    out: PathBuf,
    seed: u64,
    rate: Option<usize>,
    /// The codec of the model after fine-tuning.
    codec: TextCodec,
    preferences: Vec<Preference>,
    stop: Arc<AtomicBool>,
}

impl<'a> DemoRun<'a> {
    pub fn new(
        shared: &'a Shared,
        gpu: &'a Gpu,
        out: &Path,
        recipe: Recipe,
        seed: u64,
        rate: Option<usize>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self> {
        let plain = TextCodec::plain(texts::tokenizer(recipe.vocabulary)?);
        let codec = TextCodec { conventions: plain.conventions.taught(&plain.tokenizer)?, ..plain };
        // Answers that would be cut off are left out, because they could never get a good reward.
        let fits = |text: &str, most: usize| codec.tokenizer.encode(text).is_ok_and(|ids| ids.len() < most);
        let asks = |prompt: &str| fits(prompt, recipe.prompt_tokens.saturating_sub(ROLES));
        let mut preferences = texts::preferences()?;
        preferences.retain(|found| asks(&found.prompt) && fits(&found.chosen, recipe.max_tokens));
        preferences.truncate(recipe.prompts);
        Ok(Self { shared, gpu, recipe, out: out.to_path_buf(), seed, rate, codec, preferences, stop })
    }

    /// The folder of a stage's run.
    pub fn folder(&self, stage: &str) -> PathBuf {
        self.out.join(stage)
    }

    /// A stage in words.
    pub fn introduce(&self, stage: &str) -> &'static str {
        match (stage, self.rate) {
            ("pretrain", _) => "pretraining: it learns to write, from plays of Shakespeare",
            ("sft", _) => "fine-tuning: it learns to answer, from conversations of which half have bad manners",
            ("reward", None) => {
                "reward model: which of two answers people prefer, from the ratings that come with the program"
            }
            ("reward", Some(_)) => "reward model: which of two answers you prefer",
            ("ppo", _) => "PPO: answers that the reward model likes become more likely",
            ("reward2", None) => "second round: ratings of the new answers make a better reward model",
            ("reward2", Some(_)) => "second round: you rate the new answers",
            _ => "PPO with the better reward model",
        }
    }

    /// Runs or resumes a stage; [`None`] if it was asked to stop.
    pub async fn stage(&self, stage: &str) -> Result<Option<StageResult>> {
        match stage {
            "pretrain" => self.pretrain().await,
            "sft" => self.sft().await,
            "reward" => self.reward(stage, None, &["pretrain", "sft"]).await,
            "ppo" => self.ppo(stage, "sft", "reward", 0).await,
            "reward2" => self.reward(stage, Some("reward"), &["ppo"]).await,
            _ => self.ppo(stage, "ppo", "reward2", 1).await,
        }
    }

    /// One answer to each of the prompts that are asked after every stage.
    pub async fn answers(&self, stage: &str) -> Result<Vec<String>> {
        let prompts: Vec<_> = self.asked().map(|preference| preference.prompt.as_str()).collect();
        self.draw(stage, &prompts, ANSWERS).await
    }

    /// One answer of a stage's model to each prompt.
    pub async fn draw(&self, stage: &str, prompts: &[&str], stream: u64) -> Result<Vec<String>> {
        let bar = output::bar(prompts.len() as u64, self.shared.quiet);
        bar.set_message(format!("answers of {stage}"));
        let (folder, codec, drawn) = (self.folder(stage), &self.codec, self.drawn(stream));
        let found = answers::draw(self.gpu, &folder, codec, prompts, drawn, |done| bar.set_position(done as u64)).await;
        bar.finish_and_clear();
        found
    }

    /// The answers of a stage, with their prompts and the answers that people gave.
    pub fn said<'b>(&'b self, answers: &'b [String]) -> impl Iterator<Item = ScorableAnswer<'b>> {
        self.asked().zip(answers).map(|(asked, answer)| ScorableAnswer {
            prompt: &asked.prompt,
            answer,
            expected: &asked.chosen,
        })
    }

    pub fn reward_model(&self, stage: &str) -> Result<RewardModel> {
        RewardModel::open(self.gpu, &self.folder(stage))
    }

    fn asked(&self) -> impl Iterator<Item = &Preference> {
        self.preferences.iter().take(self.recipe.asked)
    }

    fn drawn(&self, stream: u64) -> Drawn {
        let Recipe { max_tokens, temperature, ppo_batch, .. } = self.recipe;
        Drawn { max_tokens, temperature, seed: self.seed ^ stream, rows: ppo_batch }
    }

    /// The settings of pretraining.
    fn pretraining(&self) -> Settings {
        let recipe = &self.recipe;
        let config = Config::llama(recipe.vocabulary, recipe.context, recipe.layers, recipe.heads, recipe.width);
        let config = Config { vocabulary: self.codec.tokenizer.vocab_size(), tied: true, ..config };
        let base = Settings::recipe(config.clone());
        Settings {
            batch: recipe.batch,
            schedule: base.schedule.rescaled(recipe.pretrain_lr, recipe.pretrain_steps),
            dropout: recipe.dropout,
            common: Common { seed: self.seed, ..base.common },
            val_batches: 20,
            val_every: recipe.pretrain_steps.div_ceil(3),
            sample_tokens: 60,
            ..base
        }
    }

    /// Cuts the recipe down, if it would take longer than `seconds` here.
    pub async fn fit(&mut self, seconds: f64) -> Result<()> {
        let settings = self.pretraining();
        let bar = output::bar(1, self.shared.quiet);
        bar.set_message("compiling, and timing a step");
        let step = || plan::rehearse(self.gpu, Gpt::new(self.gpu, &settings.config, self.seed)?, &settings);
        let taken = self.gpu.time(1, 2, step).await?;
        bar.finish_and_clear();
        let share = seconds / (STEPS * taken);
        if share < 1.0 {
            let share = share.max(LEAST);
            let (percent, minutes) = (100.0 * share, STEPS * taken * share / 60.0);
            self.shared.say(format_args!(
                "a step takes {:.0} ms here: every stage takes {percent:.0} % of its steps, about {minutes:.1} minutes in all",
                1e3 * taken
            ));
            self.recipe = self.recipe.cut(share);
        }
        Ok(())
    }

    async fn pretrain(&self) -> Result<Option<StageResult>> {
        let out = self.folder("pretrain");
        atomic::private_folder(&out)?;
        let text = self.out.join("shakespeare.txt");
        atomic::write(&text, pretrain::SHAKESPEARE.as_bytes())?;
        let (tokenizer, settings) = (&self.codec.tokenizer, self.pretraining());
        let config = settings.config.clone();
        let split = shards::prepare(&text, tokenizer, &out, settings.val_fraction, &mut |_, _| {})?;
        split.check_window(settings.context)?;
        let fresh = || Trainer::new(self.gpu, Gpt::new(self.gpu, &config, self.seed)?, &settings);
        let trainer = self.trainer(&out, &settings, fresh)?;
        let plain = TextCodec::plain(tokenizer.clone());
        let summary = self.learn(&out, settings.clone(), Pretrain { split }, plain, trainer).await?.0;
        Ok(summary.map(|summary| StageResult { val_loss: summary.val_loss, ..StageResult::default() }))
    }

    async fn sft(&self) -> Result<Option<StageResult>> {
        let (recipe, out) = (&self.recipe, self.folder("sft"));
        let path = self.out.join("chats.jsonl");
        atomic::write(&path, texts::conversations(&self.preferences).as_bytes())?;
        let base = self.folder("pretrain");
        let settings = Settings::fine_tuning(interchange::open(&base)?.config().clone(), None);
        let common = Common { seed: self.seed, ..settings.common };
        let settings = Settings { common, batch: recipe.batch, dropout: recipe.dropout, sample_tokens: 40, ..settings };
        let data = sft::Data::load(&path, &self.codec, settings.context, |_| ())?;
        data.remarks().iter().for_each(|remark| self.shared.say(format_args!("{remark}")));
        let fingerprint = data.examples.fingerprint();
        let mut task = Sft::new(data.examples, &self.codec, &settings);
        let steps = task.steps(&settings, recipe.sft_epochs);
        let settings = Settings {
            schedule: settings.schedule.rescaled(recipe.sft_lr, steps),
            val_every: steps.div_ceil(3).max(1),
            data: Some(format!("{fingerprint:016x}")),
            ..settings
        };
        let fresh = || Trainer::new(self.gpu, load::tunable(self.gpu, &base, None, self.seed, |_, _| ())?, &settings);
        let trainer = self.trainer(&out, &settings, fresh)?;
        let summary = self.learn(&out, settings.clone(), task, self.codec.clone(), trainer).await?.0;
        Ok(summary.map(|summary| StageResult { val_loss: summary.val_loss, ..StageResult::default() }))
    }

    /// A reward model on top of the fine-tuned model, trained on the ratings available so far.
    async fn reward(&self, stage: &str, earlier: Option<&str>, policies: &[&str]) -> Result<Option<StageResult>> {
        let (recipe, out, base) = (&self.recipe, self.folder(stage), self.folder("sft"));
        let config = interchange::open(&base)?.config().clone();
        let reader = Reader::new(&self.codec, config.context)?;
        let store = match self.rate {
            Some(pairs) => ratings::ask(self, stage, policies[policies.len() - 1], pairs).await?,
            None => ratings::shipped(self, (stage, earlier), policies).await?,
        };
        let data = Data::load(&store, None, &reader, |_, _| ())?;
        let objective = data.objective;
        let learned = reward::Recipe { epochs: recipe.reward_epochs, ..reward::Recipe::new(objective) };
        let base_settings = Settings::reward(config.clone(), learned);
        let settings = Settings {
            common: Common { seed: self.seed, ..base_settings.common },
            batch: recipe.reward_batch,
            context: config.context,
            val_fraction: 0.1,
            data: Some(format!("{:016x}", data.fingerprint())),
            ..base_settings
        };
        // All rewards are on one scale: that of the fine-tuned model's answers before any were rated.
        let talked = self.draw("sft", &self.prompts(), ANSWERS).await?;
        let read = |(preference, answer): (&Preference, &String)| {
            let messages = [wgpt::text::Message::new("user", preference.prompt.as_str())];
            Some(reader.read(&messages, answer).ok()?.ids)
        };
        let reference: Vec<_> = self.preferences.iter().zip(&talked).filter_map(read).collect();
        let task = Reward::new(data.comparisons, &settings, learned, Some(reference))?;
        let steps = task.steps(&settings);
        let schedule = Schedule { lr: recipe.reward_lr, steps, ..settings.schedule };
        let settings = Settings { schedule, val_every: steps.div_ceil(2).max(1), ..settings };
        let fresh = || {
            let model = load::tunable(self.gpu, &base, None, self.seed, |_, _| ())?;
            let head = ScalarHead::new(self.gpu, config.width, Start::Normal(self.seed))?;
            Trainer::with_head(self.gpu, model, Some(head), &settings)
        };
        let trainer = self.trainer(&out, &settings, fresh)?;
        let (summary, task) = self.learn(&out, settings.clone(), task, self.codec.clone(), trainer).await?;
        let accuracy = task.evaluation.as_ref().and_then(|evaluation| evaluation.accuracy);
        Ok(summary.map(|summary| StageResult { val_loss: summary.val_loss, accuracy, ..StageResult::default() }))
    }

    async fn ppo(&self, stage: &str, base: &str, judge: &str, round: usize) -> Result<Option<StageResult>> {
        let (recipe, out) = (&self.recipe, self.folder(stage));
        let base = checkpoint::resolve(&self.folder(base))?;
        let asked = texts::asking(self.prompts().iter());
        let prompts = Prompts::listed(DataFile::of_lines(&asked), &self.codec, recipe.prompt_tokens, self.seed)?;
        let plain = ppo::Settings::recipe(Algorithm::PPO);
        let settings = ppo::Settings {
            steps: recipe.ppo_steps[round],
            batch: recipe.ppo_batch,
            lr: recipe.ppo_lr[round],
            temperature: recipe.temperature,
            prompt_tokens: prompts.longest(),
            max_tokens: recipe.max_tokens,
            stops: self.codec.conventions.stops.clone(),
            missing_stop: MissingStop::Score(-1.0),
            controller: KlController::Adaptive { beta: recipe.beta, target: recipe.target_kl, horizon: 2000.0 },
            // The reward model already uses the scale of the first fine-tuned model.
            normalise: 0,
            common: Common { seed: self.seed + round as u64, ..plain.common },
            limits: ppo::Limits { kl: 5.0 * recipe.target_kl, ..ppo::Limits::default() },
            base: adapter::fingerprint(&*interchange::open(&base)?)?,
            judge: format!("reward:{}", self.folder(judge).display()),
            prompts: format!("{:016x}", prompts.fingerprint()),
            ..plain
        };
        settings.validate(interchange::open(&base)?.config().context)?;
        let state = checkpoint::resolve(&out).is_ok().then(|| reinforcement::state(&out)).transpose()?;
        let (learner, progress) = match state {
            Some(state) => {
                settings.agrees_with(&state.settings)?;
                (reinforcement::resume(self.gpu, &out, &state, true)?, state.progress)
            }
            None => (reinforcement::begin(self.gpu, &base, None, &settings, true)?, Progress::new(&settings)),
        };
        atomic::private_folder(&out)?;
        let judge = Box::new(reinforce::Learned(self.reward_model(judge)?));
        let ppo = Ppo { settings, learner, prompts, judge, codec: self.codec.clone(), progress };
        let base = std::path::absolute(&base).map_err(wgpt::Error::io(&base, "find"))?;
        let run = Run { out: &out, base, ppo, stop: &self.stop };
        let summary = reinforce::show(self.shared, self.gpu, run).await?;
        let told = StageResult { kl: Some(summary.last_quarter_kl), ..StageResult::default() };
        Ok((!summary.stopped).then_some(told))
    }

    /// The prompts used in training.
    pub fn prompts(&self) -> Vec<&str> {
        self.preferences.iter().map(|preference| preference.prompt.as_str()).collect()
    }

    pub fn preferences(&self) -> &[Preference] {
        &self.preferences
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// A fresh trainer, or the state in which the run in `out` stopped.
    fn trainer(
        &self,
        out: &Path,
        settings: &Settings,
        fresh: impl FnOnce() -> Result<Trainer>,
    ) -> Result<(Trainer, Option<f64>)> {
        if checkpoint::resolve(out).is_err() {
            return Ok((fresh()?, None));
        }
        let (trainer, _, state) = state::resume(self.gpu, out)?;
        settings.agrees_with(&state.settings)?;
        Ok((trainer, state.best_val_loss))
    }

    async fn learn<T: Task>(
        &self,
        out: &Path,
        settings: Settings,
        task: T,
        codec: TextCodec,
        (trainer, best_val_loss): (Trainer, Option<f64>),
    ) -> Result<(Option<Summary>, T)> {
        atomic::private_folder(out)?;
        let mut stage = Supervised { out, settings, task, codec, trainer, best_val_loss, stop: &self.stop };
        let summary = training::run(self.shared, self.gpu, &mut stage).await?;
        Ok(((!summary.stopped).then_some(summary), stage.task))
    }
}
