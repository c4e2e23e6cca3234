//! A model of your own on wgpt's tensors, operations and trainer: `cargo run --release --example own_model -- [STEPS]`
//!
//! The model predicts a character from the one before it: an embedding, two residual layers, and the embedding again as
//! the head. Anything with parameters, a forward pass and a loss can be trained in this way.

use wgpt::{
    Result, assets,
    gpu::{Gpu, Options},
    model::{Model, gpt::Pass},
    ops::{
        cross_entropy::{Targets, head_loss},
        elementwise::add,
        embedding::{Tokens, embed},
        linear::{Fuse, linear},
    },
    random,
    tape::Tape,
    tensor::Tensor,
    text::{Tokenizer, batches, shards},
    train::{
        trainer::{StepSettings, Trainer},
        validation,
    },
};

const SEED: u64 = 7;
const ROWS: usize = 16;
const CONTEXT: usize = 32;
const WIDTH: usize = 64;

/// A bigram model with hidden layers.
struct Bigram {
    /// Parameters with their names: `embed [vocabulary, width]`, then for each layer `up [4 width, width]` and `down
    /// [width, 4 width]`.
    parameters: Vec<(String, Tensor)>,
}

impl Bigram {
    fn new(gpu: &Gpu, vocabulary: usize, layers: usize) -> Result<Self> {
        let mut parameters = Vec::new();
        let mut add = |name: String, shape: [usize; 2], deviation: f32| {
            // Each parameter has its own stream of random numbers.
            let stream = parameters.len() as u64;
            let values: Vec<_> =
                (0..(shape[0] * shape[1]) as u64).map(|i| deviation * random::normal(SEED, stream, i)).collect();
            parameters.push((name, Tensor::from_f32(gpu, &shape, &values)?));
            Ok::<_, wgpt::Error>(())
        };
        add("embed".to_string(), [vocabulary, WIDTH], 0.1)?;
        for layer in 0..layers {
            add(format!("layers.{layer}.up"), [4 * WIDTH, WIDTH], 0.1)?;
            add(format!("layers.{layer}.down"), [WIDTH, 4 * WIDTH], 0.02)?;
        }
        Ok(Self { parameters })
    }

    fn table(&self) -> &Tensor {
        &self.parameters[0].1
    }
}

impl Model for Bigram {
    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// Hidden states `[rows, context, width]`.
    fn forward(&self, tape: &Tape, tokens: &Tokens, _pass: Pass) -> Result<Tensor> {
        let mut x = embed(tape, tokens, self.table(), None, 0)?;
        for layer in self.parameters[1..].chunks_exact(2) {
            let hidden = linear(tape, &x, &layer[0].1, Fuse { gelu: true, ..Fuse::default() })?;
            let change = linear(tape, &hidden, &layer[1].1, Fuse::default())?;
            x = add(tape, &x, &change)?;
        }
        Ok(x)
    }

    fn loss(&self, tape: &Tape, hidden: &Tensor, targets: &Targets, factor: f32) -> Result<Tensor> {
        Ok(head_loss(tape, hidden, self.table(), targets, factor)?.mean)
    }
}

async fn run(steps: u64) -> Result<()> {
    let gpu = Gpu::open(&Options::from_environment()).await?;
    println!("{}", gpu.description());
    let tokenizer = Tokenizer::chars_of([assets::SHAKESPEARE])?;
    let split = shards::in_memory(assets::SHAKESPEARE, &tokenizer, 0.1)?;

    let model = Bigram::new(&gpu, tokenizer.vocab_size(), 2)?;
    let mut trainer = Trainer::new(&gpu, model, StepSettings::new(3e-3, steps, SEED))?;
    let (mut first, mut last) = (f32::NAN, f32::NAN);
    for step in 0..steps {
        let batch = batches::random_batch(&split.train, SEED, 1, step, ROWS, CONTEXT)?;
        last = trainer.step(&[batch])?.outcome().await?.loss;
        if step == 0 {
            first = last;
        }
        if step % 50 == 0 || step + 1 == steps {
            println!("step {:4}: loss {last:.3}", step + 1);
        }
    }
    let held_out = batches::validation_windows(&split.val, SEED, 10, ROWS, CONTEXT);
    let loss = validation::mean_loss(&gpu, &trainer.model, held_out, |_| ()).await?;
    println!("loss on the held-out tenth of the text: {loss:.3}");
    assert!(steps < 50 || last < first - 0.5, "the model learns nothing");
    Ok(())
}

fn main() {
    let steps = std::env::args().nth(1).and_then(|steps| steps.parse().ok()).unwrap_or(300);
    if let Err(error) = pollster::block_on(run(steps)) {
        eprintln!("own_model: {error}");
        std::process::exit(1);
    }
}
