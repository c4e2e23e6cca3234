//! Training stages, one file each, readable from top to bottom.

pub mod learn;
pub mod pretrain;
pub mod reward;
pub mod rlhf;
pub mod run;
pub mod settings;
pub mod sft;
pub mod stage;
pub mod trainer;
pub mod validation;

pub use settings::Settings;
