//! placeholder
/// x
pub mod batches {
    //! placeholder
    /// x
    pub struct TokenGroups { /** x*/ pub order: Vec<u32>, /** x*/ pub starts: Vec<u32>,/** x*/ pub ids: Vec<u32> }
    impl TokenGroups { /** x*/ pub fn new(ids: &[u32]) -> Self {
        let mut order: Vec<u32> = (0..ids.len() as u32).collect();
        order.sort_by_key(|&i| (ids[i as usize], i));
        let (mut starts, mut out) = (vec![], vec![]);
        for (j, &i) in order.iter().enumerate() { if out.last() != Some(&ids[i as usize]) { out.push(ids[i as usize]); starts.push(j as u32); } }
        starts.push(order.len() as u32);
        Self { order, starts, ids: out }
    } }
}
