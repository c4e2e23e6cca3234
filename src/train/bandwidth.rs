//! How fast gradients travel from this adapter to other ranks and back: the rates that a forecast needs.

use web_time::Instant;

use crate::{
    Result,
    gpu::{Gpu, race::median},
    parallel::{Group, Wire},
    tensor::Tensor,
};

/// Elements in each timed copy.
const COPY: usize = 1 << 20;
/// Elements in a message so small that its time is all latency.
const SMALL: usize = 1;
/// Number of timed copies and of timed messages; the medians are used.
const ROUNDS: usize = 9;

/// Bytes per second from GPU to host memory, and back, in copies as large as a bucket of gradients.
///
/// # Errors
/// Returns the driver's errors.
pub async fn copies(gpu: &Gpu) -> Result<(f64, f64)> {
    let tensor = Tensor::zeros(gpu, &[COPY])?;
    let (mut down, mut up) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        gpu.finish().await?;
        let start = Instant::now();
        let values = tensor.to_f32().await?;
        down.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        tensor.write(&values)?;
        gpu.finish().await?;
        up.push(start.elapsed().as_secs_f64());
    }
    let bytes = 4.0 * COPY as f64;
    Ok((bytes / median(&mut down), bytes / median(&mut up)))
}

/// Bytes per second that a rank sends in a sum over all ranks of `group`, and the latency in seconds, both as
/// [`crate::parallel::forecast`] counts them.
///
/// # Errors
/// [`crate::Error::Rank`].
pub fn sums(group: &Group) -> Result<(f64, f64)> {
    let time = |count: usize| -> Result<f64> {
        let mut seconds = Vec::new();
        for _ in 0..ROUNDS {
            group.meet()?;
            let start = Instant::now();
            group.sum(vec![1.0; count], Wire::F32).wait()?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(median(&mut seconds))
    };
    let (small, large) = (time(SMALL)?, time(COPY)?);
    let ranks = group.size() as f64;
    let sent = 2.0 * (ranks - 1.0) / ranks * 4.0 * COPY as f64;
    Ok((sent / (large - small).max(1e-9), small / (2.0 * ranks.log2().ceil()).max(1.0)))
}
