//! Compares the oracles with PyTorch (scripts/fixtures/make_op_fixtures.py). Uses no GPU.

use std::path::Path;

use wgpt::{
    doctor::reference::{attention, loss, norm, optimizer, pointwise},
    io::tensors::TensorFile,
};

struct Fixture(TensorFile);

impl Fixture {
    fn open() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/ops.safetensors");
        Self(TensorFile::open(&path).expect("the fixture"))
    }

    fn get(&self, name: &str) -> Vec<f64> {
        self.0.to_f32(name).expect("the fixture has it").into_iter().map(f64::from).collect()
    }

    /// Checks for equality with PyTorch's f64 within f32 precision: 2e-7 of the tensor's largest element.
    fn equals(&self, name: &str, actual: &[f64]) {
        let expected = self.get(name);
        assert_eq!(actual.len(), expected.len(), "{name}");
        let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        for (i, (x, y)) in actual.iter().zip(&expected).enumerate() {
            // This comparison is false for NaN, unlike its negation.
            let equal = (x - y).abs() <= 2e-7 * largest;
            assert!(equal, "{name}[{i}] is {x}, PyTorch says {y}");
        }
    }
}

#[test]
fn pointwise_and_norms_equal_pytorch() {
    let f = Fixture::open();
    let (x, g) = (f.get("gelu.x"), f.get("gelu.grad_out"));
    f.equals("gelu.out", &x.iter().map(|x| pointwise::gelu(*x)).collect::<Vec<_>>());
    f.equals("gelu.grad_x", &pointwise::gelu_backward(&x, &g));
    for (op, center) in [("layernorm", true), ("rmsnorm", false)] {
        let get = |name: &str| f.get(&format!("{op}.{name}"));
        let (x, weight, g) = (get("x"), get("weight"), get("grad_out"));
        let bias = center.then(|| get("bias"));
        f.equals(&format!("{op}.out"), &norm::norm(&x, &weight, bias.as_deref(), center, 1e-5));
        let back = norm::norm_backward(&x, &weight, &g, center, 1e-5);
        f.equals(&format!("{op}.grad_x"), &back.x);
        f.equals(&format!("{op}.grad_weight"), &back.weight);
        if center {
            f.equals("layernorm.grad_bias", &back.bias);
        }
    }
}

#[test]
fn cross_entropy_equals_pytorch() {
    let f = Fixture::open();
    let id = |target: &f64| if *target < 0.0 { loss::IGNORED } else { *target as u32 };
    let targets: Vec<u32> = f.get("cross_entropy.targets").iter().map(id).collect();
    let result = loss::cross_entropy(&f.get("cross_entropy.logits"), &targets);
    f.equals("cross_entropy.rows", &result.rows);
    f.equals("cross_entropy.loss", &[result.mean]);
    f.equals("cross_entropy.grad_logits", &result.grad_logits);
}

#[test]
fn attention_equals_pytorch() {
    let f = Fixture::open();
    for (op, kv_heads) in [("attention", 4), ("attention_gqa", 2)] {
        let sizes = attention::Sizes { batch: 2, context: 9, heads: 4, kv_heads, dim: 8 };
        let (qkv, g) = (f.get(&format!("{op}.qkv")), f.get(&format!("{op}.grad_out")));
        f.equals(&format!("{op}.out"), &attention::attention(sizes, &qkv).0);
        f.equals(&format!("{op}.grad_qkv"), &attention::attention_backward(sizes, &qkv, &g));
    }
}

#[test]
fn adamw_equals_pytorch() {
    let f = Fixture::open();
    let norms = f.get("adamw.norms");
    for (name, decay) in [("weight", 0.1), ("bias", 0.0)] {
        let get = |part: &str| f.get(&format!("adamw.{name}.{part}"));
        let (mut w, gradients) = (get("before"), get("grads"));
        let (mut m, mut v, mut after) = (vec![0.0; w.len()], vec![0.0; w.len()], Vec::new());
        for (index, gradient) in gradients.chunks_exact(w.len()).enumerate() {
            let step = index as i32 + 1;
            let s = optimizer::Step { lr: 1e-2, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, decay, step, max_norm: 1.0 };
            optimizer::adamw(s, &mut w, &mut m, &mut v, gradient, norms[index]);
            after.extend_from_slice(&w);
        }
        f.equals(&format!("adamw.{name}.after"), &after);
        f.equals(&format!("adamw.{name}.m"), &m);
        f.equals(&format!("adamw.{name}.v"), &v);
    }
}
