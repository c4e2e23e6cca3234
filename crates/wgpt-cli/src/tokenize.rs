//! `wgpt tokenize` and `wgpt tokenizer train`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::Shared;
use wgpt::{
    Error, Result,
    error::counted,
    interchange,
    text::{Corpus, Tokenizer, tokenizer::END_OF_TEXT},
};

/// Show how a text is split into tokens
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wgpt tokenize --model runs/shakespeare --text 'To be, or not to be'
  wgpt tokenize --model tokenizer.json --text '<|endoftext|>' --special")]
pub(crate) struct Arguments {
    /// Model (see `wgpt generate`) or tokenizer.json
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Text to tokenise
    #[arg(long, allow_hyphen_values = true)]
    text: String,
    /// Read special tokens such as <|endoftext|> as one token
    #[arg(long)]
    special: bool,
}

/// Create tokenizers
#[derive(Debug, Args)]
pub(crate) struct TokenizerArguments {
    #[command(subcommand)]
    command: TokenizerCommand,
}

#[derive(Debug, Subcommand)]
enum TokenizerCommand {
    Train(TrainArguments),
}

/// Train a byte-level BPE tokenizer on a text
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wgpt tokenizer train --data texts/ --vocabulary 8192 --out tokenizer.json")]
pub(crate) struct TrainArguments {
    /// Text, or JSON lines or a Parquet table with a "text" each, or folder of such files
    #[arg(long, value_name = "FILE|DIR")]
    data: PathBuf,
    /// Size of the vocabulary
    #[arg(long, default_value_t = 4096)]
    vocabulary: usize,
    /// File to write
    #[arg(long, default_value = "tokenizer.json", value_name = "FILE")]
    out: PathBuf,
}

/// The tokenizer of a model, or a separate one.
fn load(path: &Path) -> Result<Tokenizer> {
    if path.is_file() && path.extension().is_some_and(|ending| ending == "json") {
        return Tokenizer::load(path);
    }
    interchange::tokenizer(path)
}

/// Runs `tokenize`.
pub(crate) fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let tokenizer = load(&arguments.model)?;
    let ids = if arguments.special {
        tokenizer.encode_special(&arguments.text)?
    } else {
        tokenizer.encode(&arguments.text)?
    };
    let tokens: Vec<_> = ids.iter().map(|&id| tokenizer.token_text(id)).collect();
    shared.result(&json!({ "ids": ids, "tokens": tokens }), || {
        let rows = ids.iter().zip(&tokens).map(|(id, token)| format!("{id:>7} {token:?}\n"));
        format!("{}{}", rows.collect::<String>(), counted(ids.len(), "token"))
    })
}

/// Runs `tokenizer train`.
pub(crate) fn train(shared: &Shared, arguments: &TokenizerArguments) -> Result<()> {
    let TokenizerCommand::Train(arguments) = &arguments.command;
    if arguments.vocabulary < 257 {
        let reason = "give at least 257: every byte and the end of text";
        return Err(Error::Usage(format!("--vocabulary {}: {reason}", arguments.vocabulary)));
    }
    let corpus = Corpus::open(&arguments.data)?;
    shared.say_skipped(&corpus);
    let texts: Vec<_> = corpus.texts()?.iter().map(|text| text.text).collect();
    shared.say(format_args!("training on {} bytes", corpus.bytes()));
    let tokenizer = Tokenizer::train_bpe(texts.into_iter(), arguments.vocabulary, &[END_OF_TEXT])?;
    tokenizer.save(&arguments.out)?;
    let output = json!({ "tokenizer": arguments.out.display().to_string(), "vocabulary": tokenizer.vocab_size() });
    shared.result(&output, || format!("{} tokens, written to {}", tokenizer.vocab_size(), arguments.out.display()))
}
