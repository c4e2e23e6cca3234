//! A GPT that learns to talk, on any GPU: tensors, autograd and hand-written WGSL kernels, and built on them, training
//! and inference of language models. It runs wherever [`wgpu`] does: Vulkan, Metal, DX12, and in browsers.
//!
//! # An adapter, a tensor, an operation and its gradient
//!
//! ```
//! use wgpt::{
//!     gpu::{Gpu, Options},
//!     ops::linear::{Fuse, linear},
//!     tape::{Gradients, Tape},
//!     tensor::Tensor,
//! };
//!
//! # fn main() -> wgpt::Result<()> {
//! # pollster::block_on(async {
//! // The best adapter of this machine, or the one that WGPT_ADAPTER names.
//! let gpu = Gpu::open(&Options::from_environment()).await?;
//!
//! let x = Tensor::from_f32(&gpu, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! let weight = Tensor::from_f32(&gpu, &[1, 3], &[1.0, -1.0, 2.0])?;
//!
//! // A tape records what depends on the tensors that it watches.
//! let tape = Tape::new(&gpu);
//! tape.watch(&weight);
//! let y = linear(&tape, &x, &weight, Fuse::default())?;
//! assert_eq!(y.to_f32().await?, [5.0, 11.0]);
//!
//! let mut gradients = Gradients::default();
//! tape.backward(&y, Tensor::from_f32(&gpu, &[2, 1], &[1.0, 10.0])?, &mut gradients)?;
//! let gradient = gradients.get(&weight).expect("the weight was watched");
//! assert_eq!(gradient.to_f32().await?, [41.0, 52.0, 63.0]);
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! Nothing waits for the GPU until a result is read: operations record dispatches, and `to_f32().await` submits them.
//!
//! # Load a model and let it talk
//!
//! ```
//! use std::path::Path;
//!
//! use wgpt::{
//!     conversation::Conversation,
//!     gpu::{Gpu, Options},
//!     infer::{sampler::Sampling, session::Session},
//!     interchange::{self, TextCodec},
//!     model::{Gpt, build::Storage},
//! };
//!
//! # fn main() -> wgpt::Result<()> {
//! # pollster::block_on(async {
//! let gpu = Gpu::open(&Options::from_environment()).await?;
//! // A GGUF file, a Hugging Face folder, or a run of wgpt.
//! let path = Path::new("weights/talker.gguf");
//! let model = Gpt::frozen(&gpu, &*interchange::open(path)?, Storage::AsStored, |_, _| ())?;
//! let codec = TextCodec::open(path)?;
//! let mut chat = Conversation::new(Session::new(&gpu, &model)?, &codec, Sampling::default(), 8)?;
//! let answer = chat.say("What is the largest ocean?", |_, _| (), |_| true).await?;
//! println!("{}", answer.text);
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Train a small model
//!
//! ```
//! use wgpt::{
//!     assets,
//!     gpu::{Gpu, Options},
//!     model::{Config, Gpt},
//!     text::{Tokenizer, batches, shards},
//!     train::trainer::{StepSettings, Trainer},
//! };
//!
//! # fn main() -> wgpt::Result<()> {
//! # pollster::block_on(async {
//! let (steps, seed, stream, rows, context) = (3, 1, 1, 4, 16);
//! let gpu = Gpu::open(&Options::from_environment()).await?;
//! let tokenizer = Tokenizer::chars_of([assets::SHAKESPEARE])?;
//! let split = shards::in_memory(assets::SHAKESPEARE, &tokenizer, 0.1)?;
//!
//! let (layers, heads, width) = (1, 2, 32);
//! let config = Config::gpt2(tokenizer.vocab_size(), context, layers, heads, width);
//! let model = Gpt::new(&gpu, &config, seed)?;
//! let mut trainer = Trainer::new(&gpu, model, StepSettings::new(1e-3, steps, seed))?;
//! for step in 0..steps {
//!     let batch = batches::random_batch(&split.train, seed, stream, step, rows, context)?;
//!     let outcome = trainer.step(&[batch])?.outcome().await?;
//!     println!("step {step}: loss {:.3}", outcome.loss);
//! }
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Where to look
//!
//! | you want | look at |
//! |---|---|
//! | to run a kernel of your own, with an oracle | `examples/custom_kernel.rs`, [`gpu::Kernel`] |
//! | to write an operation with a gradient | `examples/custom_op.rs`, [`tape`] |
//! | to train a model of your own | `examples/own_model.rs`, [`model::Model`], [`train::trainer::Trainer`] |
//! | training runs with checkpoints and curves | [`train::run`], [`train::supervised`], [`train::ppo`] |
//! | to answer many requests at once | [`infer::engine`] |
//! | GGUF and Hugging Face files | [`interchange`], [`formats`] |
//! | to see whether an adapter computes right | [`doctor`] |
//!
//! Everything returns the one [`Error`]; a lost device is an error too, never a panic.

// Both panic, and so end the program, if nobody reads their output.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod arena;
pub mod assets;
pub mod content;
pub mod conversation;
pub mod doctor;
pub mod error;
pub mod feedback;
pub mod formats;
pub mod gpu;
pub mod hash;
pub mod infer;
pub mod interchange;
pub mod io;
pub mod model;
pub mod ops;
pub mod optim;
pub mod parallel;
pub mod random;
pub mod report;
pub mod tape;
pub mod tensor;
pub mod text;
pub mod train;
mod trusted;

pub use wgpu;

pub use error::{Error, Result};
