//! A real model, SmolLM2-135M-Instruct in Q4_1, compared with transformers on its dequantised weights
//! (scripts/fixtures/make_smollm2_fixtures.py). Runs if WGPT_SMOLLM2 names the file, as in scripts/test.

use std::path::Path;

use wgpt::{
    gpu::Gpu,
    infer::{
        embed::{Pooling, embed},
        generate::{Limits, generate},
        sampler::Sampling,
        session::Session,
    },
    io::tensors::TensorFile,
    model::{Gpt, build::Storage, gpt::Pass},
    ops::{embedding::Tokens, kv::decode::Precision},
    tape::Tape,
};

use crate::device::device;

fn fixture() -> TensorFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/smollm2.safetensors");
    TensorFile::open(&path).expect("the fixture")
}

fn ids(fixture: &TensorFile, name: &str) -> Vec<u32> {
    fixture.to_f32(name).expect(name).iter().map(|id| *id as u32).collect()
}

/// The text of the fixture.
pub fn text() -> Vec<u32> {
    ids(&fixture(), "ids")
}

/// The model, or an announced skip.
pub fn model(gpu: &Gpu, storage: Storage) -> Option<Gpt> {
    let Some(path) = std::env::var_os("WGPT_SMOLLM2") else {
        eprintln!("skipped: WGPT_SMOLLM2 does not name the model");
        return None;
    };
    let source = wgpt::interchange::open(Path::new(&path)).expect("the file is whole");
    Some(Gpt::frozen(gpu, &*source, storage, |_, _| ()).expect("a model"))
}

fn lse(row: &[f32]) -> f64 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    f64::from(most) + row.iter().map(|x| f64::from(x - most).exp()).sum::<f64>().ln()
}

/// The mean negative log-likelihood of `ids` except the first.
fn mean_nll(scores: &[f32], ids: &[u32]) -> f64 {
    let row = |(row, next): (&[f32], &u32)| lse(row) - f64::from(row[*next as usize]);
    let losses: Vec<f64> = scores.chunks_exact(scores.len() / ids.len()).zip(&ids[1..]).map(row).collect();
    losses.iter().sum::<f64>() / losses.len() as f64
}

/// The scores of all tokens of the text, read as one prompt, as long prompts are.
fn all_scores(gpu: &Gpu, model: &Gpt, ids: &[u32]) -> Vec<f32> {
    let tape = Tape::off(gpu);
    let tokens = Tokens::new(gpu, ids, 1, ids.len(), false).expect("tokens");
    let hidden = model.forward(&tape, &tokens, Pass::default(), None).expect("a forward pass");
    pollster::block_on(model.logits(&tape, &hidden).expect("logits").to_f32()).expect("a readback")
}

/// The largest difference between `rows`, which begin at position `first`, and the fixture.
fn worst(fixture: &TensorFile, rows: &[f32], first: usize, vocabulary: usize) -> f64 {
    let read = |name: &str| fixture.to_f32(name).expect(name);
    let (columns, logits, sums, top, best) = (read("columns"), read("logits"), read("lse"), read("top"), read("best"));
    let sampled = columns.len() / sums.len();
    let mut worst = 0.0f64;
    for (index, row) in rows.chunks_exact(vocabulary).enumerate() {
        let position = first + index;
        let mut hold = |ours: f64, theirs: f32| {
            let error = (ours - f64::from(theirs)).abs();
            worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
        };
        for at in position * sampled..(position + 1) * sampled {
            hold(f64::from(row[columns[at] as usize]), logits[at]);
        }
        hold(lse(row), sums[position]);
        hold(f64::from(row[best[position] as usize]), top[2 * position]);
    }
    worst
}

#[test]
fn scores_match_the_dequantised_weights() {
    let device = device();
    let Some(model) = model(&device.gpu, Storage::AsStored) else { return };
    let (fixture, vocabulary) = (fixture(), model.config().vocabulary);
    let ids = ids(&fixture, "ids");
    let scores = all_scores(&device.gpu, &model, &ids);
    let error = worst(&fixture, &scores, 0, vocabulary);
    let nll = mean_nll(&scores, &ids);
    let off = (nll - f64::from(fixture.to_f32("nll").expect("nll")[0])).abs();
    println!("{} positions: scores within {error:.1e}, mean nll {nll:.6}, off by {off:.1e}", ids.len());
    assert!(error < 1e-3, "the scores are off by {error}");
    assert!(off < 1e-3, "the mean negative log-likelihood is off by {off}");
    // All scores, if their file has been written (50 MB).
    if let Some(path) = std::env::var_os("WGPT_SMOLLM2_LOGITS") {
        let full = TensorFile::open(Path::new(&path)).expect("the file").to_f32("logits").expect("logits");
        assert_eq!(full.len(), scores.len());
        let error = scores.iter().zip(&full).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        println!("all {} scores within {error:.1e}", full.len());
        assert!(error < 1e-3, "the scores are off by {error}");
    }

    // Token by token with the cache and the fused kernels for decoding; and with a cache in half precision.
    for (precision, tolerance) in [(Precision::Single, 1e-3), (Precision::Half, 0.05)] {
        let mut session = Session::with_precision(&device.gpu, &model, precision).expect("a session");
        let start = ids.len() - 12;
        pollster::block_on(session.advance(&ids[..start], |_, _| ())).expect("the prompt");
        let mut rows = Vec::new();
        for id in &ids[start..] {
            let row = pollster::block_on(session.advance(&[*id], |_, _| ())).expect("a token");
            rows.extend(pollster::block_on(row.to_f32()).expect("a readback"));
        }
        let error = worst(&fixture, &rows, start, vocabulary);
        println!("token by token, {precision:?}: scores within {error:.1e}");
        assert!(error < tolerance, "{precision:?}: the scores are off by {error}");
    }

    // A text's vector is the mean of its hidden states.
    let short = &ids[..9];
    let vector = pollster::block_on(embed(&device.gpu, &model, short, Pooling::Mean)).expect("a vector");
    let tokens = Tokens::new(&device.gpu, short, 1, short.len(), false).expect("tokens");
    let hidden = model.forward(&Tape::off(&device.gpu), &tokens, Pass::default(), None).expect("hidden states");
    let hidden = pollster::block_on(hidden.to_f32()).expect("a readback");
    let width = model.config().width;
    for (column, value) in vector.iter().enumerate() {
        let mean = hidden.iter().skip(column).step_by(width).sum::<f32>() / short.len() as f32;
        assert!((mean - value).abs() < 1e-4, "column {column}: {value}, the mean is {mean}");
    }
}

/// The text equals the reference's greedy text up to the first near-tie; from there on, either text is right.
#[test]
fn greedy_text_matches_the_reference() {
    let device = device();
    let Some(model) = model(&device.gpu, Storage::AsStored) else { return };
    let fixture = fixture();
    let (prompt, greedy) = (ids(&fixture, "prompt"), ids(&fixture, "greedy"));
    let margins = fixture.to_f32("margins").expect("margins");
    let mut session = Session::new(&device.gpu, &model).expect("a session");
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let limits = Limits { count: greedy.len(), ..Limits::default() };
    let generated = generate(&mut session, &prompt, limits, &sampling, |_, _| (), |_| true);
    let generated = pollster::block_on(generated).expect("a text");
    let same = greedy.iter().zip(&generated.tokens).take_while(|(a, b)| a == b).count();
    println!(
        "{same} of {} greedy tokens equal, smallest margin {:?}",
        greedy.len(),
        margins.iter().copied().fold(9.0, f32::min)
    );
    assert!(same == greedy.len() || margins[same] <= 0.01, "token {same} differs at a margin of {}", margins[same]);
}

/// Stored in a coarser format on request, the model stays much the same: single scores move (by 2 in Q8_0, whose blocks
/// share a scale with outliers), but their sum over a text hardly does.
#[test]
fn weights_can_be_kept_in_other_formats() {
    use wgpt::formats::Format;
    let device = device();
    let ids = &ids(&fixture(), "ids")[..96];
    let loss = |storage: Storage| {
        let model = model(&device.gpu, storage)?;
        let scores = all_scores(&device.gpu, &model, ids);
        Some((mean_nll(&scores, ids), model.bytes() >> 20))
    };
    let Some((stored, _)) = loss(Storage::AsStored) else { return };
    for (format, tolerance) in [(Format::F16, 5e-3), (Format::Q8_0, 0.05)] {
        let Some((kept, size)) = loss(Storage::As(format)) else { return };
        println!("{format}: {size} MiB, mean nll {kept:.5}, as stored {stored:.5}");
        assert!((kept - stored).abs() < tolerance, "{format}: the mean nll is {kept}, as stored {stored}");
    }
}
