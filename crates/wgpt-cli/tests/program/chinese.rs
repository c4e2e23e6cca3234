//! Chinese text with byte-level BPE: training, sampling, streaming, never a broken character in the middle.

use crate::program::{Place, pretrain};

const POEMS: &str = "床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。\n白日依山盡，黃河入海流。欲窮千里目，更上一層樓。\n\
                     春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。\n千山鳥飛絕，萬徑人蹤滅。孤舟蓑笠翁，獨釣寒江雪。\n";

#[test]
fn chinese_trains_and_samples() {
    let place = Place::with_text(POEMS.repeat(40));
    let settings = ["--tokenizer", "bpe", "--vocabulary", "320", "--steps", "150", "--lr", "0.01"];
    let summary = place.json(&pretrain("poems", &settings));
    let (first, last) = (summary["first_loss"].as_f64(), summary["train_loss"].as_f64());
    assert!(last < first.map(|loss| loss * 0.5), "the loss falls: {first:?} -> {last:?}");

    let cut = place.json(&["tokenize", "--model", "poems", "--text", "床前明月光", "--json"]);
    assert!(cut["ids"].as_array().is_some_and(|ids| !ids.is_empty()));
    let arguments = ["generate", "--model", "poems", "--prompt", "床前", "--max-tokens", "60", "--temperature", "0"];
    let written = place.json(&[&arguments[..], &["--json"]].concat())["text"].as_str().map(str::to_string);
    let written = written.expect("there is text");
    // Only the very last character may be cut off by the token limit.
    let whole: String = written.trim_end_matches('\u{fffd}').to_string();
    assert!(!whole.contains('\u{fffd}') && whole.chars().any(|c| POEMS.contains(c)), "{written:?}");
    let streamed = place.run(&arguments);
    let shown = String::from_utf8(streamed.stdout).expect("the stream is UTF-8");
    assert!(shown.starts_with(&format!("床前{whole}")), "{shown:?} is not the text {whole:?}");
}
