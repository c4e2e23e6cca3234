//! Decodes a stream of tokens without showing broken characters.
#![expect(clippy::indexing_slicing, reason = "the part up to a boundary that was found in it")]

use super::Tokenizer;

/// Turns token ids into text as they arrive. The bytes of a character may be spread over several tokens; they are held
/// back until the character is complete.
#[derive(Clone, Debug, Default)]
pub struct StreamDecoder {
    pending: Vec<u8>,
}

impl StreamDecoder {
    /// A decoder at the start of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a token and returns the text that it completes, often empty after part of a character. Bytes that can never
    /// become UTF-8 are returned as U+FFFD.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        self.push_bytes(&tokenizer.token_bytes(id))
    }

    /// Like [`StreamDecoder::push`], for bytes.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let complete = self.complete();
        let text = String::from_utf8_lossy(&self.pending[..complete]).into_owned();
        self.pending.drain(..complete);
        text
    }

    /// Ends the text and returns what is still held back, as U+FFFD.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }

    /// Length of the pending bytes, excluding an incomplete character at the end.
    fn complete(&self) -> usize {
        let mut start = 0;
        loop {
            match std::str::from_utf8(&self.pending[start..]) {
                Ok(_) => return self.pending.len(),
                Err(e) => match e.error_len() {
                    Some(broken) => start += e.valid_up_to() + broken,
                    None => return start + e.valid_up_to(),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_appear_when_complete() {
        let mut stream = StreamDecoder::new();
        let text = "a话🦀b";
        let parts: Vec<String> = text.as_bytes().chunks(1).map(|b| stream.push_bytes(b)).collect();
        assert_eq!(parts, ["a", "", "", "话", "", "", "", "🦀", "b"]);
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn broken_bytes_are_replaced_and_do_not_block() {
        let mut stream = StreamDecoder::new();
        assert_eq!(stream.push_bytes(b"\xff"), "\u{fffd}");
        assert_eq!(stream.push_bytes(b"\xe8\xaf"), "");
        assert_eq!(stream.push_bytes(b"x"), "\u{fffd}x");
        assert_eq!(stream.push_bytes(b"\xe8"), "");
        assert_eq!(stream.finish(), "\u{fffd}");
        assert_eq!(stream.finish(), "");
    }
}
