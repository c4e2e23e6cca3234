//! What a model needs beside its weights to read and write text.

use std::path::Path;

use super::{adapter::Adapters, folder_of, gguf, huggingface, refuse_others};
use crate::{
    Result,
    formats::gguf::GgufFile,
    io::checkpoint,
    text::{Conventions, Tokenizer},
};

/// How a model reads and writes text.
#[derive(Clone, Debug)]
pub struct TextCodec {
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Begin and end tokens, chat template.
    pub conventions: Conventions,
}

impl TextCodec {
    /// The codec of a tokenizer alone: texts end with [`Tokenizer::end_of_text`].
    pub fn plain(tokenizer: Tokenizer) -> Self {
        let end = tokenizer.end_of_text();
        let stops = end.into_iter().collect();
        Self { tokenizer, conventions: Conventions { bos: end, eos: end, stops, ..Conventions::default() } }
    }

    /// The tokens of a text for the model to continue. Special tokens are recognised by name, and the token that begins
    /// a text is prepended if the model expects one.
    ///
    /// # Errors
    /// [`crate::Error::Tokenizer`].
    pub fn read(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.tokenizer.encode_special(text)?;
        let begins = |bos: &u32| self.conventions.add_bos && !ids.is_empty() && ids.first() != Some(bos);
        if let Some(bos) = self.conventions.bos.filter(begins) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// The codec stored in a GGUF file.
    ///
    /// # Errors
    /// Returns the errors of [`TextCodec::open`].
    pub fn of_gguf(file: &GgufFile) -> Result<Self> {
        let tokenizer = gguf::tokenizer(file)?;
        let conventions = Conventions::of_gguf(&gguf::vocabulary(file)?, &tokenizer);
        Ok(Self { tokenizer, conventions })
    }

    /// The codec of the model at `path`; see [`super::open`]. Adapters use their base's codec, unless they were trained
    /// with their own.
    ///
    /// # Errors
    /// [`crate::Error::Tokenizer`], [`crate::Error::Checkpoint`], [`crate::Error::Data`] or [`crate::Error::Io`] if
    /// there is none, or none that wgpt can read.
    pub fn open(path: &Path) -> Result<Self> {
        refuse_others(path)?;
        if GgufFile::is_gguf(path) {
            return Self::of_gguf(&GgufFile::open(path)?);
        }
        let folder = folder_of(path);
        if huggingface::Folder::is_one(folder) {
            let tokenizer = Tokenizer::load(folder)?;
            let conventions = Conventions::of_folder(folder, &tokenizer)?;
            return Ok(Self { tokenizer, conventions });
        }
        let folder = checkpoint::resolve(path)?;
        // Models that were only pretrained have no conventions beyond the tokenizer.
        if !folder.join("tokenizer_config.json").exists() {
            return match Adapters::find(path)? {
                Some(adapters) => Self::open(&adapters.base_path()?),
                None => Tokenizer::load(&folder).map(Self::plain),
            };
        }
        let tokenizer = Tokenizer::load(&folder)?;
        let conventions = Conventions::of_folder(&folder, &tokenizer)?;
        Ok(Self { tokenizer, conventions })
    }

    /// The codec of the adapters at `lora` over the model at `base`: their own if they were trained with one, otherwise
    /// their base's.
    ///
    /// # Errors
    /// Returns the errors of [`TextCodec::open`].
    pub fn adapted(lora: &Path, base: &Path) -> Result<Self> {
        let folder = checkpoint::resolve(lora)?;
        Self::open(if folder.join("tokenizer_config.json").exists() { &folder } else { base })
    }
}
