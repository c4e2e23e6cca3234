//! A run as a single self-contained HTML page.

use serde_json::Value;

use crate::error::counted;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; } td { border-bottom: 1px solid var(--line); padding: .25rem 1rem .25rem 0; }
td:last-child { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
pre { background: var(--soft); padding: .8rem; border-radius: .5rem; white-space: pre-wrap; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } small { opacity: .7; }
";

/// The content of the page.
pub struct Page<'a> {
    /// The run's name.
    pub title: &'a str,
    /// Names and values in the summary.
    pub facts: &'a [(String, String)],
    /// The curves.
    pub curve_svg: &'a str,
    /// What the model wrote at certain steps.
    pub samples: &'a [Sample],
}

/// Text that the model wrote at a step.
pub struct Sample {
    /// Number of steps done.
    pub step: u64,
    /// Validation loss at that step, if known.
    pub val_loss: Option<f64>,
    /// The text.
    pub text: String,
}

/// Samples with the validation loss of the same step, from the lines of `metrics.jsonl`.
pub fn samples(lines: &[Value]) -> Vec<Sample> {
    let at = |line: &&Value, step: u64| line["step"].as_u64() == Some(step);
    let val_loss = |step: u64| lines.iter().filter(|line| at(line, step)).find_map(|line| line["val_loss"].as_f64());
    let sample = |line: &Value| {
        let step = line["step"].as_u64()?;
        Some(Sample { step: step + 1, val_loss: val_loss(step), text: line["sample"].as_str()?.to_string() })
    };
    lines.iter().filter_map(sample).collect()
}

/// Escapes text for HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            other => out.push(other),
        }
    }
    out
}

/// Names and values as table rows.
pub(super) fn rows(facts: &[(String, String)]) -> String {
    let row =
        |(name, value): &(String, String)| format!("<tr><td>{}</td><td>{}</td></tr>\n", escape(name), escape(value));
    facts.iter().map(row).collect()
}

/// The page's HTML.
pub fn html(page: &Page<'_>) -> String {
    let facts = rows(page.facts);
    let sample = |sample: &Sample| {
        let loss = sample.val_loss.map_or(String::new(), |loss| format!(" <small>validation loss {loss:.4}</small>"));
        format!("<h3>After {}{loss}</h3>\n<pre>{}</pre>\n", counted(sample.step, "step"), escape(&sample.text))
    };
    let mut samples: String = page.samples.iter().map(sample).collect();
    if !samples.is_empty() {
        samples.insert_str(0, "<h2>What the model writes as it learns</h2>\n");
    }
    let body = format!("<table>\n{facts}</table>\n<h2>Curves</h2>\n{}\n{samples}", page.curve_svg);
    document(page.title, "", &body)
}

/// A complete page: title, additional CSS (may be empty), and a body that is already HTML.
pub(super) fn document(title: &str, style: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::{Page, Sample, html};

    #[test]
    fn text_cannot_become_markup() {
        let sample = Sample { step: 7, val_loss: Some(1.5), text: "<script>alert('x') & more".into() };
        let facts = [("a<b".to_string(), "\"c\"".to_string())];
        let page = Page { title: "<run>", facts: &facts, curve_svg: "<svg/>", samples: &[sample] };
        let text = html(&page);
        assert!(text.contains("&lt;script&gt;alert(&#39;x&#39;) &amp; more") && !text.contains("<script>"));
        assert!(text.contains("a&lt;b") && text.contains("&quot;c&quot;") && text.contains("<svg/>"));
        assert!(!text.contains("http"), "nothing is fetched");
    }
}
