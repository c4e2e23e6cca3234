//! The figures of all rounds as a table and as curves.

use serde_json::json;

use super::gold::Gold;
use wgpt::{
    Result,
    report::{
        panels::{self, Panel},
        timeline::Overview,
    },
};

/// The figures of a model after a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// The stage that made it.
    pub name: String,
    pub gold: Option<Gold>,
    /// Mean reward of its answers according to the last reward models.
    pub reward: Option<f64>,
    /// KL of the round in nats per answer.
    pub kl: Option<f64>,
    /// Held-out accuracy of the reward models that it was trained against.
    pub accuracy: Option<f64>,
}

/// The overview of the models before the first round and after each; `about` says what the gold score is, and `words`
/// writes it.
pub(crate) fn overview(rounds: &[Figures], words: impl Fn(&Gold) -> String, about: &str) -> Result<Overview> {
    let (mut facts, mut lines, mut kl) = (Vec::new(), Vec::new(), 0.0);
    for (step, Figures { name, gold, reward, kl: of_round, accuracy }) in rounds.iter().enumerate() {
        kl += of_round.unwrap_or_default();
        let mean = gold.map(|gold| gold.mean);
        lines.push(json!({ "step": step, "gold": mean, "reward": reward, "kl": kl, "accuracy": accuracy }));
        let gold = gold.map(|gold| format!("gold score {}", words(&gold)));
        let reward = reward.map(|reward| format!("reward {reward:+.2}"));
        facts.push((name.clone(), [gold, reward].into_iter().flatten().collect::<Vec<_>>().join(", ")));
    }
    let panel = |key, title| Panel { key, title, mark: None };
    let curves = panels::draw(
        &lines,
        &[
            panel("gold", "gold score on held-out prompts"),
            panel("reward", "reward by the last reward model"),
            panel("kl", "sum of the rounds' KLs (nats per answer)"),
            panel("accuracy", "held-out accuracy of the round's reward model"),
        ],
    )?;
    let about = format!("0 is the model before the first round, then one step for each round. {about}");
    Ok(Overview { title: "Round after round".into(), about, facts, curves })
}
