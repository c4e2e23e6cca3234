//! forge-ml: a GPT-2 in Rust and WGSL. It works on one sequence at a time, so batches are loops, as in its own example.

use std::time::Instant;

use forge::{
    Device, Gpt2, Gpt2Config, Result, Tensor,
    autograd::Tape,
    ops::{self, MatmulSpec},
    optim::{AdamW, AdamWOpts},
};

use crate::{
    cases::{Case, Gpt, Peer, VOCABULARY, Work, ids},
    common::values,
};

/// Its device.
pub struct Forge(Device);

impl Forge {
    /// Opens its device.
    pub fn open() -> Self {
        Self(Device::wgpu().expect("forge-ml finds an adapter"))
    }

    fn data(&self, shape: &[usize]) -> Tensor {
        Tensor::from_f32(&values(shape.iter().product()), shape.to_vec(), &self.0).expect("the tensor fits")
    }

    fn ids(&self, count: usize, most: usize) -> Tensor {
        Tensor::from_u32(&ids(count, most), vec![count], &self.0).expect("the tensor fits")
    }

    /// Times the work in its dispatch scope (fewer submissions), and waits by reading one number afterwards.
    fn timed(&self, mut call: impl FnMut() -> Result<()> + 'static) -> Work {
        let (device, small) = (self.0.clone(), self.data(&[1]));
        Box::new(move |count| {
            let start = Instant::now();
            {
                let _scope = device.dispatch_scope();
                (0..count).for_each(|_| call().expect("forge-ml computes it"));
            }
            small.to_vec_f32().expect("a number");
            start.elapsed()
        })
    }

    fn step(&self, size: Gpt) -> Work {
        let config = Gpt2Config {
            n_layer: size.layers,
            n_head: size.heads,
            n_embd: size.width,
            n_ctx: size.context,
            vocab_size: VOCABULARY,
            layer_norm_epsilon: 1e-5,
            eos_token_id: None,
        };
        let mut model = Gpt2::init_random(config, &self.0, 1).expect("a model");
        let decays: Vec<bool> = model.param_specs().into_iter().map(|(_, decays)| decays).collect();
        let parameters: Vec<_> = model.params().expect("parameters").into_iter().zip(decays).collect();
        let mut optimizer = AdamW::new(&parameters, AdamWOpts::default()).expect("an optimizer");
        let (inputs, targets) = (ids(size.context, VOCABULARY), ids(size.context, VOCABULARY - 1));
        let mut step = move || -> Result<()> {
            let mut sum: Option<Vec<Tensor>> = None;
            for _ in 0..size.batch {
                let (_, gradients) = model.loss_grads(&inputs, &targets, 0.0, 1)?;
                sum = Some(match sum {
                    None => gradients,
                    Some(sum) => {
                        sum.iter().zip(&gradients).map(|(sum, new)| ops::add(sum, new)).collect::<Result<_>>()?
                    }
                });
            }
            let mean = sum.into_iter().flatten().map(|sum| ops::scale(&sum, 1.0 / size.batch as f32));
            let mean = mean.collect::<Result<Vec<_>>>()?;
            optimizer.step(&mut model.params_mut()?, &mean).map(|_| ())
        };
        // Every step reads its losses and norms, so a dispatch scope around it would batch nothing.
        Box::new(move |count| {
            let start = Instant::now();
            (0..count).for_each(|_| step().expect("forge-ml trains"));
            start.elapsed()
        })
    }

    /// One forward and one backward pass through the tape.
    fn both_ways(
        &self,
        leaves: Vec<Tensor>,
        gradient: Tensor,
        forward: impl Fn(&mut Tape, &[forge::autograd::TVar]) -> Result<forge::autograd::TVar> + 'static,
    ) -> Work {
        self.timed(move || {
            let mut tape = Tape::new();
            let leaves: Vec<_> = leaves.iter().map(|leaf| tape.leaf(leaf.clone())).collect();
            let out = forward(&mut tape, &leaves)?;
            tape.backward(&out, gradient.clone()).map(|_| ())
        })
    }
}

impl Peer for Forge {
    fn name(&self) -> &'static str {
        "forge-ml"
    }

    /// All cases except the wide training step, which would take several minutes, twelve times over.
    fn does(&self, case: &Case) -> bool {
        !case.is_roof() && !matches!(case, Case::Step(size) if size.width > 128)
    }

    fn work(&self, case: &Case) -> Work {
        match *case {
            Case::MultiplyAdds | Case::Copy { .. } => unreachable!("roofs are wgpt's"),
            Case::Matmul { m, n, k } => {
                let (a, b) = (self.data(&[m, k]), self.data(&[k, n]));
                self.timed(move || ops::matmul(&a, &b, None, MatmulSpec::default()).map(|_| ()))
            }
            Case::Attention { batch, context, heads, dim, both_ways } => {
                let scores = MatmulSpec { trans_b: true, alpha: 1.0 / (dim as f32).sqrt(), ..MatmulSpec::default() };
                let qkv = self.data(&[context, 3 * heads * dim]);
                if !both_ways {
                    return self.timed(move || {
                        for _ in 0..batch {
                            let (q, k, v) = ops::split_heads(&qkv, heads)?;
                            let weights = ops::softmax(&ops::matmul(&q, &k, None, scores)?, true, 0)?;
                            ops::merge_heads(&ops::matmul(&weights, &v, None, MatmulSpec::default())?)?;
                        }
                        Ok(())
                    });
                }
                let gradient = self.data(&[context, heads * dim]);
                self.timed(move || {
                    for _ in 0..batch {
                        let mut tape = Tape::new();
                        let leaf = tape.leaf(qkv.clone());
                        let (q, k, v) = tape.split_heads(&leaf, heads)?;
                        let logits = tape.matmul(&q, &k, None, scores)?;
                        let weights = tape.softmax(&logits, true, 0)?;
                        let mixed = tape.matmul(&weights, &v, None, MatmulSpec::default())?;
                        let out = tape.merge_heads(&mixed)?;
                        tape.backward(&out, gradient.clone())?;
                    }
                    Ok(())
                })
            }
            Case::LayerNorm { rows, width, both_ways } => {
                let leaves = vec![self.data(&[rows, width]), self.data(&[width]), self.data(&[width])];
                if !both_ways {
                    return self.timed(move || ops::layernorm(&leaves[0], &leaves[1], &leaves[2], 1e-5).map(|_| ()));
                }
                self.both_ways(leaves, self.data(&[rows, width]), |tape, leaves| {
                    tape.layernorm(&leaves[0], &leaves[1], &leaves[2], 1e-5)
                })
            }
            Case::Softmax { rows, width } => {
                let (x, gradient) = (self.data(&[rows, width]), self.data(&[rows, width]));
                self.both_ways(vec![x], gradient, |tape, leaves| tape.softmax(&leaves[0], false, 0))
            }
            Case::CrossEntropy { rows, width } => {
                let (x, targets) = (self.data(&[rows, width]), self.ids(rows, width));
                self.timed(move || {
                    let probabilities = ops::softmax(&x, false, 0)?;
                    ops::gather_nll(&probabilities, &targets)?;
                    ops::ce_bwd(&probabilities, &targets, 1.0 / rows as f32).map(|_| ())
                })
            }
            Case::Embedding { rows, vocabulary, width } => {
                let (table, gradient) = (self.data(&[vocabulary, width]), self.data(&[rows, width]));
                let (tokens, device) = (self.ids(rows, vocabulary), self.0.clone());
                self.timed(move || {
                    ops::embedding(&tokens, &table, None, 0)?;
                    let mut sum = Tensor::zeros(vec![vocabulary, width], &device)?;
                    ops::scatter_add_rows(&mut sum, &tokens, &gradient)
                })
            }
            Case::Gelu { length } => {
                let (x, gradient) = (self.data(&[length]), self.data(&[length]));
                self.timed(move || {
                    ops::gelu(&x)?;
                    ops::gelu_bwd(&x, &gradient).map(|_| ())
                })
            }
            Case::Add { length } => {
                let (a, b) = (self.data(&[length]), self.data(&[length]));
                self.timed(move || ops::add(&a, &b).map(|_| ()))
            }
            Case::AdamW { length } => {
                let mut tensors: Vec<_> = (0..3).map(|_| self.data(&[length])).collect();
                let gradient = self.data(&[length]);
                self.timed(move || {
                    let [weight, m, v] = tensors.as_mut_slice() else { return Ok(()) };
                    ops::adamw(weight, &gradient, m, v, 0.0, 0.9, 0.99, 1e-8, 0.1, 10)
                })
            }
            // A step of a wider model takes minutes, which is too long to wait for.
            Case::Step(size) => self.step(size),
        }
    }
}
