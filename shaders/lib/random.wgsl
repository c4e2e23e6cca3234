// Counter-based random bits: the same (key, counter) gives the same bits on every adapter.
// Two rounds of the 32-bit finaliser of MurmurHash3, keyed in between.
fn mix(value: u32) -> u32 {
    var x = value;
    x = (x ^ (x >> 16u)) * 0x85ebca6bu;
    x = (x ^ (x >> 13u)) * 0xc2b2ae35u;
    return x ^ (x >> 16u);
}

fn random_bits(key: u32, counter: u32) -> u32 {
    return mix(mix(counter ^ 0x9e3779b9u) + key);
}
