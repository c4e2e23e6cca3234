//! Training stages, one file each, readable from top to bottom.

pub mod bandwidth;
pub mod coordination;
pub mod cpu_share;
pub mod dpo;
pub mod interval;
pub mod judge;
pub mod plan;
pub mod portable;
pub mod ppo;
pub mod preferences;
pub mod pretrain;
pub mod reward;
pub mod rlhf;
pub mod run;
pub mod scaling;
pub mod settings;
pub mod sft;
pub mod state;
pub mod supervised;
pub mod trainer;
pub mod validation;

pub use settings::Settings;
