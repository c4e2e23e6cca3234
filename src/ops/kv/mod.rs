//! Attention over stored keys and values: of one batch in a contiguous cache, or of many texts in pages of one pool.

pub mod decode;
pub mod paged;
