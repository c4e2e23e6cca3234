//! Texts side by side in rows of one width, each in a segment of its own, so that none attends to another.

use std::ops::Range;

use crate::{Result, gpu::Gpu, ops::embedding::Tokens};

/// Row widths are multiples of this: texts of nearly the same length then share the shapes of kernels.
const STEP: usize = 16;

/// The width of rows that hold texts of up to `longest` tokens, for a model with a context of `context`.
pub fn width(longest: usize, context: usize) -> usize {
    longest.max(1).next_multiple_of(STEP).min(context.max(1))
}

/// Places texts in rows.
struct RowFiller {
    width: usize,
    /// Number of positions used in each row.
    used: Vec<usize>,
}

impl RowFiller {
    /// Finds the first row with room for `length` positions; returns the row and the position in it.
    fn put(&mut self, length: usize) -> (usize, usize) {
        let row = self.used.iter().position(|used| used + length <= self.width).unwrap_or_else(|| {
            self.used.push(0);
            self.used.len() - 1
        });
        let start = self.used[row];
        self.used[row] += length;
        (row, start)
    }

    fn put_all(&mut self, lengths: &[usize]) {
        for length in lengths {
            self.put(*length);
        }
    }
}

/// Cuts a sequence of groups of texts, given by their lengths, into runs that take at most `most` rows each. A group
/// stays whole, if need be in a run of its own that takes more.
pub fn cut<'a>(groups: impl IntoIterator<Item = &'a [usize]>, width: usize, most: usize) -> Vec<Range<usize>> {
    let (mut runs, mut filler, mut first, mut count) = (Vec::new(), RowFiller { width, used: Vec::new() }, 0, 0);
    for (index, lengths) in groups.into_iter().enumerate() {
        filler.put_all(lengths);
        if filler.used.len() > most && index > first {
            runs.push(first..index);
            (filler.used, first) = (Vec::new(), index);
            filler.put_all(lengths);
        }
        count = index + 1;
    }
    if count > first {
        runs.push(first..count);
    }
    runs
}

/// Packed texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// `[rows, width]` token ids; 0 where a row is not full.
    pub inputs: Vec<u32>,
    /// `[rows, width]`: where in its row each token's text begins.
    pub starts: Vec<u32>,
    /// The flat position of each text's last token.
    pub lasts: Vec<u32>,
    /// Number of rows.
    pub rows: usize,
    /// Tokens per row.
    pub width: usize,
}

impl Rows {
    /// Packs texts of 1 to `width` tokens in their order, each into the first row with room.
    pub fn new(texts: &[&[u32]], width: usize) -> Self {
        let mut filler = RowFiller { width, used: Vec::new() };
        let places: Vec<_> = texts.iter().map(|text| filler.put(text.len())).collect();
        let rows = filler.used.len();
        let mut inputs = vec![0; rows * width];
        // Each unused position attends only to itself, which costs the least in attention.
        let mut starts: Vec<u32> = (0..rows * width).map(|at| (at % width.max(1)) as u32).collect();
        let mut lasts = Vec::with_capacity(texts.len());
        for (text, (row, start)) in texts.iter().zip(places) {
            let at = row * width + start;
            inputs[at..at + text.len()].copy_from_slice(text);
            starts[at..at + text.len()].fill(start as u32);
            lasts.push((at + text.len()) as u32 - 1);
        }
        Self { inputs, starts, lasts, rows, width }
    }

    /// Uploads the rows to the GPU; `trains` as in [`Tokens::with_segments`].
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn tokens(&self, gpu: &Gpu, trains: bool) -> Result<Tokens> {
        Tokens::with_segments(gpu, &self.inputs, &self.starts, self.rows, self.width, trains)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_whole_and_ends_where_it_says() {
        let texts: Vec<Vec<u32>> = (1..30u32).map(|i| vec![i; 1 + i as usize * 7 % 11]).collect();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let rows = Rows::new(&texts, 12);
        assert!(rows.rows * 12 < texts.iter().map(|text| text.len()).sum::<usize>() * 5 / 4, "{}", rows.rows);
        for (text, last) in texts.iter().zip(&rows.lasts) {
            let last = *last as usize;
            assert_eq!(&rows.inputs[last + 1 - text.len()..=last], *text);
            let start = last + 1 - text.len();
            assert!(rows.starts[start..=last].iter().all(|begin| *begin as usize == start % 12));
        }
        assert_eq!((width(5, 100), width(17, 100), width(99, 100)), (16, 32, 100));
    }

    #[test]
    fn groups_stay_whole() {
        let groups: [&[usize]; 6] = [&[4, 4], &[3], &[8, 8, 8], &[1, 1], &[7], &[2]];
        let runs = cut(groups, 8, 2);
        assert_eq!(runs, [0..2, 2..3, 3..6]);
        assert!(cut(std::iter::empty(), 8, 2).is_empty());
        assert_eq!(cut(groups, 8, 99), std::iter::once(0..6).collect::<Vec<_>>());
    }
}
