//! A reward model trained on ratings in files: stopped and resumed, used for scoring, and given bad data.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::program::Place;

const ANIMALS: [&str; 8] = ["cow", "cat", "dog", "owl", "pig", "hen", "fox", "ant"];

/// Forty prompts for which the friendly answer is the better one.
fn pairs() -> String {
    let mut lines = String::new();
    for animal in ANIMALS {
        for place in ["barn", "wood", "lake", "hill", "town"] {
            let prompt = format!("is the {animal} at the {place}?");
            let line = json!({ "prompt": prompt, "chosen": "yes, thank you", "rejected": "no! go away" });
            let _ = writeln!(lines, "{line}");
        }
    }
    lines
}

/// A tiny model whose vocabulary has the needed letters, and the pairs in `pairs.jsonl`.
fn place() -> Place {
    let lines = pairs();
    let place = Place::with_text(format!("pairs\n{}", lines.repeat(4)));
    std::fs::write(place.path("pairs.jsonl"), lines).expect("the pairs are written");
    let arguments =
        ["pretrain", "--data", "text.txt", "--out", "base", "--steps", "2", "--layers", "1", "--heads", "2"];
    let sizes = ["--width", "32", "--context", "64", "--batch", "2", "--val-batches", "1", "--sample-tokens", "0"];
    place.json(&[&arguments[..], &sizes, &["--quiet", "--json"]].concat());
    place
}

const TRAIN: [&str; 12] = [
    "reward",
    "--data",
    "pairs.jsonl",
    "--lr",
    "0.005",
    "--batch",
    "8",
    "--epochs",
    "6",
    "--val-fraction",
    "0.2",
    "--json",
];

fn reward<'a>(more: &[&'a str]) -> Vec<&'a str> {
    TRAIN.iter().chain(more).copied().collect()
}

/// The scores of a file, line after line.
fn scores(place: &Place, model: &str, data: &str) -> Vec<Vec<f64>> {
    let output = place.json(&["reward", "score", "--model", model, "--data", data, "--json"]);
    let of = |line: &Value| line["scores"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    output["answers"].as_array().expect("answers").iter().map(of).collect()
}

#[test]
fn preferences_are_learned_resumed_and_judged_by() {
    let place = place();
    let done = place.json(&reward(&["--model", "base", "--out", "judge", "--save-every", "10", "--keep", "9"]));
    assert_eq!((&done["comparisons"], &done["held_out"], &done["prompts"]), (&json!(32), &json!(8), &json!(40)));
    assert_eq!((&done["stage"], &done["objective"], &done["step"]), (&json!("reward"), &json!("pairs"), &json!(24)));
    assert_eq!((&done["accuracy"], &done["evaluation"]["correct"]), (&json!(1.0), &json!(8)), "{done}");
    assert!(done["evaluation"]["interval"][0].as_f64().is_some_and(|low| low > 0.6 && low < 0.7), "{done}");
    let log = std::fs::read_to_string(place.path("judge/metrics.jsonl")).expect("metrics");
    assert!(log.lines().all(|line| line.contains(r#""stage":"reward""#) && line.contains(r#"accuracy":"#)), "{log}");

    // Scoring answers: the friendly one wins on a prompt that nobody rated, and the scale is that of training.
    let asked = json!({ "prompt": "is the hen at the sea?", "answers": ["no! go away", "yes, thank you"] });
    std::fs::write(place.path("asked.jsonl"), format!("{asked}\n")).expect("a question");
    let found = scores(&place, "judge", "asked.jsonl");
    assert!(found[0][1] > found[0][0] + 1.0, "{found:?}");
    let all: Vec<f64> = scores(&place, "judge", "pairs.jsonl").concat();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    let variance = all.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / all.len() as f64;
    assert!(all.len() == 80 && mean.abs() < 0.1 && (variance - 1.0).abs() < 0.2, "{mean} {variance}");

    // Resumed from the middle, it is the same run bit for bit.
    let last =
        |name: &str| std::fs::read(place.path("judge/checkpoint-00000024").join(name)).expect("the last checkpoint");
    let before = ["model.safetensors", "head.safetensors", "optimizer.safetensors"].map(last);
    for step in [20, 24] {
        std::fs::remove_dir_all(place.path("judge").join(format!("checkpoint-{step:08}"))).expect("a checkpoint");
    }
    place.json(&reward(&["--out", "judge", "--save-every", "10", "--resume"]));
    assert!(before == ["model.safetensors", "head.safetensors", "optimizer.safetensors"].map(last));
    let refused = place.failure(&reward(&["--out", "judge", "--resume", "--margin", "1"]));
    assert!(refused.contains("--margin 0"), "{refused}");

    // It scores a policy's answers after the whole question; a model without a head cannot score.
    let ppo = |judge| {
        let arguments = ["ppo", "--model", "base", "--prompts", "asked.jsonl", "--judge", judge, "--out", "policy"];
        let sizes = ["--steps", "2", "--batch", "4", "--max-tokens", "6", "--normalise", "8", "--quiet", "--json"];
        [&arguments[..], &sizes].concat()
    };
    let done = place.json(&ppo("reward:judge"));
    assert!(done["last"]["step"] == 1 && done["last"]["score"].as_f64().is_some_and(f64::is_finite), "{done}");
    std::fs::remove_dir_all(place.path("policy")).expect("the policy's run");
    // Two judges that always agree are one.
    let twice = place.json(&ppo("reward:judge,judge"));
    assert_eq!(twice["last"]["score"], done["last"]["score"], "{twice}");
    std::fs::remove_dir_all(place.path("policy")).expect("the policy's run");
    let refused = place.failure(&ppo("reward:judge,nowhere"));
    assert!(refused.contains("nowhere"), "{refused}");
    let refused = place.failure(&ppo("reward:base"));
    assert!(refused.contains("no head.safetensors"), "{refused}");

    // Adapters with a head, normalised on other texts.
    let lora = ["--model", "base", "--out", "light", "--lora-rank", "4", "--normalise-on", "asked.jsonl"];
    let done = place.json(&reward(&lora));
    assert_eq!((&done["accuracy"], &done["normalised"]["texts"]), (&json!(1.0), &json!(2)), "{done}");
    let found = scores(&place, "light", "asked.jsonl");
    assert!(
        (found[0][0] + 1.0).abs() < 1e-3 && (found[0][1] - 1.0).abs() < 1e-3,
        "two texts are at -1 and 1: {found:?}"
    );
    assert!(place.path("light/checkpoint-00000024/adapter_model.safetensors").is_file());

    // What two judges disagree about is worth less the more cautious one is.
    let cautious = |caution| {
        let done = place.json(&[&ppo("reward:judge,light")[..], &["--caution", caution]].concat());
        std::fs::remove_dir_all(place.path("policy")).expect("the policy's run");
        done["first"]["raw_score"].as_f64().expect("a score")
    };
    assert!(cautious("0") > cautious("2"));
    let refused = place.failure(&[&ppo("reward:judge")[..], &["--caution", "1"]].concat());
    assert!(refused.contains("several reward models"), "{refused}");
}

#[test]
fn data_is_read_as_what_it_says_and_mistakes_are_explained() {
    let place = place();
    let fails = |arguments: &[&str], words: &str| {
        let message = place.failure(arguments);
        assert!(message.contains(words), "{words:?} is not in {message}");
    };
    let write = |name: &str, text: &str| std::fs::write(place.path(name), text).expect("written");
    let run = |data, more: &[&str]| {
        let common = ["reward", "--model", "base", "--data", data, "--batch", "2", "--steps", "2", "--json"];
        place.json(&[&common[..], more].concat())
    };
    let (mut best, mut scored) = (String::new(), String::new());
    for (index, animal) in ANIMALS.iter().enumerate() {
        let prompt = format!("is the {animal} at home?");
        let _ = writeln!(best, "{}", json!({ "prompt": prompt, "answers": ["yes", "no", "go"], "best": index % 3 }));
        let _ = writeln!(scored, "{}", json!({ "prompt": prompt, "answer": "yes", "score": index }));
    }
    write("best.jsonl", &best);
    write("scored.jsonl", &scored);
    assert_eq!(run("best.jsonl", &["--out", "best"])["objective"], "best");
    assert_eq!(run("scored.jsonl", &["--out", "scored"])["objective"], "scores");
    place.json(&["feedback", "import", "best.jsonl", "--json"]);
    let common =
        ["reward", "--model", "base", "--feedback", "feedback.sqlite", "--objective", "pairs", "--out", "made"];
    let done = place.json(&[&common[..], &["--steps", "1", "--json"]].concat());
    assert_eq!(
        (done["comparisons"].as_u64(), done["held_out"].as_u64()),
        (Some(14), Some(2)),
        "three answers, two pairs"
    );

    let bad = "{\"prompt\": \"is it?\", \"chosen\": \"yes\", \"rejected\": \"yes\"}\nnonsense\n";
    let unknown = "{\"prompt\": \"is it?\", \"chosen\": \"Ω\", \"rejected\": \"yes\"}\n";
    write("bad.jsonl", bad);
    write("unknown.jsonl", unknown);
    let of = |data| ["reward", "--model", "base", "--data", data, "--out", "bad"];
    fails(&of("bad.jsonl"), "not a JSON object; first: line 2");
    fails(&of("unknown.jsonl"), "does not know a character of it; first: sample 1");
    fails(&of("none.jsonl"), "none.jsonl");
    fails(&["reward", "--model", "base", "--feedback", "none.sqlite", "--out", "bad"], "no such file");
    fails(&[&of("pairs.jsonl")[..], &["--objective", "scores"]].concat(), "no scores to learn from");
    fails(&[&of("pairs.jsonl")[..], &["--context", "65"]].concat(), "--context 65: give 2 to 64");
    fails(&[&of("pairs.jsonl")[..], &["--margin", "-1"]].concat(), "--margin");
    fails(&["reward", "score", "--model", "base", "--data", "pairs.jsonl"], "no reward model");
    assert!(!place.path("bad").exists(), "nothing was written");

    // A text that is too long keeps its end, and is counted.
    let long = json!({ "prompt": "is it? ".repeat(30), "chosen": "yes", "rejected": "no" });
    write("mixed.jsonl", &format!("{bad}{unknown}{}{long}\n", pairs()));
    let done = run("mixed.jsonl", &["--out", "mixed"]);
    assert_eq!((&done["truncated"], &done["prompts"], &done["left_out"]), (&json!(2), &json!(41), &json!(3)), "{done}");
}
