//! From text to token batches: tokenizers, memory-mapped token files, batches.
#![warn(clippy::indexing_slicing)]

mod bpe;
mod char;
mod pipeline;
mod python;
mod sentencepiece;

pub mod batches;
pub mod chat;
pub mod conventions;
pub mod conversations;
pub mod corpus;
pub mod data_file;
pub mod layout;
pub mod messages;
pub mod packing;
mod parquet;
pub mod phrases;
pub mod pretokenizer;
pub mod shards;
pub mod spans;
pub mod stream;
pub mod tokenizer;
mod utf16;
pub mod vocabulary;

pub use batches::Batch;
pub use chat::{ChatTemplate, Message, SpecialTokens};
pub use conventions::Conventions;
pub use corpus::Corpus;
pub use data_file::DataFile;
pub use layout::Layout;
pub use shards::{Split, TokenFile};
pub use stream::StreamDecoder;
pub use tokenizer::Tokenizer;
pub use vocabulary::Vocabulary;
