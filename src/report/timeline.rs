//! Several consecutive runs as a single self-contained HTML page.

use serde_json::Value;

use super::{page, panels};
use crate::Result;

const STYLE: &str = "
table.answers td { vertical-align: top; } td.reward { text-align: right; white-space: nowrap; }
.low { color: #d9480f; } .high { color: #2b8a3e; } section { border-top: 1px solid var(--line); margin-top: 2rem; }
@media (prefers-color-scheme: dark) { .low { color: #ff922b; } .high { color: #69db7c; } }
";

/// What several runs have in common.
pub struct Overview {
    /// Its heading.
    pub title: String,
    /// What the figures mean.
    pub about: String,
    /// Names and values.
    pub facts: Vec<(String, String)>,
    /// Curves over the runs, as SVG.
    pub curves: String,
}

/// A run on the page.
pub struct Chapter {
    /// Its name.
    pub name: String,
    /// What happens in it.
    pub about: String,
    /// Names and values.
    pub facts: Vec<(String, String)>,
    /// The lines of its `metrics.jsonl`; none if nothing was trained.
    pub lines: Vec<Value>,
    /// The model's answers after the run: the same prompts in the same order for every run that has any.
    pub answers: Vec<Answer>,
}

/// An answer and its reward.
pub struct Answer {
    /// The prompt.
    pub prompt: String,
    /// The answer's text.
    pub answer: String,
    /// Its reward.
    pub reward: f32,
}

/// The page: first the overview, then the answers side by side, then each run with its curves.
///
/// # Errors
/// [`crate::Error::Drawing`] if a curve cannot be drawn.
pub fn html(title: &str, overview: &Overview, chapters: &[Chapter]) -> Result<String> {
    let answered: Vec<_> = chapters.iter().filter(|chapter| !chapter.answers.is_empty()).collect();
    let Overview { title: heading, about, facts, curves } = overview;
    let (heading, about, facts) = (page::escape(heading), page::escape(about), page::rows(facts));
    let mut body = format!("<h2>{heading}</h2>\n<p>{about}</p>\n<table>\n{facts}</table>\n{curves}\n");
    body += "<h2>The same questions after each stage</h2>\n";
    for index in 0..answered.first().map_or(0, |chapter| chapter.answers.len()) {
        body += &format!("<h3>{}</h3>\n<table class=\"answers\">\n", page::escape(&answered[0].answers[index].prompt));
        for (chapter, answer) in answered.iter().filter_map(|chapter| Some((chapter, chapter.answers.get(index)?))) {
            let class = if answer.reward < 0.0 { "low" } else { "high" };
            body += &format!(
                "<tr><td>{}</td><td class=\"reward {class}\">{:+.2}</td><td>{}</td></tr>\n",
                page::escape(&chapter.name),
                answer.reward,
                page::escape(&answer.answer)
            );
        }
        body += "</table>\n";
    }
    for chapter in chapters {
        let curves = if chapter.lines.is_empty() { String::new() } else { panels::of_run(&chapter.lines)? };
        body += &format!(
            "<section>\n<h2>{}</h2>\n<p>{}</p>\n<table>\n{}</table>\n{curves}\n</section>\n",
            page::escape(&chapter.name),
            page::escape(&chapter.about),
            page::rows(&chapter.facts)
        );
    }
    Ok(page::document(title, STYLE, &body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_story_shows_answers_and_curves_and_no_markup_of_others() {
        let answer = |text: &str, reward| Answer { prompt: "<b>?".into(), answer: text.into(), reward };
        let chapter = |name: &str, line, answers| Chapter {
            name: name.into(),
            about: "a & b".into(),
            facts: vec![("x".into(), "<1>".into())],
            lines: vec![line],
            answers,
        };
        let chapters = [
            chapter("sft", json!({ "step": 0, "train_loss": 2.0 }), vec![answer("<script>", -1.0)]),
            chapter("ppo", json!({ "step": 0, "score": 0.5, "kl": 1.0 }), vec![answer("Hello!", 0.5)]),
        ];
        let facts = vec![("gold".into(), "> 60 %".into())];
        let overview = Overview { title: "Rounds".into(), about: "All.".into(), facts, curves: String::new() };
        let text = html("story", &overview, &chapters).unwrap();
        assert!(text.contains("<p>All.</p>") && text.contains("&gt; 60 %"));
        assert!(!text.contains("<script>") && text.contains("&lt;script&gt;") && text.contains("&lt;b&gt;?"));
        assert!(text.contains("low\">-1.00") && text.contains("high\">+0.50"));
        assert_eq!(text.matches("<svg").count(), 2);
    }
}
