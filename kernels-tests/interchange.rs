//! Models of other programs: results for models saved by transformers (scripts/fixtures/make_hf_fixtures.py) agree with
//! it, and every round trip keeps the bits.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use wgpt::{
    Result,
    formats::{
        self, Format,
        gguf::{GgufFile, TensorSpec, Value as GgufValue},
    },
    gpu::Gpu,
    interchange::{TextCodec, checkpoint::CheckpointSource, gguf, huggingface},
    io::{checkpoint, tensors::TensorFile},
    model::{
        Config, Gpt, Source,
        gpt::Pass,
        parameters::{self, ParameterSpec},
    },
    ops::embedding::Tokens,
    tape::Tape,
    text::{Conventions, Tokenizer, batches::Batch},
    train::{Settings, trainer::Trainer},
};

use crate::device::device;

const NAMES: &[&str] =
    &["gpt2", "gpt2-bf16", "llama", "llama-tied", "llama-grouped", "llama-biased", "mistral-sharded", "qwen2", "qwen3"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/hf")
}

fn open(path: &Path) -> Box<dyn Source> {
    wgpt::interchange::open(path).unwrap_or_else(|error| panic!("{error}"))
}

fn expected(name: &str) -> TensorFile {
    TensorFile::open(&fixtures().join(name).join("expected.safetensors")).expect("the fixture")
}

fn ids(expected: &TensorFile) -> Vec<u32> {
    expected.to_f32("ids").expect("ids").iter().map(|id| *id as u32).collect()
}

fn logits(gpu: &Gpu, source: &dyn Source, ids: &[u32]) -> Vec<f32> {
    let model = Gpt::from_source(gpu, source).expect("a model");
    let tape = Tape::off(gpu);
    let tokens = Tokens::new(gpu, ids, 1, ids.len(), false).expect("tokens");
    let hidden = model.forward(&tape, &tokens, Pass::default(), None).expect("a forward pass");
    pollster::block_on(model.logits(&tape, &hidden).expect("logits").to_f32()).expect("a readback")
}

fn mean_nll(logits: &[f32], ids: &[u32]) -> f64 {
    let width = logits.len() / ids.len();
    let row = |(row, next): (&[f32], &u32)| {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
        total.ln() - f64::from(row[*next as usize] - most)
    };
    let rows: Vec<f64> = logits.chunks_exact(width).zip(&ids[1..]).map(row).collect();
    rows.iter().sum::<f64>() / rows.len() as f64
}

fn values(source: &dyn Source, name: &str) -> Vec<u32> {
    let pieces = source.parameter(name).expect("a parameter");
    pieces.iter().flat_map(|rows| rows.to_f32()).map(f32::to_bits).collect()
}

/// Checks for equal configurations and, for every parameter, equal bits.
fn same(name: &str, a: &dyn Source, b: &dyn Source) {
    assert_eq!(a.config(), b.config(), "{name}");
    for ParameterSpec { name: parameter, shape, .. } in parameters::specs(a.config()) {
        let (one, other) = (values(a, &parameter), values(b, &parameter));
        assert_eq!(one.len(), shape.iter().product::<usize>(), "{name}: {parameter}");
        assert!(one == other, "{name}: {parameter} differs");
    }
}

#[test]
fn transformers_agrees() {
    let device = device();
    for name in NAMES {
        let (expected, source) = (expected(name), open(&fixtures().join(name)));
        let ids = ids(&expected);
        let logits = logits(&device.gpu, &*source, &ids);
        let error = (mean_nll(&logits, &ids) - f64::from(expected.to_f32("nll").expect("nll")[0])).abs();
        let worst = logits
            .iter()
            .zip(expected.to_f32("logits").expect("logits"))
            .fold(0.0f32, |most, (a, b)| if a.is_finite() { most.max((a - b).abs()) } else { f32::INFINITY });
        println!("{name}: mean nll off by {error:.1e}, logits by at most {worst:.1e}");
        assert!(error < 2e-6, "{name}: the mean negative log-likelihood is off by {error}");
        assert!(worst < 3e-5, "{name}: the logits are off by {worst}");
    }
}

/// Gradients flow correctly through head norms and biases of queries, keys and values.
#[test]
fn qwen_gradients() {
    let device = device();
    for name in ["qwen2", "qwen3"] {
        let (expected, source) = (expected(name), open(&fixtures().join(name)));
        let ids = ids(&expected);
        let settings = Settings::recipe(source.config().clone());
        let context = ids.len() - 1;
        let batch =
            Batch { inputs: ids[..context].to_vec(), targets: ids[1..].to_vec(), starts: None, rows: 1, context };
        for checkpoint in [false, true] {
            let model = Gpt::from_source(&device.gpu, &*source).expect("a model");
            let mut trainer = Trainer::new(&device.gpu, model, &settings).expect("a trainer");
            trainer.accumulate(&batch, Pass { checkpoint, ..Pass::default() }, 1.0, true).expect("a backward pass");
            let read = |parameter: &str| {
                let found = trainer.model.parameters().iter().find(|(other, _)| other == parameter);
                let gradient = trainer.gradients().get(&found.expect("a parameter").1).expect("a gradient");
                pollster::block_on(gradient.to_f32()).expect("a readback")
            };
            let wanted = |names: &[&str]| -> Vec<f32> {
                names.iter().flat_map(|name| expected.to_f32(&format!("grad.{name}")).expect("a gradient")).collect()
            };
            let mut pairs = vec![("qkv.weight", vec!["q_proj.weight", "k_proj.weight", "v_proj.weight"])];
            if name == "qwen2" {
                pairs.push(("qkv.bias", vec!["q_proj.bias", "k_proj.bias", "v_proj.bias"]));
            } else {
                pairs.extend([("q_norm.weight", vec!["q_norm.weight"]), ("k_norm.weight", vec!["k_norm.weight"])]);
            }
            for (ours, theirs) in pairs {
                let (actual, wanted) = (read(&format!("blocks.0.attention.{ours}")), wanted(&theirs));
                assert_eq!(actual.len(), wanted.len(), "{name}: {ours}");
                let largest = wanted.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                let worst = actual.iter().zip(&wanted).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(worst <= 1e-4 * largest, "{name}: {ours} is off by {worst} of {largest}");
            }
        }
    }
}

#[test]
fn round_trips_keep_the_bits() {
    let device = device();
    let tokenizer = Tokenizer::load(&fixtures().join("tokenizer.json")).expect("a tokenizer");
    let mut codec = TextCodec::plain(tokenizer);
    codec.conventions = Conventions { bos: Some(0), eos: Some(7), stops: vec![0, 7], ..Conventions::default() };
    codec.conventions.template = Some("{{ messages }}".into());
    for name in NAMES {
        let dir = tempfile::tempdir().expect("a folder");
        let source = open(&fixtures().join(name));
        let (file, folder) = (dir.path().join("model.gguf"), dir.path().join("hf"));
        gguf::save(&*source, Some(&codec), &file, Format::F32).expect("a GGUF file");
        let from_file = open(&file);
        same(name, &*source, &*from_file);
        huggingface::save(&*from_file, Some(&codec), &folder, Format::F32).expect("a folder");
        same(name, &*source, &*open(&folder));
        for place in [&file, &folder] {
            let again = TextCodec::open(place).expect("a language");
            assert_eq!(again.tokenizer.fingerprint(), codec.tokenizer.fingerprint(), "{name}");
            assert_eq!(again.conventions, codec.conventions, "{name}");
        }
        // The file written by transformers and ours hold the same tensors.
        if let Ok(theirs) = TensorFile::open(&fixtures().join(name).join("model.safetensors")) {
            let ours = TensorFile::open(&folder.join("model.safetensors")).expect("a file");
            for tensor in theirs.names() {
                assert_eq!(theirs.shape(&tensor).expect("a shape"), ours.shape(&tensor).expect("a shape"), "{tensor}");
                let bits = |file: &TensorFile| -> Vec<u32> {
                    file.to_f32(&tensor).expect("a tensor").iter().map(|x| x.to_bits()).collect()
                };
                assert!(bits(&theirs) == bits(&ours), "{name}: {tensor}");
            }
        }
        // In half precision, rounded as an f32 model would be, the model is the same as from the folder.
        let (half, other) = (dir.path().join("half.gguf"), dir.path().join("half"));
        gguf::save(&*source, None, &half, Format::F16).expect("a GGUF file");
        huggingface::save(&*source, None, &other, Format::F16).expect("a folder");
        let ids = ids(&expected(name));
        let (a, b) = (logits(&device.gpu, &*open(&half), &ids), logits(&device.gpu, &*open(&other), &ids));
        let difference = (mean_nll(&a, &ids) - mean_nll(&b, &ids)).abs();
        assert!(difference < 1e-2, "{name}: f16 differs by {difference}");
    }
}

/// A checkpoint without biases becomes a GPT-2 with biases of 0.
#[test]
fn checkpoints_are_exported() {
    let device = device();
    let dir = tempfile::tempdir().expect("a folder");
    let tokenizer = Tokenizer::chars_of(["abcdefgh"]).expect("a tokenizer");
    let families = [
        Config { bias: false, ..Config::gpt2(8, 16, 2, 2, 16) },
        Config { tied: true, kv_heads: 1, ..Config::llama(8, 16, 2, 2, 16) },
    ];
    for (step, config) in families.into_iter().enumerate() {
        let model = Gpt::new(&device.gpu, &config, 3).expect("a model");
        let trainer = Trainer::new(&device.gpu, model, &Settings::recipe(config.clone())).expect("a trainer");
        let run = dir.path().join(format!("run{step}"));
        fs::create_dir(&run).expect("a folder");
        let settings = Settings::recipe(config);
        let codec = TextCodec::plain(tokenizer.clone());
        let saved = wgpt::train::state::save(&run, &trainer, &codec, &settings, None);
        pollster::block_on(saved).expect("a checkpoint");
        let source = CheckpointSource::open(&run).expect("a checkpoint");
        assert!(checkpoint::resolve(&run).is_ok());
        let (file, folder) = (run.join("model.gguf"), run.join("hf"));
        gguf::save(&source, Some(&codec), &file, Format::F32).expect("a GGUF file");
        huggingface::save(&source, Some(&codec), &folder, Format::F32).expect("a folder");
        let ids = [1, 5, 2, 7, 0, 3];
        let wanted = logits(&device.gpu, &source, &ids);
        assert!(wanted == logits(&device.gpu, &*open(&file), &ids));
        assert!(wanted == logits(&device.gpu, &*open(&folder), &ids));
        assert_eq!(wgpt::interchange::tokenizer(&file).expect("a tokenizer").vocab_size(), 8);
    }
}

/// A copy of a fixture with some fields of its config.json replaced.
fn edited(name: &str, edits: &[(&str, Value)]) -> Result<Box<dyn Source>> {
    let dir = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(fixtures().join(name)).expect("a fixture") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("a copy");
    }
    for (field, value) in edits {
        let (file, field) = field.split_once(':').unwrap_or(("config.json", field));
        let path = dir.path().join(file);
        let mut json: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
        match field.split_once('.') {
            Some((outer, inner)) => json[outer][inner] = value.clone(),
            None => json[field] = value.clone(),
        }
        fs::write(&path, json.to_string()).expect("a file");
    }
    wgpt::interchange::open(dir.path())
}

#[test]
fn unsupported_settings_are_refused_by_name() {
    let index = "model.safetensors.index.json:weight_map";
    let cases: &[(&str, &str, Value, &str)] = &[
        ("gpt2", "architectures", json!(["GPTBigCodeForCausalLM"]), "GPTBigCodeForCausalLM"),
        ("gpt2", "activation_function", json!("gelu"), "activation_function is \"gelu\""),
        ("gpt2", "scale_attn_by_inverse_layer_idx", json!(true), "scale_attn_by_inverse_layer_idx is true"),
        ("gpt2", "n_layer", json!(3), "h.2.ln_1.weight"),
        ("gpt2", "n_layer", json!(1u64 << 60), "layers is 1152921504606846976"),
        ("gpt2", "n_embd", json!(48), "wte.weight' is [277, 32], config.json says [277, 48]"),
        ("gpt2", "n_head", json!(0), "heads is 0"),
        ("gpt2", "n_head", json!("four"), "n_head is \"four\""),
        ("gpt2", "n_embd", json!(-1), "n_embd is -1"),
        ("gpt2", "quantization_config", json!({"bits": 4}), "quantization_config is {\"bits\":4}"),
        ("llama", "hidden_act", json!("gelu"), "hidden_act is \"gelu\""),
        ("llama", "attention_bias", json!(true), "attention_bias is true"),
        ("llama", "rope_parameters.rope_type", json!("yarn"), "rope_parameters.rope_type is \"yarn\""),
        ("llama", "rope_parameters.partial_rotary_factor", json!(0.5), "partial_rotary_factor is 0.5"),
        ("llama", "vocab_size", Value::Null, "vocab_size is missing"),
        ("llama", "num_attention_heads", json!(1u64 << 62), "heads is 4611686018427387904"),
        ("llama-grouped", "rope_parameters.factor", json!(0), "rope_scaling"),
        ("mistral-sharded", "sliding_window", json!(32), "sliding_window is 32"),
        ("mistral-sharded", index, json!({"model.norm.weight": "../other"}), "no file name"),
        ("mistral-sharded", index, json!({"model.norm.weight": "model-00009-of-00003.safetensors"}), "model-00009"),
        ("qwen2", "use_sliding_window", json!(true), "use_sliding_window is true"),
        ("qwen3", "layer_types", json!(["full_attention", "sliding_attention"]), "layer_types is"),
    ];
    for (name, field, value, words) in cases {
        let result = edited(name, &[(field, value.clone())]);
        let text = result.err().map(|error| error.to_string()).unwrap_or_else(|| "no error".into());
        assert!(text.contains(words), "{name} {field}: {text}");
    }
    // Older files write it this way.
    let old = [("rope_parameters", Value::Null), ("rope_theta", json!(300.0))];
    let old = [&old[..], &[("rope_scaling", json!({"type": "linear", "factor": 2.0}))]].concat();
    same("qwen2", &*edited("qwen2", &old).expect("a model"), &*open(&fixtures().join("qwen2")));
}

/// The same for the metadata of a GGUF file.
#[test]
fn unsupported_metadata_is_refused_by_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let (whole, broken) = (dir.path().join("whole.gguf"), dir.path().join("broken.gguf"));
    gguf::save(&*open(&fixtures().join("llama-grouped")), None, &whole, Format::F32).expect("a GGUF file");
    let file = GgufFile::open(&whole).expect("a GGUF file");
    let spec = |name: &str| TensorSpec {
        name: name.into(),
        shape: file.shape(name).expect("a shape").to_vec(),
        format: Format::F32,
    };
    let tensors: Vec<_> = file.names().map(spec).collect();
    let cases = [
        ("general.architecture", GgufValue::Str("mamba".into()), "general.architecture is 'mamba'"),
        ("llama.expert_count", GgufValue::U32(8), "llama.expert_count' is 8"),
        ("llama.attention.sliding_window", GgufValue::U32(32), "llama.attention.sliding_window' is 32"),
        ("llama.block_count", GgufValue::U64(1 << 60), "layers is 1152921504606846976"),
        ("llama.block_count", GgufValue::U32(3), "blk.2."),
        ("llama.block_count", GgufValue::F32(2.0), "llama.block_count"),
        ("llama.attention.head_count", GgufValue::U32(0), "heads is 0"),
        ("llama.attention.value_length", GgufValue::U32(8), "llama.attention.value_length' is 8"),
        ("llama.rope.dimension_count", GgufValue::U32(8), "llama.rope.dimension_count' is 8"),
        ("llama.rope.freq_base", GgufValue::F32(f32::NAN), "rope_theta NaN"),
        ("llama.feed_forward_length", GgufValue::U32(64), "the metadata say [64, 32]"),
        ("llama.context_length", GgufValue::U64(u64::MAX), "context is 18446744073709551615"),
    ];
    for (key, value, words) in cases {
        let mut metadata = file.metadata().entries().to_vec();
        metadata.retain(|(other, _)| other != key);
        metadata.push((key.into(), value));
        let copied = formats::gguf::write(&broken, &metadata, &tensors, |tensor, out| {
            out.write_all(&file.rows(&tensor.name)?.bytes).map_err(wgpt::Error::io(&broken, "write"))
        });
        copied.expect("a GGUF file");
        let text = gguf::Model::open(&broken).err().map(|error| error.to_string()).unwrap_or_else(|| "no error".into());
        assert!(text.contains(words), "{key}: {text}");
    }
}
