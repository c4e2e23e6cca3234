//! Many requests at once: they join and leave the running batch at every step.

pub mod request;
