//! JSON mode: only tokens that can go on with valid JSON may come next.

pub mod automaton;
pub mod mask;
