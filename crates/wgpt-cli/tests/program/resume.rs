//! A killed run continues where it was, bit for bit.

use wgpt::random;

use crate::program::{Place, english, kill, pretrain, send, wait_until};

const STEPS: u64 = 400;
const KILLS: u64 = 20;

/// The kills must hit different moments: a folder that has just been made, steps right after the start and long after
/// it, and a checkpoint while it is being written.
#[test]
fn twenty_kills_change_nothing() {
    let place = Place::with_text(english());
    let settings = ["--steps", &STEPS.to_string(), "--save-every", "7", "--dropout", "0.1", "--val-every", "50"];
    find_out_everything(&place, &["--dropout", "0.1"]);
    place.json(&pretrain("whole", &settings));
    let resumed: Vec<_> = settings.iter().copied().chain(["--resume"]).collect();

    let out = place.path("killed");
    for count in 0..KILLS {
        let fresh = !out.join("metrics.jsonl").exists();
        // A resumed run first repeats the steps that an earlier attempt logged after its last checkpoint.
        let before = place.steps("killed");
        let child = place.start(&pretrain("killed", if fresh { &settings } else { &resumed }));
        match count % 4 {
            0 if fresh => wait_until(|| out.exists(), "the run has a folder"),
            1 => {
                // A checkpoint is written every seventh step; if none is seen being written, do not wait forever.
                place.wait_for_steps("killed", before + 1);
                wait_until(|| is_saving(&out) || place.steps("killed") > before + 15, "a checkpoint is written");
            }
            _ => place.wait_for_steps("killed", before + 1 + random::below(7, 0, count, 15)),
        }
        kill(child);
        if out.join("metrics.jsonl").exists() {
            let model = place.json(&["tokenize", "--model", "killed", "--text", "Line", "--json"]);
            assert_eq!(model["ids"].as_array().map(Vec::len), Some(4), "after kill {count}");
        }
    }
    assert!(place.steps("killed") > KILLS, "the kills hit a run that went on");
    let summary = place.json(&pretrain("killed", &resumed));
    assert_eq!(summary["step"], STEPS);
    assert_eq!(place.losses("killed"), place.losses("whole"));
    let weights = |run: &str| {
        let folder = place.path(run).join(format!("checkpoint-{STEPS:08}"));
        std::fs::read(folder.join("model.safetensors")).expect("the last checkpoint exists")
    };
    assert!(weights("killed") == weights("whole"), "the last weights differ");
}

/// Variants round differently, and what a run has no time to find out about them is found out for later runs. Two runs leave
/// nothing open: those that follow begin with the same choices, however busy the machine is.
fn find_out_everything(place: &Place, settings: &[&str]) {
    for run in ["first", "second"] {
        place.json(&pretrain(run, &[&["--steps", "2"], settings].concat()));
    }
}

/// Whether a checkpoint of the run in `out` is being written.
fn is_saving(out: &std::path::Path) -> bool {
    let entries = std::fs::read_dir(out).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".tmp-checkpoint"))
}

#[test]
fn an_interrupted_run_saves_and_says_how_to_go_on() {
    let place = Place::with_text(english());
    for signal in ["INT", "TERM"] {
        let child = place.start(&pretrain(signal, &["--steps", "100000", "--save-every", "100000"]));
        place.wait_for_steps(signal, 5);
        send(signal, &child);
        let ended = child.wait_with_output().expect("the process ends");
        assert!(ended.status.success(), "an interrupted run ends well");
        let last = place.steps(signal);
        assert!(place.path(signal).join(format!("checkpoint-{last:08}")).exists(), "saved after step {last}");
    }
}

/// Refused while the first run lasts; a killed run leaves the folder free.
#[test]
fn a_folder_has_one_run_at_a_time() {
    let place = Place::with_text(english());
    let settings = ["--steps", "20000", "--save-every", "20000"];
    let first = place.start(&pretrain("run", &settings));
    place.wait_for_steps("run", 1);
    let resumed: Vec<_> = settings.iter().copied().chain(["--resume"]).collect();
    let said = place.failure(&pretrain("run", &resumed));
    assert!(said.contains("another process is training in it"), "{said}");
    kill(first);
    let second = place.start(&pretrain("run", &resumed));
    let before = place.steps("run");
    wait_until(|| place.steps("run") > before, "the run goes on");
    kill(second);
}

#[test]
fn under_nohup_a_closed_terminal_stops_nothing() {
    let place = Place::with_text(english());
    let mut child = place.start_under("nohup", &pretrain("run", &["--steps", "200"]));
    place.wait_for_steps("run", 5);
    send("HUP", &child);
    assert!(place.steps("run") < 200, "the run was over before the terminal was closed");
    assert!(child.wait().expect("the process ends").success());
    assert_eq!(place.steps("run"), 200);
}

/// In mixed precision, the loss scale and its history are restored as well.
#[test]
fn a_killed_run_in_f16_goes_on_bit_for_bit() {
    let place = Place::with_text(english());
    let settings = ["--steps", "150", "--save-every", "7", "--val-every", "50", "--precision", "f16"];
    find_out_everything(&place, &["--precision", "f16"]);
    place.json(&pretrain("whole", &settings));
    let child = place.start(&pretrain("killed", &settings));
    // By the time of its next step, the second checkpoint is complete.
    place.wait_for_steps("killed", 15);
    kill(child);
    let resumed: Vec<_> = settings.iter().copied().chain(["--resume"]).collect();
    let summary = place.json(&pretrain("killed", &resumed));
    assert_eq!(summary["step"], 150);
    assert_eq!(place.losses("killed"), place.losses("whole"));
    // A run that was begun in one precision cannot be continued in another.
    let other = ["--steps", "150", "--save-every", "7", "--val-every", "50", "--resume"];
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
