//! A killed run continues where it was, bit for bit.

use std::time::{Duration, Instant};

use wgpt::random;

use crate::program::{Place, english, pretrain, send};

const STEPS: &str = "400";

#[test]
fn twenty_kills_change_nothing() {
    let place = Place::with_text(english());
    let settings = ["--steps", STEPS, "--save-every", "7", "--dropout", "0.1", "--val-every", "50"];
    place.json(&pretrain("whole", &settings));
    let resumed: Vec<_> = settings.iter().copied().chain(["--resume"]).collect();

    let start = Instant::now();
    let mut kills = 0;
    while kills < 20 {
        let fresh = !place.path("killed").join("metrics.jsonl").exists();
        let mut child = place.start(&pretrain("killed", if fresh { &settings } else { &resumed }));
        // From a run that has only just started to one well under way, after a checkpoint or two.
        let wait = 150 + random::below(7, 0, kills, 900);
        std::thread::sleep(Duration::from_millis(wait));
        let over = child.try_wait().expect("the process can be asked").is_some();
        child.kill().expect("the process can be killed");
        child.wait().expect("the process ends");
        kills += 1;
        if place.path("killed").join("metrics.jsonl").exists() {
            let model = place.json(&["tokenize", "--model", "killed", "--text", "Line", "--json"]);
            assert_eq!(model["ids"].as_array().map(Vec::len), Some(4), "after kill {kills}");
        }
        if over && last_step(&place.losses("killed")) + 1 == STEPS.parse().unwrap_or(0) {
            // It finished before the kill: start over, so that all twenty kills hit a running process.
            std::fs::remove_dir_all(place.path("killed")).expect("the run is removed");
        }
        assert!(start.elapsed() < Duration::from_secs(300), "{kills} kills took five minutes");
    }
    let end = if place.path("killed").join("metrics.jsonl").exists() { &resumed[..] } else { &settings[..] };
    let summary = place.json(&pretrain("killed", end));
    assert_eq!(summary["step"].to_string(), STEPS);
    assert_eq!(place.losses("killed"), place.losses("whole"));
    let weights = |run: &str| {
        let folder = place.path(run).join(format!("checkpoint-{:08}", STEPS.parse::<u32>().unwrap_or(0)));
        std::fs::read(folder.join("model.safetensors")).expect("the last checkpoint exists")
    };
    assert!(weights("killed") == weights("whole"), "the last weights differ");
}

fn last_step(losses: &[(u64, String)]) -> u64 {
    losses.last().map_or(0, |(step, _)| *step)
}

#[test]
fn an_interrupted_run_saves_and_says_how_to_go_on() {
    let place = Place::with_text(english());
    for signal in ["INT", "TERM"] {
        let child = place.start(&pretrain(signal, &["--steps", "100000", "--save-every", "100000"]));
        steps_done(&place, signal, 5);
        send(signal, &child);
        let ended = child.wait_with_output().expect("the process ends");
        assert!(ended.status.success(), "an interrupted run ends well");
        let last = last_step(&place.losses(signal)) + 1;
        assert!(place.path(signal).join(format!("checkpoint-{last:08}")).exists(), "saved after step {last}");
    }
}

#[test]
fn under_nohup_a_closed_terminal_stops_nothing() {
    let place = Place::with_text(english());
    let mut child = place.start_under("nohup", &pretrain("run", &["--steps", "200"]));
    steps_done(&place, "run", 5);
    send("HUP", &child);
    assert!(child.wait().expect("the process ends").success());
    assert_eq!(last_step(&place.losses("run")), 199);
}

/// Waits until the run `out` has done a number of steps.
fn steps_done(place: &Place, out: &str, count: usize) {
    let (log, start) = (place.path(out).join("metrics.jsonl"), Instant::now());
    while std::fs::read_to_string(&log).map_or(0, |text| text.lines().count()) < count {
        assert!(start.elapsed() < Duration::from_secs(60), "no step within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// In mixed precision, the loss scale and its history are restored as well.
#[test]
fn a_killed_run_in_f16_goes_on_bit_for_bit() {
    let place = Place::with_text(english());
    let settings = ["--steps", "60", "--save-every", "7", "--val-every", "30", "--precision", "f16"];
    place.json(&pretrain("whole", &settings));
    let mut child = place.start(&pretrain("killed", &settings));
    let start = Instant::now();
    while !place.path("killed").join("checkpoint-00000014").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("the process can be killed");
    child.wait().expect("the process ends");
    let resumed: Vec<_> = settings.iter().copied().chain(["--resume"]).collect();
    let summary = place.json(&pretrain("killed", &resumed));
    assert_eq!(summary["step"], 60);
    assert_eq!(place.losses("killed"), place.losses("whole"));
    // A run started in one precision cannot be continued in another.
    let other = ["--steps", "60", "--save-every", "7", "--val-every", "30", "--resume"];
    assert!(place.failure(&pretrain("killed", &other)).contains("precision"));
}

#[test]
fn without_f16_a_mixed_run_says_so_and_trains_in_f32() {
    let place = Place::with_text(english());
    let settings = ["--steps", "3", "--precision", "f16"];
    let loud: Vec<_> = pretrain("loud", &settings).into_iter().filter(|word| *word != "--quiet").collect();
    let output = place.run_with(&[("WGPT_WITHOUT", "f16")], &loud);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("has no f16: training in f32"), "{said}");
    place.json(&pretrain("plain", &["--steps", "3"]));
    assert_eq!(place.losses("loud"), place.losses("plain"));
}
