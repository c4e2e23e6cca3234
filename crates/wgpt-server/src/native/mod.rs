//! Endpoints of the page, beside OpenAI's.

pub mod feedback;
pub mod model;
pub mod rate;
pub mod runs;
