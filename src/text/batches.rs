//! Batches of windows.
#![expect(clippy::indexing_slicing, reason = "windows and rows that this module has cut itself")]

use super::TokenFile;
use crate::{Result, random};

/// The random stream of [`validation_windows`]; training streams are chosen by the caller.
const VALIDATION: u64 = u64::from_le_bytes(*b"validate");

/// The target of a position that does not count towards the loss; the kernels use the same value.
pub const IGNORED: u32 = u32::MAX;

/// `rows` windows of `context` tokens, row after row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// [rows, context] token ids.
    pub inputs: Vec<u32>,
    /// [rows, context]: the token after each input, or [`IGNORED`].
    pub targets: Vec<u32>,
    /// [rows, context]: where in its row each token's text begins; if [`None`], each row is one text.
    pub starts: Option<Vec<u32>>,
    /// Number of windows.
    pub rows: usize,
    /// Tokens per window.
    pub context: usize,
}

/// Batch number `counter`, with windows whose starts are uniform over `0..len - context` (as in nanoGPT). Row r is
/// sample `counter * rows + r` of the sequence (seed, stream), so two batches of 6 hold the same windows as one of 12.
///
/// # Errors
/// [`Error::TooFewTokens`](crate::Error::TooFewTokens) if the file is shorter than one window.
pub fn random_batch(
    file: &TokenFile,
    seed: u64,
    stream: u64,
    counter: u64,
    rows: usize,
    context: usize,
) -> Result<Batch> {
    file.check_window(context)?;
    let mut batch = Batch { inputs: Vec::new(), targets: Vec::new(), starts: None, rows, context };
    for row in 0..rows as u64 {
        let sample = counter.wrapping_mul(rows as u64).wrapping_add(row);
        let start = random::below(seed, stream, sample, (file.len() - context) as u64) as usize;
        let window = file.slice(start, context + 1)?;
        batch.inputs.extend(&window[..context]);
        batch.targets.extend(&window[1..]);
    }
    Ok(batch)
}

/// Rows `wanted` of `all`, numbered across batches, regrouped into batches no larger than the first of `all`. A batch
/// only holds rows of equal context.
pub fn rows(all: &[Batch], wanted: std::ops::Range<usize>) -> Vec<Batch> {
    let most = all.first().map_or(1, |batch| batch.rows);
    let mut cut: Vec<Batch> = Vec::new();
    let mut row = 0;
    for batch in all {
        for own in 0..batch.rows {
            row += 1;
            if !wanted.contains(&(row - 1)) {
                continue;
            }
            let fits = |last: &&mut Batch| {
                last.rows < most && last.context == batch.context && last.starts.is_some() == batch.starts.is_some()
            };
            let place = own * batch.context..(own + 1) * batch.context;
            let empty =
                Batch { inputs: Vec::new(), targets: Vec::new(), starts: None, rows: 0, context: batch.context };
            if cut.last_mut().filter(fits).is_none() {
                cut.push(Batch { starts: batch.starts.as_ref().map(|_| Vec::new()), ..empty });
            }
            let Some(last) = cut.last_mut() else { continue };
            last.inputs.extend(&batch.inputs[place.clone()]);
            last.targets.extend(&batch.targets[place.clone()]);
            if let (Some(to), Some(from)) = (&mut last.starts, &batch.starts) {
                to.extend(&from[place]);
            }
            last.rows += 1;
        }
    }
    cut
}

/// The fixed set of windows over which the validation loss is averaged. It depends on the seed and sizes only, not on
/// what else a run draws.
///
/// # Errors
/// Each item may be an error of [`random_batch`].
pub fn validation_windows(
    file: &TokenFile,
    seed: u64,
    batches: usize,
    rows: usize,
    context: usize,
) -> impl Iterator<Item = Result<Batch>> {
    (0..batches as u64).map(move |counter| random_batch(file, seed, VALIDATION, counter, rows, context))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::Tokenizer, *};

    fn file(dir: &tempfile::TempDir, text: &str) -> TokenFile {
        let data = dir.path().join("t.txt");
        fs::write(&data, text).unwrap();
        let tokenizer = Tokenizer::chars_of([text]).unwrap();
        super::super::shards::prepare(&data, &tokenizer, dir.path(), 0.0, &mut |_, _| {}).unwrap().train
    }

    #[test]
    fn windows_cover_every_start_and_targets_follow_inputs() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(&dir, "abcdefgh");
        let batch = random_batch(&file, 1, 0, 0, 200, 3).unwrap();
        let mut starts: Vec<u32> = batch.inputs.chunks(3).map(|w| w[0]).collect();
        batch.inputs.iter().zip(&batch.targets).for_each(|(i, t)| assert_eq!(i + 1, *t));
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts, [0, 1, 2, 3, 4]);
        assert_eq!(random_batch(&file, 1, 0, 5, 1, 7).unwrap().targets, [1, 2, 3, 4, 5, 6, 7]);
        assert!(random_batch(&file, 1, 0, 5, 1, 8).unwrap_err().to_string().contains("8 tokens"));
    }

    #[test]
    fn shares_of_a_step_are_its_rows() {
        let batch = |first: u32, rows: usize| Batch {
            inputs: (first..first + 2 * rows as u32).collect(),
            targets: (first..first + 2 * rows as u32).map(|id| id + 100).collect(),
            starts: Some(vec![0; 2 * rows]),
            rows,
            context: 2,
        };
        let all = [batch(0, 3), batch(6, 3)];
        assert_eq!(rows(&all, 0..6), all);
        let middle = rows(&all, 1..5);
        assert_eq!(middle.iter().map(|batch| batch.rows).collect::<Vec<_>>(), [3, 1]);
        assert_eq!((&middle[0].inputs[..], &middle[1].inputs[..]), (&[2, 3, 4, 5, 6, 7][..], &[8, 9][..]));
        assert_eq!((middle[0].targets[5], middle[0].starts.as_ref().unwrap().len()), (107, 6));
        assert!(rows(&all, 6..6).is_empty());
    }

    #[test]
    fn small_batches_add_up_to_large_ones() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(&dir, &"the quick brown fox".repeat(30));
        let one = random_batch(&file, 9, 4, 3, 12, 8).unwrap();
        let halves = [6, 7].map(|c| random_batch(&file, 9, 4, c, 6, 8).unwrap().inputs);
        assert_eq!(one.inputs, halves.concat());
        let fixed = |seed| validation_windows(&file, seed, 3, 2, 8).collect::<Result<Vec<_>>>().unwrap();
        assert_eq!((fixed(1).len(), fixed(1) == fixed(1), fixed(1) == fixed(2)), (3, true, false));
    }
}
