//! FNV-1a (64 bits): identifies bytes and detects accidental changes; offers no protection against forgery.

/// The initial state of a hash.
pub const START: u64 = 0xcbf2_9ce4_8422_2325;

/// Returns `state` updated with `bytes`.
pub fn add(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    #[test]
    fn equals_the_published_values() {
        assert_eq!(super::add(super::START, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(super::add(super::START, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(super::add(super::START, b"foobar"), 0x8594_4171_f739_67e8);
    }
}
