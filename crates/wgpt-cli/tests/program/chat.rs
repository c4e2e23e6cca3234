//! Chats with models, with one that was trained to chat and one that was not.

use std::io::Write;

use crate::program::{Place, pretrain};

#[test]
fn a_model_without_a_template_goes_on_with_the_text() {
    let place = Place::with_text("to be or not to be, that is the question\n".repeat(80));
    place.json(&pretrain("run", &["--steps", "20"]));
    let output = place.run(&["chat", "run", "--prompt", "to be", "--max-tokens", "8"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("no chat template"), "{stderr}");
    let error = place.failure(&["chat", "run", "--prompt", "to be", "--min-p", "2"]);
    assert!(error.contains("--min-p 2: give 0 to 1"), "{error}");
}

#[test]
fn without_a_model_the_one_that_comes_along_talks() {
    let place = Place::with_text("");
    for (asked, answer) in
        [("你好", "你好！很高兴见到你。"), ("What is the capital of France?", "The capital of France is Paris.")]
    {
        let said = place.json(&["chat", "--prompt", asked, "--temperature", "0", "--json"]);
        assert_eq!((said["content"].as_str(), &said["finish"]), (Some(answer), &"stop".into()), "{said}");
    }
}

/// Runs if WGPT_SMOLLM2 names SmolLM2-135M-Instruct.Q4_1.gguf, as in scripts/test.
#[test]
fn smollm2_answers_remembers_and_explains() {
    let Some(model) = std::env::var_os("WGPT_SMOLLM2") else {
        eprintln!("skipped: WGPT_SMOLLM2 does not name the model");
        return;
    };
    let model = model.to_string_lossy().into_owned();
    let place = Place::with_text("");
    let said = "/sing\nWhat is the capital of France?\n/why 2\n/tokens\n/temperature 0\nWhat did I ask about?\n/reset\n/quit\n";
    let mut chat = place.talk(&["chat", &model, "--temperature", "0", "--max-tokens", "24"]);
    chat.stdin.take().expect("a pipe").write_all(said.as_bytes()).expect("it listens");
    let output = chat.wait_with_output().expect("it ends");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    for expected in ["no command /sing", "Paris", "was chosen, at temperature 0", "<|im_start|>", "France", "a new"] {
        assert!(stdout.contains(expected), "{expected:?} is not in {stdout}");
    }
    let info = place.json(&["info", &model, "--json"]);
    assert_eq!((&info["family"], &info["parameters"]), (&"Llama".into(), &134_515_008.into()), "{info}");
    assert_eq!((&info["formats"]["Q8_0"]["tensors"], &info["chat_template"]), (&1.into(), &true.into()), "{info}");
    assert!(info["memory"].as_array().is_some_and(|all| all.len() == 6 && all[0]["fits"] == true), "{info}");
    let vectors =
        place.json(&["embed", &model, "--text", "a cat", "--text", "a kitten", "--text", "tax law", "--json"]);
    let vector = |i: usize| -> Vec<f64> {
        vectors["embeddings"][i].as_array().expect("a vector").iter().filter_map(serde_json::Value::as_f64).collect()
    };
    let cosine = |a: usize, b: usize| vector(a).iter().zip(vector(b)).map(|(x, y)| x * y).sum::<f64>();
    assert_eq!((vector(0).len(), (cosine(0, 0) * 1e4).round()), (576, 1e4));
    assert!(cosine(0, 1) > cosine(0, 2), "{} and {}", cosine(0, 1), cosine(0, 2));
    let answer = place.json(&["chat", &model, "--prompt", "Say hello.", "--temperature", "0", "--json"]);
    assert_eq!((&answer["role"], &answer["finish"]), (&"assistant".into(), &"stop".into()), "{answer}");
}
