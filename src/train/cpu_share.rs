//! How much of the machine's CPU time this process uses: on a software adapter, other ranks cannot have that time.

use web_time::Instant;

/// A measurement in progress.
pub struct CpuUsage {
    start: Instant,
    seconds: Option<f64>,
}

impl CpuUsage {
    /// Starts a measurement.
    pub fn start() -> Self {
        Self { start: Instant::now(), seconds: used() }
    }

    /// The share of all cores used since the start; `None` where the system does not report it.
    pub fn busy(&self) -> Option<f64> {
        let cores = std::thread::available_parallelism().ok()?.get() as f64;
        let used = used()? - self.seconds?;
        Some((used / (self.start.elapsed().as_secs_f64() * cores)).clamp(0.0, 1.0))
    }
}

/// Seconds of CPU time that this process has used so far: fields 14 and 15 of Linux's `/proc/self/stat`, in hundredths
/// of a second.
fn used() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, which may contain spaces.
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen() {
        let stretch = CpuUsage::start();
        let mut sum = 0.0f64;
        while stretch.start.elapsed().as_millis() < 200 {
            sum += sum.sin() + 1.0;
        }
        assert!(sum > 0.0 && stretch.busy().is_some_and(|busy| busy > 0.0 && busy <= 1.0), "{:?}", stretch.busy());
    }
}
