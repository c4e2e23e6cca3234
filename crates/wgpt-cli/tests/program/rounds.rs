//! Rounds of ratings and PPO, and the best of several answers: figures, files, resuming, and what is refused.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::program::Place;

const ANIMALS: [(&str, &str); 5] = [("cow", "moo"), ("cat", "meow"), ("dog", "woof"), ("owl", "hoot"), ("pig", "oink")];
const ASKED: [&str; 6] = ["{}?", "a {}?", "the {}?", "{} says?", "my {}?", "one {}?"];

/// A chat model in `talker` that answers some questions well and some not, and its questions with the expected answers in
/// `asked.jsonl`.
fn talker() -> Place {
    let text: String = (0..200).map(|i| ANIMALS[i % 5]).fold(String::new(), |mut text, (animal, sound)| {
        let _ = writeln!(text, "User: my {animal} says {sound}? Assistant: the one, no.");
        text
    });
    let place = Place::with_text(text);
    let (mut chats, mut asked) = (String::new(), String::new());
    for (animal, sound) in ANIMALS {
        for (index, words) in ASKED.iter().enumerate() {
            let question = words.replace("{}", animal);
            let _ = writeln!(asked, "{}", json!({ "prompt": question, "answer": sound }));
            let answer = if index % 2 == 0 { sound } else { "no" };
            let said = [("user", question.as_str()), ("assistant", answer)];
            let messages = said.map(|(role, content)| json!({ "role": role, "content": content }));
            let _ = writeln!(chats, "{}", json!({ "messages": messages }));
        }
    }
    std::fs::write(place.path("chats.jsonl"), chats).expect("conversations");
    std::fs::write(place.path("asked.jsonl"), asked).expect("questions");
    let pretrain =
        ["pretrain", "--data", "text.txt", "--out", "base", "--steps", "20", "--layers", "1", "--heads", "2"];
    let sizes = ["--width", "32", "--context", "64", "--batch", "4", "--val-batches", "1", "--sample-tokens", "0"];
    place.json(&[&pretrain[..], &sizes, &["--quiet", "--json"]].concat());
    let sft = ["sft", "--model", "base", "--data", "chats.jsonl", "--out", "talker", "--lr", "0.003", "--batch", "4"];
    place.json(&[&sft[..], &["--steps", "300", "--val-fraction", "0", "--quiet", "--json"]].concat());
    place
}

fn rounds<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let usual = ["loop", "--model", "talker", "--prompts", "asked.jsonl", "--out", out, "--max-tokens", "8", "--json"];
    let sizes = ["--rated", "24", "--steps", "3", "--batch", "8", "--lr", "0.0005", "--reward-lr", "0.005"];
    [&usual[..], &sizes, more].concat()
}

/// Names and gold scores of the stages.
fn scores(output: &Value) -> Vec<(String, Option<f64>)> {
    let stages = output["stages"].as_array().expect("stages").iter();
    stages.map(|stage| (stage["stage"].as_str().unwrap_or_default().into(), stage["gold"]["mean"].as_f64())).collect()
}

#[test]
fn rounds_are_reported_resumed_and_lengthened() {
    let place = talker();
    let judged = ["--ratings", "contains", "--rounds", "2", "--reward-models", "2"];
    let output = place.json(&rounds("out", &judged));
    let names: Vec<_> = scores(&output).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["base", "reward1", "ppo1", "reward2", "ppo2"]);
    for stage in output["stages"].as_array().expect("stages") {
        let rates = stage["stage"].as_str().is_some_and(|name| name.starts_with("reward"));
        assert_eq!(stage["gold"]["mean"].is_number(), !rates, "{stage}");
        assert_eq!(stage["reward"].is_number(), !rates, "{stage}");
        assert_eq!(stage["kl"].is_number(), !rates && stage["stage"] != "base", "{stage}");
    }
    assert!(output["stages"][1]["accuracy"].is_number() && output["gain"]["low"].is_number(), "{output}");
    for folder in ["reward1", "reward1.2", "reward2", "reward2.2", "ppo1", "ppo2"] {
        assert!(place.path("out").join(folder).join("metrics.jsonl").is_file(), "{folder}");
    }
    let page = std::fs::read_to_string(place.path("out/report.html")).expect("the report");
    assert_eq!(page.matches("<svg").count(), 1 + 4);
    let step = std::fs::read_to_string(place.path("out/ppo2/metrics.jsonl")).expect("metrics");
    assert!(step.contains(r#""gold":"#), "{step}");
    let ratings = std::fs::read_to_string(place.path("out/ratings2.jsonl")).expect("ratings");
    assert!(ratings.lines().count() > 4, "{ratings}");

    let picture = place.json(&["report", "out/ppo1", "out/ppo2", "--out", "both.svg", "--json"]);
    let svg = std::fs::read_to_string(place.path("both.svg")).expect("the picture");
    assert!(picture["runs"] == 2 && svg.contains("gold score") && svg.contains("ppo2"), "{picture}");
    let whole = place.failure(&["report", "out"]);
    assert!(whole.contains("the folder of a loop") && whole.contains("wgpt report out/ppo1"), "{whole}");
    let said = place.failure(&["report", "out/ppo1", "talker"]);
    assert!(said.contains("talker has no scores"), "{said}");

    // Interrupted in the middle, it ends as it would have; and there may be more rounds.
    let record = place.path("out/rounds.json");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&record).expect("the record")).expect("JSON");
    kept["stages"].as_array_mut().expect("stages").truncate(3);
    std::fs::write(&record, kept.to_string()).expect("the record");
    for folder in ["reward2", "reward2.2", "ppo2"] {
        std::fs::remove_dir_all(place.path("out").join(folder)).expect("a stage");
    }
    let resumed = place.json(&rounds("out", &[&judged[..], &["--resume"]].concat()));
    assert_eq!(scores(&resumed), scores(&output));
    let longer = ["--ratings", "contains", "--rounds", "3", "--reward-models", "2", "--resume"];
    let longer = place.json(&rounds("out", &longer));
    assert_eq!(scores(&longer)[..5], scores(&output)[..]);
    assert_eq!(longer["stages"].as_array().map(Vec::len), Some(7));

    let fails = |more: &[&str], words: &str| {
        let message = place.failure(&rounds("out", more));
        assert!(message.contains(words), "{message}");
    };
    fails(&judged, "add --resume");
    fails(&[&judged[..], &["--resume", "--caution", "1"]].concat(), "--caution 0.5, now it is 1");
    fails(&["--ratings", "contains", "--reward-models", "2", "--rounds", "1", "--resume"], "has 3 already");
    fails(&["--ratings", "contains", "--target-kl", "0"], "--target-kl 0: give a positive number");
    fails(&["--ratings", "contains", "--caution", "1"], "--reward-models 2 or more");
    fails(&["--ratings", "reward:nowhere"], "nowhere");
    std::fs::write(place.path("empty.jsonl"), "{}\n").expect("a file");
    fails(&["--ratings", "empty.jsonl"], "holds no ratings");
    fails(&["--ratings", "none.jsonl"], "no such file of ratings");
    fails(&["--ratings", "oracle"], "give lexicon");
    fails(&["--ratings", "people", "--gold", "oracle"], "--gold oracle: give lexicon");
    fails(&["--ratings", "contains", "--held-out", "text.txt"], "is a text");
    fails(&["--ratings", "contains", "--rounds", "0"], "--rounds 0");
    fails(&["--ratings", "contains", "--prompt-tokens", "60"], "--prompt-tokens 60: give 1 to 56");
}

#[test]
fn ratings_come_from_files_and_equal_ones_teach_nothing() {
    let place = talker();
    let mut pairs = String::new();
    for (animal, sound) in ANIMALS {
        let _ = writeln!(pairs, "{}", json!({ "prompt": format!("a {animal}?"), "chosen": sound, "rejected": "no" }));
        let _ = writeln!(pairs, "{}", json!({ "prompt": format!("{animal}?"), "chosen": sound, "rejected": "no" }));
    }
    std::fs::write(place.path("pairs.jsonl"), pairs).expect("ratings");
    let output = place.json(&rounds("file", &["--ratings", "pairs.jsonl", "--rounds", "1"]));
    assert!(scores(&output).iter().all(|(_, gold)| gold.is_none()), "nobody knows good answers: {output}");
    assert!(output["stages"][2]["reward"].is_number() && output["gain"].is_null(), "{output}");
    // What a file held when its round began stays in the round's own file.
    let kept = std::fs::read_to_string(place.path("file/ratings1.jsonl")).expect("ratings");
    assert_eq!(kept.lines().count(), 10);
    let said = place.failure(&rounds("equal", &["--ratings", "pattern:ΩΩ", "--rounds", "1"]));
    assert!(said.contains("the same score"), "{said}");
}

#[test]
fn the_best_of_several_answers_is_better_and_can_be_learned() {
    let place = talker();
    let usual = ["best-of", "--model", "talker", "--prompts", "asked.jsonl", "--max-tokens", "8", "--json"];
    let best = |more: &[&str]| place.json(&[&usual[..], more].concat());
    let output = best(&["--judge", "contains", "--gold", "length:4", "--samples", "4", "--out", "best.jsonl"]);
    let rows = output["best_of"].as_array().expect("rows");
    let sizes: Vec<_> = rows.iter().filter_map(|row| row["n"].as_u64()).collect();
    let scores: Vec<_> = rows.iter().filter_map(|row| row["score"]["mean"].as_f64()).collect();
    assert_eq!(sizes, [1, 2, 4]);
    assert!(scores[0] < scores[1] && scores[1] < scores[2], "{scores:?}");
    assert!(rows[2]["kl"].as_f64().is_some_and(|kl| (kl - (4_f64.ln() - 0.75)).abs() < 1e-12), "{output}");
    assert!(rows[0]["gold"]["mean"].is_number(), "{output}");
    let kept = std::fs::read_to_string(place.path("best.jsonl")).expect("the best answers");
    // Prompts all of whose answers are cut off are left out.
    assert!(kept.lines().count() > 15, "{kept}");
    assert!(kept.contains(r#"{"content":"cow?","role":"user"}"#), "{kept}");
    let learn = ["sft", "--model", "talker", "--data", "best.jsonl", "--out", "better", "--steps", "2", "--json"];
    assert_eq!(place.json(&learn)["conversations"], kept.lines().count());
    let fails = |more: &[&str], words: &str| {
        let message = place.failure(&[&usual[..], more].concat());
        assert!(message.contains(words), "{message}");
    };
    fails(&["--judge", "contains", "--samples", "0"], "--samples 0");
    fails(&["--judge", "exact", "--prompts", "chats.jsonl"], "cannot be used multiple times");
    std::fs::write(place.path("unknown.jsonl"), "{\"prompt\":\"cow?\"}\n").expect("a question");
    let long = ["best-of", "--model", "talker", "--prompts", "unknown.jsonl", "--judge", "length:4"];
    let said = place.failure(&long);
    assert!(said.contains("--max-tokens 64: leaves no room for prompts"), "{said}");
    let unknown = [&long[..5], &["--judge", "contains", "--max-tokens", "8"]].concat();
    let said = place.failure(&unknown);
    assert!(said.contains("`contains`") && said.contains("give \"answer\" beside every prompt"), "{said}");
}
