//! UTF-16, as some programs write texts.

use std::io::{self, BufRead, Read};

/// Reads UTF-16 as UTF-8.
pub(super) struct Utf16 {
    input: Box<dyn BufRead>,
    /// Whether the more significant byte comes first.
    big: bool,
    /// The position in the file of the next unit.
    at: u64,
    /// Decoded bytes, of which the first `used` were returned.
    ready: Vec<u8>,
    used: usize,
}

impl Utf16 {
    /// Reads `input`, which is behind its byte order mark at byte `at` of the file. `big` tells whether the more significant byte
    /// comes first.
    pub(super) fn new(input: Box<dyn BufRead>, big: bool, at: u64) -> Self {
        Self { input, big, at, ready: Vec::new(), used: 0 }
    }

    /// Up to `most` units; fewer at the end.
    fn units(&mut self, most: u64) -> io::Result<Vec<u16>> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(2 * most).read_to_end(&mut bytes)?;
        let (pairs, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.wrong(pairs.len()));
        }
        Ok(pairs
            .iter()
            .map(|&pair| if self.big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
            .collect())
    }

    /// The error for the unit `index` units further on.
    fn wrong(&self, index: usize) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-16 at byte {}", self.at + 2 * index as u64))
    }
}

impl Read for Utf16 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.ready.len() {
            let mut units = self.units(4096)?;
            // A pair of surrogates is not torn apart.
            if units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit)) {
                units.extend(self.units(1)?);
            }
            let mut text = String::new();
            let mut index = 0;
            for letter in char::decode_utf16(units.iter().copied()) {
                let letter = letter.map_err(|_| self.wrong(index))?;
                index += letter.len_utf16();
                text.push(letter);
            }
            self.at += 2 * units.len() as u64;
            (self.ready, self.used) = (text.into_bytes(), 0);
        }
        let mut ready = self.ready.get(self.used..).unwrap_or_default();
        let count = ready.read(buffer)?;
        self.used += count;
        Ok(count)
    }
}
