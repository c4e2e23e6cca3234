// Rows that all lanes read: every lane loads every piece itself.
// @include "lib/attention_rows.wgsl"
// @include "lib/attention_pieces.wgsl"

// The vector of a row that this lane loads as its piece i.
fn piece(i: u32, lane: u32) -> u32 {
    return i;
}
