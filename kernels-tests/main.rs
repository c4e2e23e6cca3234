//! Every kernel against its oracle, and training steps as a whole.

mod device;
mod training;
