//! Trained reward models that judge texts.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use super::{
    reader::Reader,
    rows::{self, Rows},
};
use crate::{
    Error, Result,
    gpu::Gpu,
    infer::explain::explained,
    interchange::{TextCodec, load},
    io::checkpoint::Checkpoint,
    model::{Gpt, build::Storage, gpt::Pass, heads::ScalarHead},
    ops::gather::RowIndex,
    tape::Tape,
    text::Message,
    train::state,
};

/// Number of tokens in a pass that only scores.
const TOKENS: usize = 4096;

/// Number of passes recorded ahead of the one that is read.
const AHEAD: usize = 4;

/// The rewards of `texts` of 1 to `width` tokens, in their order, packed into rows of `width`, with about `tokens` in a
/// pass. `progress` is called with the number of texts done.
///
/// # Errors
/// [`Error::Shape`] for a text that is empty or longer than `width`; the driver's errors.
pub async fn rewards(
    gpu: &Gpu,
    (model, head): (&Gpt, &ScalarHead),
    texts: &[&[u32]],
    (width, tokens): (usize, usize),
    mut progress: impl FnMut(usize),
) -> Result<Vec<f32>> {
    if let Some(wrong) = texts.iter().position(|text| text.is_empty() || text.len() > width) {
        let reason = format!("text {wrong} has {} tokens; 1 to {width} can be scored", texts[wrong].len());
        return Err(Error::shape("rewards", reason));
    }
    let lengths: Vec<[usize; 1]> = texts.iter().map(|text| [text.len()]).collect();
    let runs = rows::cut(lengths.iter().map(|length| &length[..]), width, (tokens / width.max(1)).max(1));
    let (tape, mut all, mut ahead) = (Tape::off(gpu), Vec::with_capacity(texts.len()), VecDeque::new());
    let mut runs = runs.into_iter();
    loop {
        if let Some(run) = runs.next() {
            let rows = Rows::new(&texts[run], width);
            let hidden = model.forward(&tape, &rows.tokens(gpu, false)?, Pass::default(), None)?;
            ahead.push_back(head.apply_at(&tape, &hidden, &RowIndex::new(gpu, &rows.lasts, false)?)?.read());
            gpu.submit()?;
            if ahead.len() < AHEAD {
                continue;
            }
        }
        let Some(found) = ahead.pop_front() else { break };
        all.extend(found.numbers::<f32>().await?);
        progress(all.len());
    }
    Ok(all)
}

/// A reward model as a judge: texts in, rewards out.
pub struct RewardModel {
    gpu: Gpu,
    model: Gpt,
    head: ScalarHead,
    reader: Reader,
}

impl RewardModel {
    /// Loads the reward model in a run or checkpoint folder of `wgpt reward`, for inference only.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is none, or if it is broken.
    pub fn open(gpu: &Gpu, path: &Path) -> Result<Self> {
        Self::load(gpu, path, Storage::AsStored, |_, _| ())
    }

    /// [`RewardModel::open`] with matrices stored as `storage` says; `each` is called with the number of parameters
    /// loaded and the total.
    ///
    /// # Errors
    /// Same as [`RewardModel::open`].
    pub fn load(gpu: &Gpu, path: &Path, storage: Storage, each: impl FnMut(usize, usize)) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        // Checked before the weights are read: a missing head is the likeliest mistake, and quick to find.
        if checkpoint.head()?.is_none() {
            let reason = "no reward model: there is no head.safetensors; `wgpt reward` makes one";
            return Err(Error::checkpoint(&checkpoint.folder, reason));
        }
        let codec = TextCodec::open(&checkpoint.folder)?;
        let model = load::frozen(gpu, path, storage, each)?;
        let head = state::head(gpu, &checkpoint, model.config().width)?;
        let head = head.ok_or_else(|| Error::checkpoint(&checkpoint.folder, "head.safetensors is gone"))?;
        // Texts are cut as they were in training.
        let trained = checkpoint.state().ok().and_then(|state| state["settings"]["context"].as_u64());
        let longest = model.config().context;
        let context = trained.map_or(longest, |context| (context as usize).min(longest));
        Ok(Self { gpu: gpu.clone(), model, head, reader: Reader::new(&codec, context)? })
    }

    /// Creates a reward model from its parts.
    pub fn new(gpu: &Gpu, model: Gpt, head: ScalarHead, reader: Reader) -> Self {
        Self { gpu: gpu.clone(), model, head, reader }
    }

    /// The reader that encodes texts for it.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The model under the head.
    pub fn model(&self) -> &Gpt {
        &self.model
    }

    /// The head.
    pub fn head(&self) -> &ScalarHead {
        &self.head
    }

    /// The normalised reward of each answer to its prompt, in their order, computed in batched passes.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] naming the text that cannot be read; the driver's errors.
    pub async fn score(&self, texts: &[(Vec<Message>, String)]) -> Result<Vec<f32>> {
        let read = |(index, (prompt, answer)): (usize, &(Vec<Message>, String))| {
            let text = self.reader.read(prompt, answer);
            text.map(|text| text.ids).map_err(|(mistake, words)| {
                Error::Tokenizer(format!("text {} cannot be judged: {mistake}: {words}", index + 1))
            })
        };
        let ids = texts.iter().enumerate().map(read).collect::<Result<Vec<_>>>()?;
        self.score_tokens(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>(), |_| ()).await
    }

    /// [`RewardModel::score`] for texts that [`Reader::read`] has encoded. `progress` is called with the number of
    /// texts done.
    ///
    /// # Errors
    /// Same as [`rewards`], and [`Error::NotNumbers`], with the reason.
    pub async fn score_tokens(&self, texts: &[&[u32]], progress: impl FnMut(usize)) -> Result<Vec<f32>> {
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let sizes = (rows::width(longest, self.model.config().context), TOKENS);
        let rewards = rewards(&self.gpu, (&self.model, &self.head), texts, sizes, progress).await?;
        if let Some(index) = rewards.iter().position(|reward| !reward.is_finite()) {
            let error = Error::NotNumbers { what: "rewards", origin: None };
            return Err(explained(&self.gpu, &self.model, texts[index], error).await);
        }
        Ok(rewards)
    }
}

/// Several reward models as one judge that is careful where they disagree: the mean of their rewards minus `caution`
/// times the variance (Coste et al. 2024, "Reward Model Ensembles Help Mitigate Overoptimization"). What only one of
/// them likes is likely to be its mistake. Their rewards can be averaged if they were normalised on the same texts.
pub struct Ensemble {
    models: Vec<RewardModel>,
    caution: f32,
}

impl Ensemble {
    /// Loads the reward models in `paths`; with one of them, it is that model.
    ///
    /// # Errors
    /// Same as [`RewardModel::open`]; [`Error::Config`] for no model, or a `caution` that is negative or not a number.
    pub fn open(gpu: &Gpu, paths: &[PathBuf], caution: f32) -> Result<Self> {
        if paths.is_empty() || !(caution >= 0.0 && caution.is_finite()) {
            let reason =
                format!("{} reward models with a caution of {caution}: one or more, and 0 or more", paths.len());
            return Err(Error::Config(reason));
        }
        let models = paths.iter().map(|path| RewardModel::open(gpu, path)).collect::<Result<_>>()?;
        Ok(Self { models, caution })
    }

    /// The reward of each answer to its prompt, in their order.
    ///
    /// # Errors
    /// Same as [`RewardModel::score`].
    pub async fn score(&self, texts: &[(Vec<Message>, String)]) -> Result<Vec<f32>> {
        let mut rewards = Vec::with_capacity(self.models.len());
        for model in &self.models {
            rewards.push(model.score(texts).await?);
        }
        Ok(cautious(&rewards, self.caution))
    }
}

/// Mean minus `caution` times variance over `rewards[model][text]`, for each text.
fn cautious(rewards: &[Vec<f32>], caution: f32) -> Vec<f32> {
    let models = rewards.len() as f32;
    let texts = rewards.first().map_or(0, Vec::len);
    let mean = |of: &dyn Fn(f32) -> f32, text: usize| rewards.iter().map(|model| of(model[text])).sum::<f32>() / models;
    let one = |text| {
        let middle = mean(&|reward| reward, text);
        middle - caution * mean(&|reward| (reward - middle).powi(2), text)
    };
    (0..texts).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_models_disagree_about_is_worth_less() {
        let rewards = [vec![1.0, 3.0, -1.0], vec![1.0, -1.0, -2.0]];
        assert_eq!(cautious(&rewards, 0.0), [1.0, 1.0, -1.5]);
        assert_eq!(cautious(&rewards, 0.5), [1.0, -1.0, -1.625]);
        assert_eq!(cautious(&rewards[..1], 2.0), rewards[0]);
        assert_eq!(cautious(&[], 1.0), [0.0; 0]);
    }
}
