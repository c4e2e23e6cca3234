//! JSON mode: restricts generation to tokens that continue valid JSON.

pub mod automaton;
pub mod mask;
