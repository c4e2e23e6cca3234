//! `wgpt embed`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Shared, options::LoadArguments, output};
use wgpt::{
    Error, Result,
    infer::embed::{self, cosine},
    text::{Corpus, DataFile, Layout},
};

/// Compute embeddings of texts
#[derive(Debug, Args)]
#[command(after_help = "A text's vector is the mean of the model's last hidden states over its tokens (or the last \
token's), scaled to length 1. Without --json the cosine similarities between all texts are shown.

Examples:
  wgpt embed model.gguf --text 'a cat' --text 'a kitten' --text 'tax law'
  wgpt embed model.gguf --file lines.txt --json > vectors.json")]
pub(crate) struct Arguments {
    /// GGUF file, Hugging Face folder, checkpoint or run folder
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// A text; may be repeated
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Vec<String>,
    /// A file of texts: one per line, or records with a "text"
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Which hidden states each vector is made from
    #[arg(long, value_enum, default_value_t = Pooling::Mean)]
    pooling: Pooling,
    /// Do not scale the vectors to length 1
    #[arg(long)]
    no_normalise: bool,
    #[command(flatten)]
    load: LoadArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pooling {
    /// All tokens
    Mean,
    /// The last token
    Last,
}

#[derive(Serialize)]
struct Output {
    dimensions: usize,
    tokens: Vec<usize>,
    embeddings: Vec<Vec<f32>>,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let mut texts = arguments.text.clone();
    if let Some(file) = &arguments.file {
        let data = DataFile::open(file)?;
        if data.layout() == Layout::Text {
            texts.extend(data.text()?.lines().filter(|line| !line.trim().is_empty()).map(str::to_string));
        } else {
            let corpus = Corpus::of(file, data)?;
            texts.extend(corpus.texts()?.iter().map(|text| text.text.to_string()));
        }
    }
    if texts.is_empty() {
        return Err(Error::Usage("nothing to embed: give --text TEXT or --file FILE".to_string()));
    }
    let gpu = shared.open().await?;
    let (model, codec) = shared.load(&gpu, &arguments.model, &arguments.load)?;
    let pooling = match arguments.pooling {
        Pooling::Mean => embed::Pooling::Mean,
        Pooling::Last => embed::Pooling::Last,
    };
    let bar = output::bar(texts.len() as u64, shared.quiet);
    let mut output = Output { dimensions: model.config().width, tokens: Vec::new(), embeddings: Vec::new() };
    for text in &texts {
        let ids = codec.read(text)?;
        let vector = embed::embed(&gpu, &model, &ids, pooling).await?;
        output.tokens.push(ids.len());
        output.embeddings.push(if arguments.no_normalise { vector } else { embed::normalised(vector) });
        bar.inc(1);
    }
    bar.finish_and_clear();
    shared.close(&gpu)?;
    shared.result(&output, || table(&texts, &output.embeddings))
}

/// The cosine similarities between all texts.
fn table(texts: &[String], vectors: &[Vec<f32>]) -> String {
    let rows = texts.iter().zip(vectors).enumerate().map(|(row, (text, vector))| {
        let cells: String = vectors.iter().map(|other| format!(" {:6.3}", cosine(vector, other))).collect();
        let short: String = text.chars().take(40).collect();
        format!("{:>3}{cells}  {short}", row + 1)
    });
    let head: String = (1..=texts.len()).map(|column| format!(" {column:>6}")).collect();
    std::iter::once(format!("   {head}")).chain(rows).collect::<Vec<_>>().join("\n")
}
