//! Rounds of PPO.

use serde::Deserialize;
use serde_json::json;
use wasm_bindgen::prelude::*;
use wgpt::{
    gpu::Gpu,
    model::Gpt,
    train::{
        judge, portable,
        ppo::{
            Ppo, Progress,
            learner::Learner,
            prompts::Prompts,
            settings::{Algorithm, Settings},
        },
        rlhf::response::{EARLIEST_STOP, MissingStop},
        settings::Common,
    },
};

use crate::{
    problem::{Problem, Result},
    talk,
};

/// The judge and the settings of PPO, as in `wgpt ppo` but with fewer samples.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReinforceOptions {
    prompts: Vec<String>,
    judge: String,
    batch: usize,
    max_tokens: usize,
    lr: f32,
    seed: u64,
    steps: u64,
    temperature: f32,
}

impl Default for ReinforceOptions {
    fn default() -> Self {
        Self {
            prompts: Vec::new(),
            judge: "lexicon".into(),
            batch: 8,
            max_tokens: 24,
            lr: 2e-4,
            seed: 1337,
            steps: 20,
            temperature: 0.7,
        }
    }
}

/// A policy, its reference and a judge.
#[wasm_bindgen]
pub struct Reinforcer {
    ppo: Ppo,
}

impl Reinforcer {
    /// Starts with a policy that equals its reference.
    pub(crate) fn begin(gpu: &Gpu, gguf: Vec<u8>, wishes: ReinforceOptions) -> Result<Self> {
        let (source, codec) = talk::open(gguf)?;
        let judge = match wishes.judge.split(':').next() {
            // The other judges need files, programs or reference answers.
            Some("lexicon" | "length" | "pattern") => judge::open(&wishes.judge)?,
            _ => return Err(Problem(format!("judge {}: give lexicon, length:N or pattern:TEXT", wishes.judge))),
        };
        let config = wgpt::model::Source::config(&source).clone();
        let chats = codec.conventions.template.is_some();
        let most = config.context.saturating_sub(wishes.max_tokens).min(64);
        let lines: Vec<_> = wishes.prompts.iter().map(|prompt| json!({ "prompt": prompt }).to_string()).collect();
        let prompts = Prompts::listed(wgpt::text::DataFile::of_lines(&lines.join("\n")), &codec, most, wishes.seed)?;
        if prompts.count() == 0 {
            return Err(Problem(format!("no prompt to answer: {}", prompts.remarks().join("; "))));
        }
        let recipe = Settings::recipe(Algorithm::PPO);
        let settings = Settings {
            common: Common { seed: wishes.seed, ..recipe.common },
            steps: wishes.steps,
            batch: wishes.batch,
            lr: wishes.lr,
            temperature: wishes.temperature,
            prompt_tokens: prompts.longest(),
            max_tokens: wishes.max_tokens,
            stops: codec.conventions.stops.clone(),
            earliest_stop: if chats { 0 } else { EARLIEST_STOP },
            missing_stop: if chats { MissingStop::Score(-1.0) } else { MissingStop::Allowed },
            normalise: 4 * wishes.batch,
            judge: wishes.judge,
            ..recipe
        };
        settings.validate(config.context)?;
        let (policy, reference) = (Gpt::from_source(gpu, &source)?, Gpt::from_source(gpu, &source)?);
        let learner = Learner::new(gpu, policy, Some(reference), true, &settings)?;
        let progress = Progress::new(&settings);
        Ok(Self { ppo: Ppo { settings, learner, prompts, judge, gold: None, codec, progress } })
    }
}

#[wasm_bindgen]
impl Reinforcer {
    /// Scores samples of the reference; from then on scores are deviations from their mean.
    pub async fn normalise(&mut self) -> Result<()> {
        Ok(self.ppo.normalise().await?)
    }

    /// One round: answers, scores, and an update from them.
    pub async fn round(&mut self) -> Result<String> {
        let step = self.ppo.step().await?;
        let mut round = serde_json::to_value(step.statistics).map_err(|error| Problem(error.to_string()))?;
        round["step"] = json!(step.statistics.step + 1);
        round["samples"] = json!(step.samples);
        Ok(round.to_string())
    }

    /// The policy as a GGUF file.
    pub async fn model(&self) -> Result<Vec<u8>> {
        Ok(portable::export(self.ppo.learner.policy(), &self.ppo.codec, "reinforced.gguf").await?)
    }
}
