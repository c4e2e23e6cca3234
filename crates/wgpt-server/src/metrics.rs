//! The metrics at `/metrics`, in Prometheus' text format.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use wgpt::infer::engine::EngineStatistics;

/// Upper bounds of the histograms' buckets, in seconds.
const CLASSES: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// A histogram of times.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; CLASSES.len() + 1],
    microseconds: AtomicU64,
}

impl Histogram {
    /// Counts a time.
    pub fn observe(&self, time: Duration) {
        let class = CLASSES.iter().position(|end| time.as_secs_f64() <= *end).unwrap_or(CLASSES.len());
        self.counts[class].fetch_add(1, Relaxed);
        self.microseconds.fetch_add(time.as_micros() as u64, Relaxed);
    }

    fn write(&self, text: &mut String, name: &str, help: &str) {
        head(text, name, "histogram", help);
        let mut total = 0;
        for (index, count) in self.counts.iter().enumerate() {
            total += count.load(Relaxed);
            let end = CLASSES.get(index).map_or("+Inf".to_string(), f64::to_string);
            let _ = writeln!(text, "{name}_bucket{{le=\"{end}\"}} {total}");
        }
        let _ = writeln!(text, "{name}_sum {}", self.microseconds.load(Relaxed) as f64 / 1e6);
        let _ = writeln!(text, "{name}_count {total}");
    }
}

/// Counters of the server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// From the arrival of a request to its first token.
    pub first_token: Histogram,
    /// From one token to the next.
    pub next_token: Histogram,
    /// By route and status.
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    /// Number of open connections.
    pub connections: AtomicU64,
    /// Number of connections refused because there were too many.
    pub turned_away: AtomicU64,
}

impl Metrics {
    /// Counts an answered request.
    pub fn answered(&self, route: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *requests.entry((route.to_string(), status)).or_default() += 1;
    }

    /// Requests answered so far.
    pub fn total(&self) -> u64 {
        self.requests.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).values().sum()
    }

    /// All metrics as text; `queued` is the number of requests waiting to enter the engine.
    pub fn text(&self, figures: &EngineStatistics, queued: usize) -> String {
        let mut text = String::new();
        head(&mut text, "wgpt_requests_total", "counter", "Requests answered, by route and status.");
        for ((route, status), count) in self.requests.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter() {
            let _ = writeln!(text, "wgpt_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}");
        }
        let waiting = figures.waiting as u64 + queued as u64;
        let gauge = "gauge";
        let counter = "counter";
        for (name, kind, help, value) in [
            ("wgpt_prompt_tokens_total", counter, "Prompt tokens.", figures.prompt_tokens),
            ("wgpt_cached_tokens_total", counter, "Prompt tokens found in the cache.", figures.cached_tokens),
            ("wgpt_generated_tokens_total", counter, "Tokens generated.", figures.generated_tokens),
            ("wgpt_finished_total", counter, "Texts finished.", figures.finished),
            ("wgpt_cancelled_total", counter, "Texts ended early: by a stop text or by the client.", figures.cancelled),
            ("wgpt_failed_total", counter, "Texts that failed.", figures.failed),
            ("wgpt_preempted_total", counter, "Times that a text had to give up its pages.", figures.preempted),
            ("wgpt_steps_total", counter, "Steps of the engine.", figures.steps),
            ("wgpt_running", gauge, "Texts being generated.", figures.running as u64),
            ("wgpt_waiting", gauge, "Texts waiting.", waiting),
            ("wgpt_pages_used", gauge, "Pages of the cache in use.", figures.pages_used as u64),
            ("wgpt_pages", gauge, "Pages of the cache.", figures.pages as u64),
            ("wgpt_connections", gauge, "Open connections.", self.connections.load(Relaxed)),
            ("wgpt_turned_away_total", counter, "Connections refused over the limit.", self.turned_away.load(Relaxed)),
        ] {
            head(&mut text, name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
        self.first_token.write(&mut text, "wgpt_first_token_seconds", "Time from a request to its first token.");
        self.next_token.write(&mut text, "wgpt_next_token_seconds", "Time from one token to the next.");
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_add_up() {
        let metrics = Metrics::default();
        for milliseconds in [0, 3, 3, 70_000] {
            metrics.first_token.observe(Duration::from_millis(milliseconds));
        }
        metrics.answered("/v1/models", 200);
        metrics.answered("/v1/models", 200);
        let text = metrics.text(&EngineStatistics { running: 3, waiting: 1, ..EngineStatistics::default() }, 2);
        for line in [
            "wgpt_first_token_seconds_bucket{le=\"0.001\"} 1",
            "wgpt_first_token_seconds_bucket{le=\"0.005\"} 3",
            "wgpt_first_token_seconds_bucket{le=\"+Inf\"} 4",
            "wgpt_first_token_seconds_sum 70.006",
            "wgpt_requests_total{route=\"/v1/models\",status=\"200\"} 2",
            "wgpt_running 3",
            "wgpt_waiting 3",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in {text}");
        }
    }
}
