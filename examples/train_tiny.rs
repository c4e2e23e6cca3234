//! Trains a small GPT on Shakespeare, character by character: `cargo run --release --example train_tiny -- [STEPS]`

use std::io::Write;

use wgpt::{
    Result, assets,
    gpu::{Gpu, Options},
    infer::{
        generate::{Limits, generate},
        sampler::Sampling,
        session::Session,
    },
    model::{Config, Gpt},
    text::{Tokenizer, batches, shards},
    train::{
        trainer::{StepSettings, Trainer},
        validation,
    },
};

const SEED: u64 = 1337;
/// The random stream of the batches: any number that you choose.
const BATCHES: u64 = 1;
const ROWS: usize = 12;
const CONTEXT: usize = 64;

async fn run(steps: u64) -> Result<()> {
    let gpu = Gpu::open(&Options::from_environment()).await?;
    println!("{}", gpu.description());

    let text = assets::SHAKESPEARE;
    let tokenizer = Tokenizer::chars_of([text])?;
    let split = shards::in_memory(text, &tokenizer, 0.1)?;

    let (layers, heads, width) = (2, 4, 64);
    let config = Config::gpt2(tokenizer.vocab_size(), CONTEXT, layers, heads, width);
    let model = Gpt::new(&gpu, &config, SEED)?;
    println!("{} parameters, {} tokens of text", model.size(), split.train.len());

    let mut trainer = Trainer::new(&gpu, model, StepSettings::new(1e-3, steps, SEED))?;
    for step in 0..steps {
        let batch = batches::random_batch(&split.train, SEED, BATCHES, step, ROWS, CONTEXT)?;
        // `step` returns at once, while the GPU works; `outcome` waits for it.
        let outcome = trainer.step(&[batch])?.outcome().await?;
        if step % 20 == 0 || step + 1 == steps {
            println!("step {:4}: loss {:.3}, gradient norm {:.2}", step + 1, outcome.loss, outcome.norm);
        }
    }
    let held_out = batches::validation_windows(&split.val, SEED, 10, ROWS, CONTEXT);
    let loss = validation::mean_loss(&gpu, &trainer.model, held_out, |_| ()).await?;
    println!("loss on the held-out tenth of the text: {loss:.3}\n");

    let prompt = tokenizer.encode("The king")?;
    let mut session = Session::new(&gpu, &trainer.model)?;
    let limits = Limits { count: 100, ..Limits::default() };
    let sampling = Sampling { temperature: 0.8, seed: SEED, ..Sampling::default() };
    print!("The king");
    generate(
        &mut session,
        &prompt,
        limits,
        &sampling,
        |_, _| (),
        |step| {
            print!("{}", tokenizer.decode(&[step.chosen.id]));
            std::io::stdout().flush().is_ok()
        },
    )
    .await?;
    println!();
    Ok(())
}

fn main() {
    let steps = std::env::args().nth(1).and_then(|steps| steps.parse().ok()).unwrap_or(200);
    if let Err(error) = pollster::block_on(run(steps)) {
        eprintln!("train_tiny: {error}");
        std::process::exit(1);
    }
}
