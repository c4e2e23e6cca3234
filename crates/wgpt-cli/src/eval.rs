//! `wgpt eval`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Shared, output};
use wgpt::{
    Error, Result,
    error::{Origin, counted},
    interchange::load,
    model::origin,
    ops::cross_entropy::IGNORED,
    text::{Corpus, batches::Batch},
    train::validation,
};

/// Compute the loss and perplexity of a text
#[derive(Debug, Args)]
#[command(
    after_help = "The text is split into consecutive windows of --context tokens, without overlap. All tokens of a window \
except the first are scored; an incomplete window at the end is dropped. The loss uses the natural logarithm.

Examples:
  wgpt eval --model runs/shakespeare --text sonnets.txt"
)]
pub(crate) struct Arguments {
    /// Checkpoint or run folder, Hugging Face folder, or GGUF file
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Text, or JSON lines or a Parquet table with a "text" each
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Tokens per window [default: the model's context]
    #[arg(long)]
    context: Option<usize>,
}

#[derive(Serialize)]
struct Output {
    tokens: usize,
    scored: usize,
    mean_nll: f64,
    perplexity: f64,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let corpus = Corpus::open(&arguments.text)?;
    let texts = corpus.texts()?;
    let gpu = shared.open().await?;
    let (model, tokenizer) = load::load(&gpu, &arguments.model)?;
    let longest = model.config().context;
    let context = arguments.context.unwrap_or(longest);
    if context < 2 || context > longest {
        return Err(Error::Usage(format!("--context {context}: give 2 to {longest}, the model's context")));
    }
    let mut ids = Vec::new();
    for text in &texts {
        ids.extend(tokenizer.encode(text.text)?);
    }
    let windows = ids.len() / context;
    if windows == 0 {
        let reason =
            format!("{}, less than one window of {context}; give --context at most that", counted(ids.len(), "token"));
        return Err(Error::data(&arguments.text, reason));
    }
    let rows = (4096 / context).clamp(1, 16);
    let bar = output::bar(windows.div_ceil(rows) as u64, shared.quiet);
    let batches = ids[..windows * context].chunks(rows * context).map(|chunk| {
        let next = |(index, _): (usize, &u32)| {
            if (index + 1) % context == 0 { IGNORED } else { chunk[index + 1] }
        };
        let targets = chunk.iter().enumerate().map(next).collect();
        Ok(Batch { inputs: chunk.to_vec(), targets, starts: None, rows: chunk.len() / context, context })
    });
    let mean_nll = validation::mean_loss(&gpu, &model, batches, |done| bar.set_position(done as u64)).await?;
    bar.finish_and_clear();
    if !mean_nll.is_finite() {
        let name = origin::broken_weight(&gpu, &model.weights()).await?;
        let origin = name.map(|name| Origin::Weight { name, given: true });
        return Err(Error::NotNumbers { what: "losses", origin });
    }
    shared.close(&gpu)?;
    let scored = windows * (context - 1);
    let output = Output { tokens: ids.len(), scored, mean_nll, perplexity: mean_nll.exp() };
    shared.result(&output, || {
        format!(
            "{}, {scored} scored: loss {mean_nll:.4}, perplexity {:.3}",
            counted(output.tokens, "token"),
            output.perplexity
        )
    })
}
