//! The end of the story in a terminal.

use super::{super::terminal, Told};

/// Characters of an answer that are shown.
const WIDTH: usize = 76;

/// Every stage's figures, then the same prompts with the answers after each stage.
pub(super) fn words(told: &[Told]) -> String {
    let number = |value: Option<f64>, digits: usize| value.map_or(String::new(), |value| format!("{value:.digits$}"));
    let share = |value: Option<f64>| value.map_or(String::new(), |value| format!("{:.0} %", 100.0 * value));
    let head = ["stage", "val loss", "accuracy", "reward", "as taught", "KL", "seconds"];
    let mut lines = vec![row(head.map(String::from))];
    for stage in told {
        let Told { val_loss, accuracy, reward, as_taught, kl, seconds, .. } = stage;
        let reward = reward.map_or(String::new(), |reward| format!("{reward:+.2}"));
        let cells = [number(*val_loss, 3), share(*accuracy), reward, share(*as_taught), number(*kl, 2)];
        let [a, b, c, d, e] = cells;
        lines.push(row([stage.stage.clone(), a, b, c, d, e, format!("{seconds:.0}")]));
    }
    let answered: Vec<_> = told.iter().filter(|stage| !stage.samples.is_empty()).collect();
    for index in 0..answered.first().map_or(0, |stage| stage.samples.len()) {
        lines.push(format!("\n{}", terminal::harmless(&answered[0].samples[index].prompt)));
        for stage in &answered {
            let Some(sample) = stage.samples.get(index) else { continue };
            let answer = terminal::beginning(&sample.answer, WIDTH);
            lines.push(format!("  {:<9}{:>+6.2}  {answer}", stage.stage, sample.reward));
        }
    }
    lines.join("\n")
}

fn row(cells: [String; 7]) -> String {
    let [stage, others @ ..] = cells;
    let others: String = others.iter().map(|cell| format!("{cell:>11}")).collect();
    format!("{stage:<9}{others}").trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::{super::Sample, *};

    #[test]
    fn every_stage_answers_the_same_prompts() {
        let sample = |answer: &str, reward| Sample { prompt: "Hi".into(), answer: answer.into(), reward };
        let stage = |name: &str, samples| Told { stage: name.into(), reward: Some(0.5), samples, ..Told::default() };
        let told = [
            stage("sft", vec![sample("Go\u{1b} away.", -1.25)]),
            stage("reward", vec![]),
            stage("ppo", vec![sample("Hello!", 0.75)]),
        ];
        let text = words(&told);
        assert!(text.contains("\nHi\n  sft       -1.25  Go\u{fffd} away.\n  ppo       +0.75  Hello!"), "{text}");
        assert_eq!(text.lines().count(), 4 + 4);
    }
}
