//! Distributes work: contiguous shares in the order of ranks.

use std::ops::Range;

/// The share of `count` items that `rank` of `size` gets. Shares are consecutive, cover every item once, and differ in
/// length by at most one.
pub fn share(count: usize, rank: usize, size: usize) -> Range<usize> {
    let edge = |rank: usize| (count as u128 * rank as u128 / size.max(1) as u128) as usize;
    edge(rank)..edge(rank + 1)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_cover_everything_once() {
        for (count, size) in [(12, 4), (7, 3), (2, 5), (0, 2), (5, 1)] {
            let all: Vec<_> = (0..size).flat_map(|rank| share(count, rank, size)).collect();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
            let sizes: Vec<_> = (0..size).map(|rank| share(count, rank, size).len()).collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
        }
    }
}
