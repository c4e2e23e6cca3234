//! Judges as options name them.

use std::path::{Path, PathBuf};

use wgpt::{
    Error, Result,
    gpu::Gpu,
    io::checkpoint,
    train::{
        judge::{self, Judge, ScoredAnswer},
        ppo::prompts::Prompts,
        reward::Ensemble,
    },
};

/// By how much the disagreement of several reward models counts by default.
pub(crate) const CAUTION: f32 = 0.5;

/// A judge whose name was read, checked as far as possible without a GPU.
pub(crate) struct NamedJudge {
    /// The option's value, with what else decides about scores.
    pub name: String,
    kind: Kind,
}

enum Kind {
    Models(Vec<PathBuf>, f32),
    Ready(Box<dyn Judge>),
}

impl NamedJudge {
    /// Reads the value of the option `--{option}`. `caution` is that of several reward models.
    ///
    /// # Errors
    /// [`Error::Usage`] for reward models that cannot be meant, [`Error::Checkpoint`] for those that do not exist, and the errors
    /// of [`judge::open`].
    pub fn read(option: &'static str, value: &str, caution: Option<f32>) -> Result<Self> {
        let Some(models) = value.strip_prefix("reward:") else {
            return match caution {
                Some(_) => Err(alone()),
                None => {
                    let ready = judge::open(value).map_err(|error| match error {
                        Error::Setting { value, reason, .. } => Error::setting(option, value, reason),
                        other => other,
                    });
                    Ok(Self { name: value.to_string(), kind: Kind::Ready(ready?) })
                }
            };
        };
        // A folder's own name may have a comma in it.
        let one = Path::new(models).exists();
        let models: Vec<_> = if one { vec![models.into()] } else { models.split(',').map(PathBuf::from).collect() };
        if models.iter().any(|model| model.as_os_str().is_empty()) {
            return Err(Error::Usage(format!("--{option} {value}: there is a comma without a reward model beside it")));
        }
        models.iter().try_for_each(|model| checkpoint::resolve(model).map(drop))?;
        let several = models.len() > 1;
        match caution {
            Some(_) if !several => return Err(alone()),
            Some(caution) if !(caution >= 0.0 && caution.is_finite()) => {
                return Err(Error::Usage(format!("--caution {caution}: give a number of 0 or more")));
            }
            _ => {}
        }
        let caution = caution.unwrap_or(CAUTION);
        let name = if several { format!("{value} with a caution of {caution}") } else { value.to_string() };
        Ok(Self { name, kind: Kind::Models(models, caution) })
    }

    /// Refuses a judge that cannot score answers to `prompts`.
    ///
    /// # Errors
    /// Same as [`Prompts::suit`].
    pub fn suits(&self, prompts: &Prompts) -> Result<()> {
        match &self.kind {
            Kind::Models(..) => Ok(()),
            Kind::Ready(judge) => prompts.suit(&**judge, &self.name),
        }
    }

    /// The judge; reward models are loaded.
    ///
    /// # Errors
    /// Same as [`Ensemble::open`].
    pub fn open(self, gpu: &Gpu) -> Result<Box<dyn Judge>> {
        Ok(match self.kind {
            Kind::Models(models, caution) => Box::new(Learned(Ensemble::open(gpu, &models, caution)?)),
            Kind::Ready(judge) => judge,
        })
    }
}

fn alone() -> Error {
    Error::Usage("--caution is for several reward models, as in --judge reward:RUN,RUN".to_string())
}

/// Reward models as the judge; they read the whole conversation.
pub(crate) struct Learned(pub Ensemble);

impl Judge for Learned {
    fn score(&mut self, said: &[ScoredAnswer<'_>]) -> Result<Vec<f32>> {
        let texts: Vec<_> = said.iter().map(|said| (said.messages.to_vec(), said.answer.to_string())).collect();
        pollster::block_on(self.0.score(&texts))
    }
}
