//! Positions grouped by token id, which the embedding's gradient uses instead of atomics.

/// Positions grouped by token id, so that the gradient of an embedding row is a sum in a fixed order by one invocation
/// instead of atomic additions: group g, of token `ids[g]`, is `order[starts[g]..starts[g + 1]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenGroups {
    /// All positions, by token id and then by position.
    pub order: Vec<u32>,
    /// Where each group begins in `order`, followed by the length of `order`; one more than `ids`.
    pub starts: Vec<u32>,
    /// The distinct token ids, ascending.
    pub ids: Vec<u32>,
}

impl TokenGroups {
    /// Groups the positions `0..tokens.len()` by a stable counting sort.
    pub fn new(tokens: &[u32]) -> Self {
        let mut counts = vec![0u32; tokens.iter().max().map_or(0, |&id| id as usize + 1)];
        tokens.iter().for_each(|&id| counts[id as usize] += 1);
        let (mut ids, mut starts, mut total) = (Vec::new(), Vec::new(), 0);
        // From here on, `counts` holds where the next position of each token goes.
        for (id, count) in counts.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            ids.push(id as u32);
            starts.push(total);
            total += std::mem::replace(count, total);
        }
        starts.push(total);
        let mut order = vec![0; tokens.len()];
        for (position, &id) in tokens.iter().enumerate() {
            let next = &mut counts[id as usize];
            order[*next as usize] = position as u32;
            *next += 1;
        }
        Self { order, starts, ids }
    }
}

#[cfg(test)]
mod tests {
    use super::TokenGroups;

    #[test]
    fn groups_are_sorted_by_token_then_position() {
        let groups = TokenGroups::new(&[7, 2, 7, 0, 2, 7]);
        assert_eq!(groups.ids, [0, 2, 7]);
        assert_eq!(groups.starts, [0, 1, 3, 6]);
        assert_eq!(groups.order, [3, 1, 4, 0, 2, 5]);
        assert_eq!(TokenGroups::new(&[]), TokenGroups { order: vec![], starts: vec![0], ids: vec![] });
    }
}
