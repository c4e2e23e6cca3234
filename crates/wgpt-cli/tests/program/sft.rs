//! A model learns to answer by fine-tuning, and data that cannot be used is explained.

use std::fmt::Write;

use crate::program::Place;

const ANIMALS: [(&str, &str); 5] = [("cow", "moo"), ("cat", "meow"), ("dog", "woof"), ("owl", "hoot"), ("pig", "oink")];

/// Thirty conversations: six ways to ask five animals.
fn conversations() -> String {
    let mut lines = String::new();
    for (animal, sound) in ANIMALS {
        for question in ["{}?", "a {}?", "the {}?", "{} says?", "my {}?", "one {}?"] {
            let question = question.replace("{}", animal);
            let user = format!(r#"{{"role":"user","content":"{question}"}}"#);
            let _ = writeln!(lines, r#"{{"messages":[{user},{{"role":"assistant","content":"{sound}"}}]}}"#);
        }
    }
    lines
}

/// A text with every character that the conversations use.
fn text() -> String {
    let sentence = |i: usize| {
        let (animal, sound) = ANIMALS[i % 5];
        format!("User: my {animal} says {sound}? Assistant: the one.\n")
    };
    (0..200).map(sentence).collect()
}

fn pretrained(chats: &str) -> Place {
    let place = Place::with_text(text());
    std::fs::write(place.path("chats.jsonl"), chats).expect("the conversations are written");
    let arguments =
        ["pretrain", "--data", "text.txt", "--out", "base", "--steps", "20", "--layers", "2", "--heads", "2"];
    let sizes = ["--width", "32", "--context", "64", "--batch", "4", "--val-batches", "1", "--sample-tokens", "0"];
    place.json(&[&arguments[..], &sizes, &["--quiet", "--json"]].concat());
    place
}

#[test]
fn a_tiny_model_learns_to_answer() {
    let place = pretrained(&conversations());
    let sft = |out: &'static str, more: &[&'static str]| {
        let common =
            ["sft", "--model", "base", "--data", "chats.jsonl", "--out", out, "--lr", "0.003", "--quiet", "--json"];
        let sizes = ["--batch", "4", "--steps", "250", "--val-fraction", "0.1", "--save-every", "100"];
        place.run(&[&common[..], &sizes, more].concat())
    };
    let done = sft("talker", &[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&done.stdout).expect("the only line of stdout is JSON");
    assert_eq!((&summary["conversations"], &summary["step"]), (&30.into(), &250.into()), "{summary}");
    assert!(summary["val_loss"].as_f64().is_some_and(|loss| loss < 0.4), "{summary}");
    for (animal, sound) in ANIMALS {
        let question = format!("the {animal}?");
        let arguments = ["chat", "talker", "--prompt", &question, "--temperature", "0", "--max-tokens", "12", "--json"];
        let answer = place.json(&arguments);
        assert_eq!((&answer["content"], &answer["finish"]), (&sound.into(), &"stop".into()), "{question}");
    }

    // Stopped at a checkpoint and resumed, it is the same run; another data file is refused.
    let last =
        |out: &str| std::fs::read(place.path(out).join("checkpoint-00000250/model.safetensors")).expect("weights");
    assert!(sft("again", &["--keep", "9"]).status.success());
    assert!(last("again") == last("talker"), "the same seed gives the same bits");
    for step in [200, 250] {
        std::fs::remove_dir_all(place.path("again").join(format!("checkpoint-{step:08}"))).expect("a checkpoint");
    }
    let resumed = sft("again", &["--resume"]);
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    assert!(last("again") == last("talker"), "resumed after step 100");
    let shorter: String = conversations().lines().skip(1).map(|line| format!("{line}\n")).collect();
    std::fs::write(place.path("chats.jsonl"), shorter).expect("other data");
    let refused = sft("again", &["--resume"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("other content of --data"), "the data is not the run's");
}

#[test]
fn adapters_are_taught_alone_and_merge_into_their_base() {
    let place = pretrained(&conversations());
    let sft = |out: &str, more: &[&str]| {
        let common =
            ["sft", "--model", "base", "--data", "chats.jsonl", "--out", out, "--lr", "0.02", "--quiet", "--json"];
        let sizes = ["--batch", "4", "--steps", "60", "--save-every", "20", "--sample-tokens", "0"];
        place.json(&[&common[..], &sizes, &["--lora-rank", "8", "--checkpoint-activations"], more].concat())
    };
    let done = sft("run", &[]);
    let (first, last) = (done["first_loss"].as_f64(), done["train_loss"].as_f64());
    // After twenty steps of pretraining, the head's weights are small, and adapters cannot change them.
    assert!(last.zip(first).is_some_and(|(last, first)| last < 0.94 * first), "{done}");
    let folder = place.path("run").join("checkpoint-00000060");
    assert!(folder.join("tokenizer_config.json").exists(), "the chat template goes with the adapters");
    assert!(folder.join("adapter_model.safetensors").exists() && !folder.join("model.safetensors").exists());

    place.json(&["merge", "--lora", "run", "--out", "merged", "--quiet", "--json"]);
    for question in ["the cow?", "a pig?"] {
        let chat = |model| {
            let say = ["chat", model, "--prompt", question, "--temperature", "0", "--max-tokens", "8", "--json"];
            let answer = place.json(&say);
            (answer["content"].clone(), answer["prompt_tokens"].clone())
        };
        assert_eq!(chat("run"), chat("merged"), "{question}: what the adapters were taught goes with them");
    }

    sft("again", &["--keep", "9"]);
    for step in [40, 60] {
        std::fs::remove_dir_all(place.path("again").join(format!("checkpoint-{step:08}"))).expect("a checkpoint");
    }
    sft("again", &["--resume"]);
    let last = |out: &str| {
        std::fs::read(place.path(out).join("checkpoint-00000060/adapter_model.safetensors")).expect("adapters")
    };
    assert!(last("again") == last("run"), "resumed after step 20");
    let whole = ["sft", "--data", "chats.jsonl", "--out", "again", "--resume", "--lr", "0.02", "--batch", "4"];
    let message = place.failure(&[&whole[..], &["--steps", "60"]].concat());
    assert!(message.contains("--lora-rank "), "{message}");
    let chained = ["sft", "--model", "run", "--data", "chats.jsonl", "--out", "chain", "--lora-rank", "2"];
    assert!(place.failure(&chained).contains("`wgpt merge`"), "bases do not form chains");
}

#[test]
fn broken_conversations_are_counted_and_explained() {
    let broken = r#"{"messages":[{"role":"robot","content":"hi"}]}
{"messages":[{"role":"user","content":"cow?"},{"role":"assistant","content":" "}]}
{"messages":
{"messages":[{"role":"user","content":"cow?"},{"role":"assistant","content":"ΩΩ"}]}
"#;
    let long = format!(r#"{{"messages":[{{"role":"user","content":"{}"}},"#, "cow ".repeat(40));
    let long = format!("{long}{}\n", r#"{"role":"assistant","content":"moo"}]}"#);
    let cut = format!(
        r#"{{"messages":[{{"role":"user","content":"cow?"}},{{"role":"assistant","content":"{}"}}]}}"#,
        "moo ".repeat(40)
    );
    let place = pretrained(&format!("{broken}{long}"));
    let sft = ["sft", "--model", "base", "--data", "chats.jsonl", "--out", "run", "--steps", "2", "--json"];
    let message = place.failure(&sft);
    for words in [
        "no conversation to learn from",
        "1 left out because a role is not system, user or assistant (first in line 1: \"robot\")",
        "an answer of the assistant is empty (first in line 2",
        "not JSON (first in line 3",
        "the tokenizer does not know a character of it (first in line 4",
        "no answer begins within the context (first in line 5",
    ] {
        assert!(message.contains(words), "{words:?} is not in {message}");
    }
    assert!(!place.path("run").exists(), "nothing was written");

    // Among good lines, bad ones are left out, and a long answer is cut. A single conversation is trained on, not held
    // out.
    let good = conversations().lines().next().unwrap_or_default().to_string();
    std::fs::write(place.path("chats.jsonl"), format!("{broken}{long}{good}\n{cut}\n")).expect("the data is written");
    let output = place.run(&sft);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("1 cut at the window's end (first in line 7)"), "{stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let summary: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap_or_default()).expect("JSON");
    assert_eq!((&summary["conversations"], &summary["truncated"]), (&2.into(), &1.into()), "{summary}");
    assert_eq!(summary["left_out"].as_array().map(Vec::len), Some(5), "{summary}");
    assert!(summary["train_loss"].as_f64().is_some_and(f64::is_finite), "{summary}");

    let fails = |arguments: &[&str], words: &str| {
        let message = place.failure(arguments);
        assert!(message.contains(words), "{message}");
    };
    fails(&sft, "already holds a run");
    fails(&["sft", "--model", "base", "--data", "none.jsonl"], "none.jsonl: no such file");
    fails(&["sft", "--model", "nowhere", "--data", "chats.jsonl"], "nowhere");
    fails(&["sft", "--model", "base", "--data", "chats.jsonl", "--context", "65"], "--context 65: give 2 to 64");
    fails(&["sft", "--model", "base", "--data", "chats.jsonl", "--lr", "0"], "--lr 0");
}

/// The file's fault is not blamed on the learning rate, and the run that began with it keeps nothing of it.
#[test]
fn a_model_with_a_broken_weight_is_said_to_be_broken() {
    let place = pretrained(&conversations());
    let file = place.path("base/checkpoint-00000020/model.safetensors");
    let mut bytes = std::fs::read(&file).expect("the weights");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let tensors: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).expect("a header");
    let start = tensors["blocks.1.mlp.up.weight"]["data_offsets"][0].as_u64().expect("an offset") as usize;
    bytes[8 + header + start..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&file, bytes).expect("the broken weights");
    let place = &place;
    let fails = |arguments: &[&str], expected: &str| {
        let done = place.run(arguments);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && said.contains(expected), "{said}");
        assert!(!said.contains("--lr"), "{said}");
    };
    fails(
        &[
            "sft",
            "--model",
            "base",
            "--data",
            "chats.jsonl",
            "--out",
            "broken",
            "--steps",
            "3",
            "--batch",
            "4",
            "--quiet",
        ],
        "training stopped at step 0: the loss is NaN: blocks.1.mlp.up.weight holds numbers that are not finite, as it did \
         when the model was loaded",
    );
    let broken = "are not numbers: blocks.1.mlp.up.weight holds numbers that are not finite";
    fails(&["eval", "--model", "base", "--text", "text.txt", "--quiet"], broken);
    fails(&["embed", "base", "--text", "my", "--quiet"], broken);
    fails(
        &["generate", "--model", "base", "--prompt", "my", "--quiet"],
        "the model's scores are not numbers: blocks.1.mlp.up.weight holds numbers that are not finite",
    );
}
