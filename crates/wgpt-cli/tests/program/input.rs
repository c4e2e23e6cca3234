//! Bad input gives a clear error, and nothing is lost.

use crate::program::{Place, TINY, english, pretrain};

/// The command must fail, and its message must contain all of these words.
fn says(place: &Place, arguments: &[&str], words: &[&str]) {
    let message = place.failure(arguments);
    for word in words {
        assert!(message.contains(word), "wgpt {arguments:?} says {message:?}, without {word:?}");
    }
}

#[test]
fn data_that_cannot_be_used() {
    let place = Place::with_text("");
    says(&place, &pretrain("out", &[]), &["text.txt", "empty"]);
    says(&place, &["pretrain", "--data", "nothing.txt", "--out", "out"], &["nothing.txt", "no such file"]);
    let place = Place::with_text(b"good so far \xff and then not");
    says(&place, &pretrain("out", &[]), &["text.txt", "not UTF-8 at byte 12"]);
    let place = Place::with_text("short");
    says(&place, &pretrain("out", &[]), &["window of context 16 takes 17", "--context"]);
}

#[test]
fn settings_that_make_no_sense() {
    let place = Place::with_text(english());

    let odd = ["pretrain", "--data", "text.txt", "--out", "out", "--heads", "5", "--width", "128"];
    says(&place, &odd, &["5 heads do not divide the width 128", "4 would"]);
    says(&place, &pretrain("out", &["--steps", "0"]), &["--steps 0"]);
    says(&place, &pretrain("out", &["--dropout", "1.5"]), &["--dropout 1.5"]);
    says(&place, &pretrain("out", &["--adapter", "no such gpu"]), &["no adapter matches 'no such gpu'", "0: "]);
    assert!(!place.path("out").join("checkpoint-00000000").exists());
}

#[test]
fn checkpoints_that_cannot_be_read() {
    let place = Place::with_text(english());
    place.json(&pretrain("out", &["--steps", "2"]));
    says(&place, &["merge", "--lora", "out", "--out", "merged"], &["out", "a whole model, not adapters"]);
    let generate = ["generate", "--model", "out", "--prompt", "Line", "--max-tokens", "4", "--json"];
    assert_eq!(place.json(&generate)["prompt_tokens"], 4);
    says(&place, &["generate", "--model", "absent"], &["absent", "no such file"]);
    says(&place, &["generate", "--model", "text.txt"], &["text.txt"]);
    for name in ["empty", "empty.gguf"] {
        std::fs::write(place.path(name), "").expect("a file");
        says(&place, &["generate", "--model", name], &[name, "the file is empty"]);
        says(&place, &["info", name], &[name, "the file is empty"]);
    }
    let none = ["generate", "--model", "out", "--prompt", "Line", "--max-tokens", "0"];
    let said = String::from_utf8_lossy(&place.run(&none).stderr).into_owned();
    assert!(said.trim_end().ends_with("tokens/s), 0 tokens"), "{said}");
    says(&place, &["generate", "--model", "out", "--prompt", "Ω"], &["Ω"]);
    says(&place, &["generate", "--model", "out", "--temperature", "-1"], &["--temperature"]);
    says(&place, &["eval", "--model", "out", "--text", "text.txt", "--context", "99"], &["--context 99", "16"]);

    let weights = place.path("out").join("checkpoint-00000002").join("model.safetensors");
    let bytes = std::fs::read(&weights).expect("the weights exist");
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).expect("the file is cut");
    says(&place, &generate, &["model.safetensors", "truncated"]);
    std::fs::write(&weights, b"something else entirely").expect("the file is replaced");
    says(&place, &generate, &["model.safetensors"]);
}

/// Old GGUF files do not say how their tokenizer splits words.
#[test]
fn what_a_file_does_not_say_is_said() {
    let place = Place::with_text(english());
    let talker = concat!(env!("CARGO_MANIFEST_DIR"), "/../../weights/talker.gguf");
    let mut bytes = std::fs::read(talker).expect("the model that ships with wgpt");
    for (key, other) in
        [("tokenizer.ggml.pre", "tokenizer.ggml.xxx"), ("tokenizer.huggingface.json", "tokenizer.huggingface.xxxx")]
    {
        let at = bytes.windows(key.len()).position(|part| part == key.as_bytes()).expect("the key is there");
        bytes[at..at + key.len()].copy_from_slice(other.as_bytes());
    }
    std::fs::write(place.path("old.gguf"), bytes).expect("a file");
    for model in ["old.gguf", talker] {
        let output = place.run(&["generate", "--model", model, "--prompt", "Hi", "--max-tokens", "1"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(said.contains("old.gguf: tokenizer.ggml.pre is missing"), model == "old.gguf", "{said}");
    }
    let info = place.json(&["info", "old.gguf", "--json"]);
    let remarks = info["remarks"].as_array().expect("remarks");
    assert!(
        remarks.iter().any(|remark| remark.as_str().is_some_and(|remark| remark.contains("ggml.pre is missing"))),
        "{info}"
    );
    assert!(remarks.contains(&"tokenizer.ggml.xxx is not used".into()), "{info}");
}

#[test]
fn runs_are_not_overwritten_nor_continued_with_other_settings() {
    let place = Place::with_text(english());
    place.json(&pretrain("out", &["--steps", "3"]));
    says(&place, &pretrain("out", &["--steps", "3"]), &["already holds a run", "--resume"]);
    says(
        &place,
        &pretrain("out", &["--steps", "3", "--resume", "--lr", "0.5"]),
        &["started with --lr 0.001, now it is 0.5", "--resume"],
    );
    says(&place, &pretrain("new", &["--steps", "3", "--resume"]), &["new", "no such file"]);
    assert_eq!(place.json(&pretrain("out", &["--steps", "3", "--resume"]))["step"], 3);
}

/// What a judge lacks is found before a model is loaded.
#[test]
fn judges_that_cannot_judge() {
    let place = Place::with_text(english());
    place.json(&pretrain("base", &["--steps", "2"]));
    std::fs::write(place.path("score.sh"), "#!/bin/sh\n").expect("a file");
    std::fs::write(place.path("asked.jsonl"), "{\"prompt\": \"Line\"}\n").expect("a file");
    let learn = |prompts, judge| {
        let given = ["ppo", "--model", "base", "--out", "out", "--adapter", "none", "--prompt-tokens", "4"];
        [&given[..], &["--max-tokens", "6", "--prompts", prompts, "--judge", judge]].concat()
    };
    says(
        &place,
        &learn("asked.jsonl", "exact"),
        &["`exact`", "the right answer to \"Line\"", "\"answer\" beside every"],
    );
    says(&place, &learn("text.txt", "exact"), &["`exact`", "\"answer\" beside every prompt"]);
    if cfg!(unix) {
        says(&place, &learn("asked.jsonl", "script:./score.sh"), &["./score.sh is not executable", "chmod +x"]);
        says(&place, &learn("asked.jsonl", "script:./absent.sh"), &["./absent.sh", "No such file"]);
    }
    says(&place, &learn("asked.jsonl", "length:4"), &["no adapter matches 'none'"]);
}

/// A file system of one mebibyte, if the machine allows creating one.
#[test]
fn a_full_disk_keeps_what_was_there() {
    let place = Place::with_text(english());
    let small = place.path("small");
    std::fs::create_dir(&small).expect("a folder");
    let mount = |arguments: &[&str]| {
        std::process::Command::new("mount").args(arguments).arg(&small).output().is_ok_and(|done| done.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=256k", "tmpfs"]) {
        eprintln!("skipped: a full disk (this user cannot mount a small file system)");
        return;
    }
    let ended = std::panic::catch_unwind(|| {
        let arguments: Vec<_> = ["pretrain", "--data", "text.txt", "--out", "small/run", "--steps", "4"]
            .iter()
            .chain(&["--save-every", "1", "--keep", "9"])
            .chain(TINY)
            .copied()
            .collect();
        says(&place, &arguments, &["No space left on device"]);
        let kept = place.json(&["generate", "--model", "small/run", "--prompt", "L", "--max-tokens", "2", "--json"]);
        assert_eq!(kept["tokens"].as_array().map(Vec::len), Some(2));
    });
    let _ = std::process::Command::new("umount").arg(&small).output();
    if let Err(reason) = ended {
        std::panic::resume_unwind(reason);
    }
}
