//! Sums all ranks' gradients bucket by bucket while the backward pass is still running.
//!
//! The last layers' gradients are complete first. Once all gradients of a bucket are complete, they are copied to the
//! host and sent to the other ranks, while the GPU computes the gradients of earlier layers.

use std::collections::{HashMap, VecDeque};

use super::{Group, Reply};
use crate::{
    Result,
    gpu::{readback::PendingCopy, wait},
    optim::Optimizer,
    tape::Gradients,
    tensor::Tensor,
};

/// Approximate number of values in a bucket: large enough to amortise the cost of a call, small enough to start early.
pub(super) const BUCKET: usize = 1 << 20;

/// Parameters whose gradients are contiguous.
struct Bucket {
    weights: Vec<Tensor>,
    gradients: Vec<Tensor>,
    /// All of their gradients as one flat tensor.
    whole: Tensor,
    /// Number of parameters whose gradients are not complete yet.
    open: usize,
}

/// Adds up gradients over ranks.
pub struct GradientSum {
    group: Group,
    buckets: Vec<Bucket>,
    /// The bucket of each parameter, by id.
    place: HashMap<u64, usize>,
    /// The first bucket that has not been started; all ranks start buckets in this order.
    next: usize,
    reading: VecDeque<PendingCopy>,
    adding: Vec<Reply<Vec<f32>>>,
}

impl GradientSum {
    /// Sums the gradients of the parameters that `optimizer` updates.
    pub fn new(group: &Group, optimizer: &Optimizer) -> Self {
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut first: Option<Tensor> = None;
        for (weight, gradient) in optimizer.in_memory() {
            let through = first.as_ref().and_then(|first| first.through(gradient));
            match (buckets.last_mut(), through) {
                (Some(bucket), Some(whole)) if whole.elements() <= BUCKET => {
                    bucket.weights.push(weight.clone());
                    bucket.gradients.push(gradient.clone());
                    bucket.whole = whole;
                }
                _ => {
                    first = Some(gradient.clone());
                    let (weights, gradients) = (vec![weight.clone()], vec![gradient.clone()]);
                    buckets.push(Bucket { weights, gradients, whole: gradient.clone(), open: 0 });
                }
            }
        }
        // Parameters are in the order of the forward pass.
        buckets.reverse();
        let of = |(index, bucket): (usize, &Bucket)| {
            bucket.weights.iter().map(|weight| (weight.id(), index)).collect::<Vec<_>>()
        };
        let place = buckets.iter().enumerate().flat_map(of).collect();
        let mut all =
            Self { group: group.clone(), buckets, place, next: 0, reading: VecDeque::new(), adding: Vec::new() };
        all.reset();
        all
    }

    fn reset(&mut self) {
        self.next = 0;
        self.buckets.iter_mut().for_each(|bucket| bucket.open = bucket.weights.len());
    }

    /// Records that the gradient of the parameter `id` is complete.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn complete(&mut self, gradients: &Gradients, id: u64) -> Result<()> {
        let Some(place) = self.place.get(&id) else { return Ok(()) };
        let open = &mut self.buckets[*place].open;
        *open = open.saturating_sub(1);
        while self.buckets.get(self.next).is_some_and(|bucket| bucket.open == 0) {
            self.begin(gradients)?;
        }
        while self.reading.front().is_some_and(PendingCopy::is_here) {
            self.pass_on()?;
        }
        Ok(())
    }

    /// Starts copying the next bucket to the host.
    fn begin(&mut self, gradients: &Gradients) -> Result<()> {
        let bucket = &self.buckets[self.next];
        for (weight, gradient) in bucket.weights.iter().zip(&bucket.gradients) {
            // Parameters that no gradient reached have gradient 0.
            if gradients.get(weight).is_none() {
                gradient.clear();
            }
        }
        self.reading.push_back(bucket.whole.read().hand_over()?);
        self.next += 1;
        Ok(())
    }

    /// Passes the bucket whose copy was started first on to the other ranks.
    fn pass_on(&mut self) -> Result<()> {
        let Some(bucket) = self.reading.pop_front() else { return Ok(()) };
        let values = wait::now(bucket.numbers::<f32>())?;
        self.adding.push(self.group.sum(values, self.group.options().wire));
        Ok(())
    }

    /// Replaces all gradients by their sums over ranks.
    ///
    /// # Errors
    /// [`crate::Error::Rank`], and the driver's errors.
    pub fn finish(&mut self, gradients: &mut Gradients) -> Result<()> {
        while self.next < self.buckets.len() {
            self.begin(gradients)?;
        }
        while !self.reading.is_empty() {
            self.pass_on()?;
        }
        for (sum, bucket) in std::mem::take(&mut self.adding).into_iter().zip(&self.buckets) {
            bucket.whole.write(&sum.wait()?)?;
            // Uploads wait in a ring until they are submitted.
            bucket.whole.gpu().submit()?;
            bucket.weights.iter().for_each(|weight| gradients.wrote(weight));
        }
        self.reset();
        Ok(())
    }
}
