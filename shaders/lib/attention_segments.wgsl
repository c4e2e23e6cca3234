// Segments: with SEGMENTS, query t of sequence z sees only the keys starts[z, t]..=t. Along a row starts never decrease and
// never exceed t, so the first query of a workgroup has its smallest start.
const SEGMENTS: bool = false;
// Loops over keys begin at a multiple of this, which is also a multiple of every tile's rows.
const STEP: u32 = 16u;

// The first key that query t sees.
fn start_of(z: u32, t: u32) -> u32 {
    if (SEGMENTS) {
        return starts[z * p.context + t];
    }
    return 0u;
}

// Whether query t, which sees keys from `start` on, sees key j.
fn sees(t: u32, start: u32, j: u32) -> bool {
    return j <= t && (!SEGMENTS || j >= start);
}
