//! The `wgpt` program.
fn main() {}
