//! Loads a model and continues a text: `cargo run --release --example generate -- [MODEL [PROMPT]]`
//!
//! The model is a GGUF file, a Hugging Face folder, or a run of wgpt; by default, the chat model that comes with the
//! repository.

use std::{io::Write, path::Path};

use wgpt::{
    Result,
    gpu::{Gpu, Options},
    infer::{
        generate::{Limits, generate},
        sampler::Sampling,
        session::Session,
    },
    interchange::{self, TextCodec},
    model::{Gpt, build::Storage},
};

async fn run(model: &Path, prompt: &str) -> Result<()> {
    let gpu = Gpu::open(&Options::from_environment()).await?;
    println!("{}", gpu.description());

    // Tokenizer, chat template and stop tokens come from the same files as the weights.
    let codec = TextCodec::open(model)?;
    // Quantised weights stay quantised in GPU memory; `Storage` has other choices.
    let model = Gpt::frozen(&gpu, &*interchange::open(model)?, Storage::AsStored, |_, _| ())?;

    let prompt_tokens = codec.read(prompt)?;
    let mut session = Session::new(&gpu, &model)?;
    let limits = Limits { count: 60, stops: &codec.conventions.stops, ..Limits::default() };
    let sampling = Sampling { temperature: 0.0, seed: 1, ..Sampling::default() };
    print!("{prompt}");
    let generated = generate(
        &mut session,
        &prompt_tokens,
        limits,
        &sampling,
        |_, _| (),
        |step| {
            print!("{}", codec.tokenizer.decode(&[step.chosen.id]));
            // `false` would end the text here.
            std::io::stdout().flush().is_ok()
        },
    )
    .await?;
    println!("\n{} tokens, {:.0} a second", generated.tokens.len(), generated.rate());
    Ok(())
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let talker = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/talker.gguf");
    let model = arguments.next().unwrap_or_else(|| talker.to_string());
    let prompt = arguments.next().unwrap_or_else(|| "User:\nWhat is the largest ocean?\nAssistant:\n".to_string());
    if let Err(error) = pollster::block_on(run(Path::new(&model), &prompt)) {
        eprintln!("generate: {error}");
        std::process::exit(1);
    }
}
