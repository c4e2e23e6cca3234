//! The table that `--profile` prints.

use wgpt::gpu::profile::Entry;

/// Kernels by time with their shares.
pub fn table(rows: &[(String, Entry)]) -> String {
    let total: f64 = rows.iter().map(|(_, entry)| entry.seconds).sum();
    let mut text = format!("{:>10} {:>6} {:>10} {:>10}  kernel\n", "ms", "share", "dispatches", "us each");
    for (label, entry) in rows {
        let each = entry.seconds / entry.dispatches.max(1) as f64;
        text += &format!(
            "{:>10.2} {:>5.1}% {:>10} {:>10.1}  {label}\n",
            entry.seconds * 1e3,
            100.0 * entry.seconds / total.max(1e-12),
            entry.dispatches,
            each * 1e6
        );
    }
    text + &format!("{:>10.2} total\n", total * 1e3)
}
