//! `wgpt dpo` learns preferences, with and without adapters, and explains what cannot be used.

use std::{fmt::Write, io::Write as _};

use serde_json::Value;

use crate::program::Place;

/// Twelve prompts: "yes" is preferred to "no".
fn preferences() -> String {
    let mut lines = String::new();
    for one in ["a", "b", "c", "d"] {
        for two in ["e", "f", "g"] {
            let _ = writeln!(lines, r#"{{"prompt":"{one} or {two}?","chosen":"yes {one}","rejected":"no {two}"}}"#);
        }
    }
    lines
}

/// A model that was only pretrained: it continues a prompt without a chat template.
fn pretrained(preferences: &str) -> Place {
    let place = Place::with_text("a or b? yes, no, c or d: e f g\n".repeat(60));
    std::fs::write(place.path("pairs.jsonl"), preferences).expect("the preferences are written");
    let arguments =
        ["pretrain", "--data", "text.txt", "--out", "base", "--steps", "10", "--layers", "1", "--heads", "2"];
    let sizes = ["--width", "16", "--context", "32", "--batch", "4", "--val-batches", "1", "--sample-tokens", "0"];
    place.json(&[&arguments[..], &sizes, &["--quiet", "--json"]].concat());
    place
}

const DPO: &[&str] = &["dpo", "--model", "base", "--quiet", "--json", "--batch", "4", "--sample-tokens", "0"];

fn close(value: &Value, expected: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - expected).abs() < 1e-6)
}

#[test]
fn preferences_are_learned_and_a_run_goes_on_bit_for_bit() {
    let place = pretrained(&preferences());
    for (kind, adapters, lr) in [("whole", &[][..], "0.01"), ("adapters", &["--lora-rank", "4"], "0.05")] {
        let common =
            ["--data", "pairs.jsonl", "--lr", lr, "--steps", "30", "--save-every", "10", "--val-fraction", "0.2"];
        let dpo = |out: &str, more: &[&str]| place.json(&[DPO, &common, adapters, &["--out", out], more].concat());
        let done = dpo(kind, &[]);
        assert!(close(&done["first_loss"], std::f64::consts::LN_2), "policy is reference: {done}");
        assert_eq!((&done["pairs"], &done["held_out_pairs"], &done["step"]), (&10.into(), &2.into(), &30.into()));
        // Adapters cannot change the head, whose weights are small in such a model, so they get less far.
        let far = if adapters.is_empty() { 0.45 } else { 0.67 };
        assert!(done["train_loss"].as_f64().is_some_and(|loss| loss < far), "{done}");
        assert_eq!(done["val_accuracy"], 1.0, "{done}");
        assert!(done["val_accuracy_low"].as_f64().is_some_and(|low| low < 0.9), "two pairs are few: {done}");
        assert!(place.path(kind).join("loss.svg").exists());

        let file = if adapters.is_empty() { "model.safetensors" } else { "adapter_model.safetensors" };
        let weights = |out: &str| {
            std::fs::read(place.path(out).join("checkpoint-00000030").join(file)).expect("the last checkpoint")
        };
        let again = format!("{kind}-again");
        dpo(&again, &["--keep", "9"]);
        for step in [20, 30] {
            std::fs::remove_dir_all(place.path(&again).join(format!("checkpoint-{step:08}"))).expect("a checkpoint");
        }
        dpo(&again, &["--resume"]);
        assert!(weights(&again) == weights(kind), "{kind}: resumed after step 10");
        assert_eq!(place.losses(&again), place.losses(kind));
        let other = place.failure(&[DPO, &common, adapters, &["--out", &again, "--resume", "--beta", "0.5"]].concat());
        assert!(other.contains("--beta 0.1"), "{other}");
    }
}

#[test]
fn preferences_come_through_a_pipe_or_from_a_database() {
    let place = pretrained(&preferences());
    let last = |out: &str| {
        std::fs::read(place.path(out).join("checkpoint-00000003/adapter_model.safetensors"))
            .expect("the last checkpoint")
    };
    let more = ["--steps", "3", "--lora-rank", "2"];
    place.json(&[DPO, &more, &["--data", "pairs.jsonl", "--out", "file"]].concat());
    place.json(&["feedback", "import", "pairs.jsonl", "--feedback", "f.sqlite", "--quiet", "--json"]);
    place.json(&[DPO, &more, &["--feedback", "f.sqlite", "--out", "database"]].concat());
    assert!(last("database") == last("file"), "the same preferences give the same bits");

    let mut child = place.talk(&[DPO, &more, &["--data", "-", "--out", "pipe"]].concat());
    child.stdin.take().expect("a pipe").write_all(preferences().as_bytes()).expect("it is read");
    let output = child.wait_with_output().expect("wgpt ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(last("pipe") == last("file"));
}

#[test]
fn broken_preferences_are_counted_and_explained() {
    let long = "a ".repeat(40);
    let broken = format!(
        "{}\n{}\nnonsense\n{}\n{}\n{}\n",
        r#"{"prompt":"a?","chosen":"yes","rejected":"yes"}"#,
        r#"{"prompt":"a?","answer":"yes","score":3}"#,
        r#"{"prompt":"a?","chosen":"Ω","rejected":"no"}"#,
        format_args!(r#"{{"prompt":"a?","chosen":"{long}","rejected":"no"}}"#),
        r#"{"chosen":"yes","rejected":"no"}"#,
    );
    let place = pretrained(&broken);
    let dpo = [DPO, &["--data", "pairs.jsonl", "--out", "run", "--steps", "1"]].concat();
    let message = place.failure(&dpo);
    for words in [
        "no preference to learn from",
        "1 equal answers (chosen equal to rejected); first: line 1",
        "1 scores give no order; first: line 2",
        "1 not a JSON object; first: line 3",
        "1 the tokenizer does not know a character of it; first: preference 1",
        "1 an answer alone does not fit the context; first: preference 2",
    ] {
        assert!(message.contains(words), "{words:?} is not in {message}");
    }
    assert!(!place.path("run").exists(), "nothing was written");

    // Among good lines, bad ones are left out, and a long prompt loses its beginning.
    let cut = format!(r#"{{"prompt":"{long}","chosen":"yes","rejected":"no"}}"#);
    std::fs::write(place.path("pairs.jsonl"), format!("{broken}{}{cut}\n", preferences()))
        .expect("the data is written");
    let done = place.json(&dpo);
    assert_eq!((&done["truncated"], &done["unusable"].as_array().map(Vec::len)), (&1.into(), &Some(2)), "{done}");
    assert_eq!(done["mistakes"].as_array().map(Vec::len), Some(3), "{done}");

    let fails = |more: &[&str], words: &str| {
        let message = place.failure(&[DPO, more].concat());
        assert!(message.contains(words), "{message}");
    };
    fails(&["--out", "new"], "--feedback");
    fails(&["--data", "none.jsonl", "--out", "new"], "none.jsonl");
    fails(&["--feedback", "none.sqlite", "--out", "new"], "none.sqlite");
    fails(&["--data", "pairs.jsonl", "--out", "new", "--beta", "0"], "--beta 0");
    fails(&["--data", "pairs.jsonl", "--out", "new", "--lora-rank", "99"], "LoRA rank 99: give 1 to 16");
    fails(&["--data", "pairs.jsonl", "--out", "run"], "already holds a run");
}
