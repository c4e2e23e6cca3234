//! Attention over keys and values that are kept: of one text in a cache, or of many in pages of one pool.

pub mod decode;
pub mod paged;
