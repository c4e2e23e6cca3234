//! The reader of the program's output may go away, as `head` does.

use crate::program::{Place, english, pretrain};

#[test]
fn a_result_that_nobody_reads_is_no_complaint() {
    let place = Place::with_text(english());
    for arguments in [&["doctor", "--list"][..], &["doctor", "--list", "--json"]] {
        let mut child = place.talk(arguments);
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("panicked"), "wgpt {arguments:?}: {said}");
    }
}

#[test]
fn a_text_that_nobody_reads_is_not_written_on() {
    let place = Place::with_text(english());
    place.json(&pretrain("run", &["--steps", "1"]));
    let mut child = place.talk(&["generate", "--model", "run", "--max-tokens", "100000000"]);
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends, and long before that many tokens");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_training_outlives_its_terminal() {
    let place = Place::with_text(english());
    let talkative: Vec<_> = pretrain("run", &["--steps", "30", "--val-every", "10"])
        .into_iter()
        .filter(|word| *word != "--quiet")
        .collect();
    let mut child = place.talk(&talkative);
    drop((child.stdout.take(), child.stderr.take()));
    assert!(child.wait().expect("it ends").success());
    assert_eq!(place.losses("run").len(), 30);
}
