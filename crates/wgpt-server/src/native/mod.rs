//! What the page asks for beside OpenAI's endpoints.

pub mod feedback;
pub mod model;
pub mod rate;
pub mod runs;
