//! Training stages, one file each, readable from top to bottom.

pub mod audit;
pub mod cores;
#[cfg(not(target_family = "wasm"))]
pub mod dpo;
pub mod interval;
pub mod judge;
pub mod known_answers;
pub mod link;
pub mod plan;
pub mod portable;
pub mod ppo;
#[cfg(not(target_family = "wasm"))]
pub mod preferences;
pub mod pretrain;
pub mod reward;
pub mod rlhf;
pub mod run;
pub mod scaling;
pub mod settings;
pub mod sft;
pub mod stage;
pub mod task;
pub mod together;
pub mod trainer;
pub mod trajectory;
pub mod validation;

pub use settings::Settings;
