//! A policy trained by reinforcement: killed and resumed, it is the same run; errors are explained.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{Place, english, pretrain};

/// Options in `more` replace those given here.
fn arguments<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let run = ["ppo", "--model", "base", "--out", out, "--lr", "0.003"];
    let given = |name: &&str| more.contains(name);
    let usual = [
        ["--prompts", "text.txt"],
        ["--judge", "pattern:e"],
        ["--batch", "8"],
        ["--accumulate", "2"],
        ["--prompt-tokens", "4"],
        ["--max-tokens", "6"],
        ["--normalise", "16"],
        ["--save-every", "2"],
        ["--sample-every", "1"],
        ["--steps", "9"],
    ];
    let usual: Vec<_> = usual.iter().filter(|[name, _]| !given(name)).flatten().copied().collect();
    [&run[..], &usual, &["--quiet", "--json"], more].concat()
}

/// The log without its times.
fn log(place: &Place, out: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(place.path(out).join("metrics.jsonl")).expect("metrics exist");
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let timeless = |mut line: Value| {
        if let Some(fields) = line.as_object_mut() {
            fields.remove("seconds");
        }
        line
    };
    lines.map(timeless).collect()
}

#[test]
fn a_killed_run_goes_on_bit_for_bit() {
    let place = Place::with_text(english());
    place.json(&pretrain("base", &["--steps", "20"]));
    let summary = place.json(&arguments("whole", &[]));
    assert_eq!((&summary["steps"], &summary["stopped"]), (&9.into(), &false.into()), "{summary}");
    assert!(summary["last"]["kl"].as_f64().is_some_and(f64::is_finite), "{summary}");

    let mut child = place.start(&arguments("killed", &[]));
    let start = Instant::now();
    let log_lines =
        || std::fs::read_to_string(place.path("killed/metrics.jsonl")).map_or(0, |text| text.lines().count());
    // Two lines per step: killed in the fourth step, after the checkpoint of the second.
    while log_lines() < 6 {
        assert!(start.elapsed() < Duration::from_secs(60), "no third step within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("the process can be killed");
    child.wait().expect("the process ends");
    place.json(&arguments("killed", &["--resume"]));
    assert_eq!(log(&place, "killed"), log(&place, "whole"));
    let weights = |out: &str| std::fs::read(place.path(out).join("checkpoint-00000009/model.safetensors"));
    assert!(weights("killed").expect("weights") == weights("whole").expect("weights"), "the last weights differ");
    let page = place.json(&["report", "whole", "--json"]);
    assert_eq!(page["steps"], 9, "{page}");

    let fails = |out: &str, more: &[&str], words: &str| {
        let message = place.failure(&arguments(out, more));
        assert!(message.contains(words), "{message}");
    };
    fails("whole", &[], "already holds a run");
    fails("whole", &["--steps", "10", "--resume"], "--steps 9, now it is 10");
    fails("other", &["--max-tokens", "60"], "--max-tokens 60: with prompt_tokens");
    fails("other", &["--judge", "oracle"], "--judge oracle: give lexicon");
    fails("other", &["--accumulate", "3"], "--batch 8: give a multiple of minibatches times accumulate, which is 3");
    fails("other", &["--prompts", "none.jsonl"], "none.jsonl: no such file");
    fails("other", &["--judge", "script:exit 3"], "the judge `exit 3` ended with");
    fails("other", &["--judge", "pattern:ΩΩ"], "the judge gives all of 16 answers the score 0");
    assert!(!place.path("other").join("metrics.jsonl").exists());
}

#[test]
fn adapters_learn_from_groups() {
    let place = Place::with_text(english());
    place.json(&pretrain("base", &["--steps", "20"]));
    let sums: String =
        (0..9).map(|i| format!("{{\"question\": \"{i} \", \"answer\": \"#### {}\"}}\n", i + 1)).collect();
    std::fs::write(place.path("sums.jsonl"), sums + "{}\n").expect("prompts");
    let run =
        ["grpo", "--model", "base", "--prompts", "sums.jsonl", "--judge", "exact", "--out", "run", "--group", "4"];
    let sizes = ["--batch", "8", "--max-tokens", "5", "--lora-rank", "2", "--steps", "3", "--json"];
    let kept = ["--save-every", "1", "--keep", "9"];
    let output = place.run(&[&run[..], &sizes, &kept].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("1 left out because it has no \"messages\""), "{stderr}");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("the only line of stdout is JSON");
    assert_eq!((&summary["prompts"], &summary["last"]["value_loss"]), (&9.into(), &0.0.into()), "{summary}");
    let last = || std::fs::read(place.path("run/checkpoint-00000003/adapter_model.safetensors")).expect("adapters");
    let whole = last();
    for step in [2, 3] {
        std::fs::remove_dir_all(place.path(&format!("run/checkpoint-{step:08}"))).expect("a checkpoint");
    }
    place.json(&[&run[..], &sizes, &kept, &["--resume"]].concat());
    assert!(last() == whole, "resumed after step 1");
}
