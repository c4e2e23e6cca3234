//! Training a model from scratch.

use js_sys::Function;
use serde::Deserialize;
use serde_json::json;
use wasm_bindgen::prelude::*;
use web_time::Instant;
use wgpt::{
    gpu::Gpu,
    infer::{generate::Limits, sampler::Sampling},
    interchange::TextCodec,
    model::{Config, Gpt},
    parallel::Group,
    text::{Tokenizer, shards, tokenizer::END_OF_TEXT},
    train::{self, Settings, coordination, portable, pretrain::Pretrain, settings::Common, supervised::Task},
};

use crate::{
    problem::{Problem, Result},
    words,
};

/// Number of validation batches; the 200 of `wgpt pretrain` would take too long in a page.
const VALIDATION: usize = 8;

/// The model and how it is trained, as in `wgpt pretrain`, with the same defaults except for the sizes.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    family: String,
    layers: usize,
    heads: usize,
    width: usize,
    context: usize,
    batch: usize,
    steps: u64,
    lr: f32,
    seed: u64,
    tokenizer: String,
    vocabulary: usize,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            family: "gpt2".into(),
            layers: 2,
            heads: 2,
            width: 64,
            context: 32,
            batch: 8,
            steps: 200,
            lr: 1e-3,
            seed: 1337,
            tokenizer: "char".into(),
            vocabulary: 512,
        }
    }
}

impl Recipe {
    fn tokenizer(&self, text: &str) -> Result<Tokenizer> {
        match self.tokenizer.as_str() {
            "char" => Ok(Tokenizer::chars_of([text])?),
            "bpe" => Ok(Tokenizer::train_bpe([text].into_iter(), self.vocabulary, &[END_OF_TEXT])?),
            other => Err(Problem(format!("tokenizer '{other}': give char or bpe"))),
        }
    }

    fn settings(&self, vocabulary: usize) -> Result<Settings> {
        let Self { layers, heads, width, context, steps, lr, .. } = *self;
        let config = match self.family.as_str() {
            "gpt2" => Config { bias: false, ..Config::gpt2(vocabulary, context, layers, heads, width) },
            "llama" => Config::llama(vocabulary, context, layers, heads, width),
            other => return Err(Problem(format!("family '{other}': give gpt2 or llama"))),
        };
        let recipe = Settings::recipe(config);
        let schedule = recipe.schedule.rescaled(lr, steps);
        let common = Common { seed: self.seed, ..recipe.common };
        Ok(Settings { common, batch: self.batch, val_batches: VALIDATION, schedule, ..recipe })
    }
}

/// A model that is trained on a text.
#[wasm_bindgen]
pub struct Trainer {
    trainer: train::trainer::Trainer,
    settings: Settings,
    tokenizer: Tokenizer,
    task: Pretrain,
    best: Option<f64>,
}

impl Trainer {
    /// A new model.
    pub(crate) fn begin(gpu: &Gpu, text: &str, recipe: Recipe) -> Result<Self> {
        let tokenizer = recipe.tokenizer(text)?;
        let settings = recipe.settings(tokenizer.vocab_size())?;
        settings.validate()?;
        let task = task(text, &tokenizer, &settings)?;
        let model = Gpt::new(gpu, &settings.config, settings.common.seed)?;
        let trainer = train::trainer::Trainer::new(gpu, model, &settings)?;
        Ok(Self { trainer, settings, tokenizer, task, best: None })
    }

    /// Resumes from a saved checkpoint.
    pub(crate) fn resume(gpu: &Gpu, checkpoint: Vec<u8>, text: &str) -> Result<Self> {
        let (trainer, tokenizer, state) = portable::resume(gpu, checkpoint)?;
        let task = task(text, &tokenizer, &state.settings)?;
        Ok(Self { trainer, settings: state.settings, tokenizer, task, best: state.best_val_loss })
    }

    fn codec(&self) -> TextCodec {
        TextCodec::plain(self.tokenizer.clone())
    }

    /// A prompt as tokens; if it is empty, the first token of the held-out text.
    fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.codec().read(text)?;
        Ok(if ids.is_empty() { self.task.sample().0 } else { ids })
    }
}

fn task(text: &str, tokenizer: &Tokenizer, settings: &Settings) -> Result<Pretrain> {
    let split = shards::in_memory(text, tokenizer, settings.val_fraction)?;
    split.check_window(settings.context)?;
    Ok(Pretrain { split })
}

#[wasm_bindgen]
impl Trainer {
    /// The model's sizes, and the progress of training.
    pub fn about(&self) -> String {
        let (settings, split) = (&self.settings, &self.task.split);
        json!({
            "parameters": self.trainer.model.size(), "vocabulary": settings.config.vocabulary,
            "training_tokens": split.train.len(), "validation_tokens": split.val.len(),
            "tokens_per_step": settings.tokens_per_step(), "step": self.trainer.optimizer.step,
            "steps": settings.schedule.steps, "config": settings.config, "best_validation_loss": self.best,
        })
        .to_string()
    }

    /// Times the variants of every kernel; `report(name, index, count)` is called for each kernel.
    pub async fn tune(&mut self, report: Option<Function>) -> Result<()> {
        let gpu = self.trainer.gpu.clone();
        let tell = |class: &str, index: usize, count: usize| {
            if let Some(report) = &report {
                let _ = report.call3(&JsValue::NULL, &class.into(), &index.into(), &count.into());
            }
        };
        let rehearse = async || self.task.rehearse(&mut self.trainer, &self.settings);
        Ok(coordination::tune(&gpu, &Group::alone(), rehearse, tell).await?)
    }

    /// Runs one step: `{"step", "loss", "norm", "lr", "seconds"}`; steps count from 1.
    pub async fn step(&mut self) -> Result<String> {
        let step = self.trainer.optimizer.step;
        if step >= self.settings.schedule.steps {
            return Err(Problem(format!("all {step} steps are done")));
        }
        let start = Instant::now();
        let outcome = self.task.step(&mut self.trainer, &self.settings, step)?.outcome().await?;
        self.trainer.observe(step, &outcome)?;
        let (lr, seconds) = (self.settings.schedule.at(step), start.elapsed().as_secs_f64());
        Ok(json!({ "step": step + 1, "loss": outcome.loss, "norm": outcome.norm, "lr": lr, "seconds": seconds })
            .to_string())
    }

    /// The loss on the held-out text.
    pub async fn validate(&mut self) -> Result<f64> {
        let found = self.task.validate(&self.trainer, &self.settings).await?;
        let loss = found.map_or(f64::NAN, |found| found.loss);
        self.best = Some(self.best.map_or(loss, |best| best.min(loss)));
        Ok(loss)
    }

    /// Continues a prompt. `each` is called with the text as it is generated, and returns `false` to stop.
    pub async fn write(
        &self,
        prompt: String,
        tokens: usize,
        temperature: f32,
        seed: f64,
        each: Function,
    ) -> Result<String> {
        let (prompt, limits) = (self.prompt(&prompt)?, Limits { count: tokens, ..Limits::default() });
        let sampling = Sampling { temperature, seed: seed as u64, ..Sampling::default() };
        let (gpu, model) = (&self.trainer.gpu, &self.trainer.model);
        words::write(gpu, model, &self.tokenizer, &prompt, limits, &sampling, &each).await
    }

    /// The likeliest tokens after a prompt: `[{"text", "probability"}]`.
    pub async fn next(&self, prompt: String, count: usize) -> Result<String> {
        words::next(&self.trainer.gpu, &self.trainer.model, &self.tokenizer, &self.prompt(&prompt)?, count).await
    }

    /// A checkpoint from which `Engine::resume` continues bit for bit.
    pub async fn save(&self) -> Result<Vec<u8>> {
        Ok(portable::save(&self.trainer, &self.tokenizer, &self.settings, self.best).await?)
    }

    /// The model as a GGUF file.
    pub async fn model(&self) -> Result<Vec<u8>> {
        Ok(portable::export(&self.trainer.model, &self.codec(), "tab.gguf").await?)
    }
}
