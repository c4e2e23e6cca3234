//! The stages of the demo, each equivalent to the command of the same name.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use super::{
    super::{
        Shared, output, pretrain,
        rounds::{
            answers::{self, Drawing},
            train::{self, RewardResult, Training},
        },
        training,
    },
    StageResult,
    questions::{self, Question, Questions, Wording},
    ratings,
    recipe::{ROUNDS, Recipe},
    texts,
};
use wgpt::{
    Result,
    gpu::Gpu,
    interchange::{self, TextCodec, load},
    io::atomic,
    model::{Config, Gpt, build::Storage},
    text::{DataFile, Message, shards},
    train::{
        Settings, plan,
        ppo::prompts::Prompts,
        pretrain::Pretrain,
        reward::{Reader, RewardModel},
        settings::Common,
        sft::{self, Sft},
        supervised::{Summary, Task},
        trainer::Trainer,
    },
};

/// The random stream of the answers after each stage.
const ANSWERS: u64 = u64::from_le_bytes(*b"demo ans");

/// Random streams of the questions that are rated and trained on, and of those that are held out.
const TRAINED: u64 = u64::from_le_bytes(*b"demo tra");
const HELD_OUT: u64 = u64::from_le_bytes(*b"demo hel");

/// How many times as long as a step of pretraining the whole demo takes, with everything that is not a step.
const STEPS: f64 = 8000.0;

/// The smallest share of the steps with which answers still improve.
const LEAST: f64 = 0.3;

/// Maximum number of tokens of the words around a prompt.
const ROLES: usize = 16;

/// One of the rounds of ratings and PPO, from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Round(usize);

impl Round {
    /// The round that a stage belongs to.
    fn of(stage: &str) -> Self {
        let number = stage.trim_start_matches(char::is_alphabetic);
        Self(number.parse::<usize>().map_or(0, |number| number - 1).min(ROUNDS - 1))
    }

    pub fn index(self) -> usize {
        self.0
    }

    pub fn before(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// The stage that trains its reward model.
    pub fn reward(self) -> String {
        self.named("reward")
    }

    /// The stage that trains its policy.
    pub fn ppo(self) -> String {
        self.named("ppo")
    }

    /// The stage whose policy it starts from.
    fn base(self) -> String {
        self.before().map_or("sft".to_string(), Self::ppo)
    }

    fn named(self, stage: &str) -> String {
        if self.0 == 0 { stage.to_string() } else { format!("{stage}{}", self.0 + 1) }
    }
}

/// An answer that can be scored.
pub(super) struct ScorableAnswer<'a> {
    pub question: &'a Question,
    pub answer: &'a str,
}

/// The rewards of answers.
pub(super) async fn rewards(judge: &RewardModel, said: &[ScorableAnswer<'_>]) -> Result<Vec<f32>> {
    let text = |said: &ScorableAnswer<'_>| {
        (vec![Message::new("user", said.question.prompt.as_str())], said.answer.to_string())
    };
    judge.score(&said.iter().map(text).collect::<Vec<_>>()).await
}

/// The tokens with which the chat model reads each of `prompts` as a user's message.
fn asked(codec: &TextCodec, prompts: &[&str]) -> Result<Vec<Vec<u32>>> {
    let TextCodec { tokenizer, conventions } = codec;
    let template = conventions.chat(tokenizer)?;
    let ask = |prompt: &&str| tokenizer.encode_special(&template.render(&[Message::new("user", *prompt)], true)?);
    prompts.iter().map(ask).collect()
}

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
    pub questions: Questions,
    /// The questions of PPO, some of whose answers are rated.
    taught: Vec<Question>,
    /// Questions in words that no stage trains on.
    held_out: Vec<Question>,
    /// The fine-tuned model's answers to the questions of the first round, once they were drawn.
    talked: OnceCell<Vec<String>>,
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
        let mut questions = Questions::new(recipe.languages, &recipe.topics, recipe.facts, recipe.balance, seed)?;
        let plain = TextCodec::plain(texts::tokenizer(&questions, recipe.vocabulary)?);
        let codec = TextCodec { conventions: plain.conventions.taught(&plain.tokenizer)?, ..plain };
        // Answers that would be cut off are left out, because they could never get a good reward.
        let fits = |text: &str, most: usize| codec.tokenizer.encode(text).is_ok_and(|ids| ids.len() < most);
        let both = |question: &Question| {
            fits(&question.prompt, recipe.prompt_tokens.saturating_sub(ROLES))
                && fits(&question.answer, recipe.max_tokens)
        };
        let held_out = questions::different(&questions, Wording::HeldOut, HELD_OUT, recipe.asked, both);
        questions.reserve(&held_out);
        let taught = questions::different(&questions, Wording::Taught, TRAINED, recipe.prompts, both);
        for (found, wanted, what) in
            [(held_out.len(), recipe.asked, "to ask"), (taught.len(), recipe.prompts, "to train on")]
        {
            if found < wanted {
                shared.say(format_args!("only {found} of {wanted} questions {what} are short enough"));
            }
        }
        Ok(Self {
            shared,
            gpu,
            recipe,
            out: out.to_path_buf(),
            seed,
            rate,
            codec,
            questions,
            taught,
            held_out,
            talked: OnceCell::new(),
            stop,
        })
    }

    /// The folder of a stage's run.
    pub fn folder(&self, stage: &str) -> PathBuf {
        self.out.join(stage)
    }

    /// A stage in words.
    pub fn introduce(&self, stage: &str) -> &'static str {
        match (stage, self.rate) {
            ("pretrain", _) => "pretraining: it learns to write, from plays of Shakespeare",
            ("sft", _) => "fine-tuning: it learns to answer, from conversations in which many answers are poor",
            ("reward", None) => "reward model: which of two answers is preferred, by someone who knows good ones",
            ("reward", Some(_)) => "reward model: which of two answers you prefer",
            ("ppo", _) => "PPO: answers that the reward model likes become more likely",
            ("reward2", None) => "second round: ratings of the new answers make a better reward model",
            ("reward2", Some(_)) => "second round: you rate the new answers",
            ("reward3", None) => "third round: ratings of the answers of the second",
            ("reward3", Some(_)) => "third round: you rate the answers of the second",
            _ => "PPO with the better reward model",
        }
    }

    /// Runs or resumes a stage; [`None`] if it was asked to stop.
    pub async fn stage(&self, stage: &str) -> Result<Option<StageResult>> {
        match stage {
            "pretrain" => self.pretrain().await,
            "sft" => self.sft().await,
            _ if stage.starts_with("reward") => self.reward(Round::of(stage)).await,
            _ => self.ppo(Round::of(stage)).await,
        }
    }

    /// One answer to each of the held-out questions.
    pub async fn answers(&self, stage: &str) -> Result<Vec<String>> {
        self.draw(stage, &self.held_out, ANSWERS).await
    }

    /// One answer of a stage's model to each question.
    pub async fn draw<'q>(
        &self,
        stage: &str,
        questions: impl IntoIterator<Item = &'q Question>,
        stream: u64,
    ) -> Result<Vec<String>> {
        let prompts: Vec<_> = questions.into_iter().map(|question| question.prompt.as_str()).collect();
        let bar = output::bar(prompts.len() as u64, self.shared.quiet);
        bar.set_message(format!("answers of {stage}"));
        let asked = asked(&self.codec, &prompts)?;
        let asked: Vec<_> = asked.iter().map(Vec::as_slice).collect();
        let model = load::frozen(self.gpu, &self.folder(stage), Storage::AsStored, |_, _| ())?;
        let (codec, drawing) = (&self.codec, self.drawing(stream));
        let found = answers::draw(self.gpu, &model, codec, &asked, drawing, |done| bar.set_position(done as u64)).await;
        bar.finish_and_clear();
        Ok(found?.into_iter().map(|answer| answer.text).collect())
    }

    /// The answers of a stage to the held-out questions.
    pub fn said<'b>(&'b self, answers: &'b [String]) -> impl Iterator<Item = ScorableAnswer<'b>> {
        let said = |(question, answer)| ScorableAnswer { question, answer: str::trim(answer) };
        self.held_out.iter().zip(answers.iter().map(String::as_str)).map(said)
    }

    /// 1 for each acceptable answer to a held-out question, 0 for each other one.
    pub fn gold(&self, answers: &[String]) -> Vec<f64> {
        self.said(answers).map(|said| f64::from(self.questions.accepts(said.question, said.answer))).collect()
    }

    pub fn reward_model(&self, stage: &str) -> Result<RewardModel> {
        RewardModel::open(self.gpu, &self.folder(stage))
    }

    fn drawing(&self, stream: u64) -> Drawing {
        let Recipe { max_tokens, temperature, ppo_batch, .. } = self.recipe;
        Drawing { max_tokens, temperature, seed: self.seed ^ stream, rows: ppo_batch }
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
        let taken = self.gpu.time(2, 6, step).await?;
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
        let trainer = training::trainer(self.gpu, &out, &settings, fresh)?;
        let plain = TextCodec::plain(tokenizer.clone());
        let summary = self.learn(&out, settings.clone(), Pretrain { split }, plain, trainer).await?;
        Ok(summary.map(|summary| StageResult { val_loss: summary.val_loss, ..StageResult::default() }))
    }

    async fn sft(&self) -> Result<Option<StageResult>> {
        let (recipe, out) = (&self.recipe, self.folder("sft"));
        let path = self.out.join("chats.jsonl");
        let talk = texts::conversations(&self.questions, recipe.conversations, recipe.turns, recipe.poor, self.seed);
        atomic::write(&path, talk.as_bytes())?;
        // For experiments with the commands: `wgpt ppo --prompts runs/demo/prompts.jsonl --gold contains`.
        atomic::write(&self.out.join("prompts.jsonl"), texts::asking(&self.taught).as_bytes())?;
        atomic::write(&self.out.join("held-out.jsonl"), texts::asking(&self.held_out).as_bytes())?;
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
        let trainer = training::trainer(self.gpu, &out, &settings, fresh)?;
        let summary = self.learn(&out, settings.clone(), task, self.codec.clone(), trainer).await?;
        Ok(summary.map(|summary| StageResult { val_loss: summary.val_loss, ..StageResult::default() }))
    }

    /// A reward model on top of the fine-tuned model in the first round, later one that goes on from the round before. It is
    /// trained on the ratings of the round; a person's few ratings of all rounds are learned together.
    async fn reward(&self, round: Round) -> Result<Option<StageResult>> {
        let base = self.folder(&round.before().map_or("sft".to_string(), Round::reward));
        let store = match self.rate {
            Some(pairs) => ratings::ask(self, round, &round.base(), pairs).await?,
            None => ratings::judged(self, round, &round.base()).await?,
        };
        // All rewards are on one scale: that of the fine-tuned model's answers before any were rated.
        let asked = self.rated(Round(0), self.recipe.rated);
        let talked = match self.talked.get() {
            Some(talked) => talked,
            None => {
                let talked = self.draw("sft", asked.iter().copied(), ANSWERS).await?;
                self.talked.get_or_init(|| talked)
            }
        };
        let reader = Reader::new(&self.codec, self.recipe.context)?;
        let read = |(question, answer): (&&Question, &String)| {
            Some(reader.read(&[Message::new("user", question.prompt.as_str())], answer).ok()?.ids)
        };
        let reference = asked.iter().zip(talked).filter_map(read).collect();
        let out = self.folder(&round.reward());
        let learned = self.training(round, self.seed).reward(&base, &out, &store, reference).await?;
        Ok(learned.map(|RewardResult { val_loss, accuracy }| StageResult {
            val_loss,
            accuracy,
            ..StageResult::default()
        }))
    }

    async fn ppo(&self, round: Round) -> Result<Option<StageResult>> {
        // Each round begins with other questions.
        let seed = self.seed.wrapping_add(round.index() as u64);
        let asked = DataFile::of_lines(&texts::asking(&self.taught));
        let prompts = Prompts::listed(asked, &self.codec, self.recipe.prompt_tokens, seed)?;
        let (base, out, judge) = (self.folder(&round.base()), self.folder(&round.ppo()), self.folder(&round.reward()));
        let summary = self.training(round, seed).ppo(&base, &out, (&[judge], 0.0), prompts, None).await?;
        let told = StageResult { kl: Some(summary.last_quarter_kl), ..StageResult::default() };
        Ok((!summary.stopped).then_some(told))
    }

    fn training(&self, round: Round, seed: u64) -> Training<'_> {
        let recipe = &self.recipe;
        let recipe = train::Recipe {
            reward_batch: recipe.reward_batch,
            reward_epochs: recipe.reward_epochs,
            reward_lr: recipe.reward_lr,
            val_fraction: 0.1,
            batch: recipe.ppo_batch,
            epochs: recipe.ppo_epochs,
            steps: recipe.ppo_steps[round.index()],
            lr: recipe.ppo_lr[round.index()],
            beta: recipe.beta,
            target_kl: recipe.target_kl,
            horizon: 2000.0,
            temperature: recipe.temperature,
            max_tokens: recipe.max_tokens,
            save_every: 10,
        };
        Training { shared: self.shared, gpu: self.gpu, codec: &self.codec, recipe, seed, stop: &self.stop }
    }

    /// `count` questions whose answers are rated in a round: others in each, while there are enough.
    pub fn rated(&self, round: Round, count: usize) -> Vec<&Question> {
        self.taught.iter().cycle().skip(round.index() * count).take(count).collect()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    async fn learn<T: Task>(
        &self,
        out: &Path,
        settings: Settings,
        task: T,
        codec: TextCodec,
        trainer: (Trainer, Option<f64>),
    ) -> Result<Option<Summary>> {
        Ok(training::learn(self.shared, self.gpu, (out, &self.stop), settings, task, codec, trainer).await?.0)
    }
}
