//! `wgpt plan`: the prediction equals what happens.

use crate::program::Place;

/// Memory to the byte, for both families, with micro-batches, dropout and recomputed blocks. Time is left to
/// benchmarks.
#[test]
fn planned_memory_is_what_a_run_holds() {
    let place = Place::with_text("");
    let gpt2 = ["--layers", "2", "--heads", "4", "--width", "64", "--context", "33", "--batch", "3"];
    let llama =
        ["--family", "llama", "--layers", "3", "--heads", "4", "--kv-heads", "2", "--width", "64", "--context", "40"];
    let more =
        ["--batch", "2", "--accumulate", "3", "--dropout", "0.1", "--checkpoint-activations", "--vocabulary", "101"];
    for (options, tokens) in [(gpt2.to_vec(), 99), ([&llama[..], &more].concat(), 240)] {
        let arguments = [&["plan", "--check", "--check-steps", "2", "--quiet", "--json"], &options[..]].concat();
        let plan = place.json(&arguments);
        assert_eq!(
            (plan["check"]["memory_error"].as_f64(), plan["tokens"].as_u64()),
            (Some(0.0), Some(tokens)),
            "{plan}"
        );
        assert_eq!(plan["memory"]["peak"], plan["check"]["measured"]["peak"], "{plan}");
        assert_eq!((&plan["replayed"], &plan["check"]["measured"]["steps"]), (&true.into(), &2.into()), "{plan}");
        let kernels = plan["kernels"].as_array().expect("kernels");
        let dispatches: u64 = kernels.iter().filter_map(|share| share["dispatches"].as_u64()).sum();
        assert_eq!(plan["dispatches"].as_u64(), Some(dispatches), "{plan}");
        let parameters = plan["parameters"].as_u64().expect("parameters");
        assert!(plan["memory"]["optimizer"].as_u64().is_some_and(|bytes| bytes >= 12 * parameters), "{plan}");
        assert!(plan["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{plan}");
    }
}

#[test]
fn what_cannot_be_is_said_before_anything_is_tried() {
    let place = Place::with_text("");
    let said = place.failure(&["plan", "--width", "100", "--heads", "3"]);
    assert!(said.contains("heads"), "{said}");
    let said = place.failure(&["plan", "--vocabulary", "1000000", "--width", "4096", "--heads", "32", "--layers", "1"]);
    assert!(said.contains("the adapter allows"), "{said}");
}
