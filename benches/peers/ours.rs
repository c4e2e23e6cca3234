//! wgpt's side: the operations that its models consist of, each with the variant that the tuner chooses.

use wgpt::{
    Result,
    gpu::Gpu,
    model::{Config, Gpt as Model},
    ops::{
        activation,
        attention::{self, Heads},
        cross_entropy::Targets,
        elementwise,
        embedding::{Tokens, embed},
        head::{self, Reading, Slope},
        matmul::{Epilogue, Shape, matmul},
        norm, optimizer,
        roofline::MultiplyAdds,
        rows::Plan,
        softmax, tuning,
    },
    tape::{Gradients, Tape},
    tensor::{DType, Tensor},
    text::batches::Batch,
    train::{Settings, trainer::Trainer},
};

use crate::{
    cases::{Case, Gpt, Peer, VOCABULARY, Work, ids},
    common::{self, STILL, clock},
};

/// The adapter that `WGPT_ADAPTER` names, or the best one if it is not set.
pub struct Wgpt(Gpu);

impl Wgpt {
    /// Opens the adapter.
    pub fn open() -> Self {
        Self(common::device())
    }

    fn data(&self, shape: &[usize]) -> Tensor {
        common::data(&self.0, shape)
    }

    fn empty(&self, shape: &[usize]) -> Tensor {
        Tensor::empty_f32(&self.0, shape).expect("the tensor fits")
    }

    /// Runs the work once to collect the tuner's questions, answers them, and returns the work.
    fn tuned(&self, mut call: impl FnMut() -> Result<()> + 'static) -> Work {
        let gpu = self.0.clone();
        call().expect("the call is recorded");
        pollster::block_on(tuning::answer(&gpu, None, |_, _, _| {})).expect("tuned");
        Box::new(move |count| clock(&gpu, count, &mut call))
    }

    /// Work that a tape records; the output's gradient has the shape of the output.
    fn both_ways(
        &self,
        leaves: Vec<Tensor>,
        gradient: Tensor,
        forward: impl Fn(&Tape, &[Tensor]) -> Result<Tensor> + 'static,
    ) -> Work {
        let (gpu, mut gradients) = (self.0.clone(), Gradients::default());
        self.tuned(move || {
            let tape = Tape::new(&gpu);
            leaves.iter().for_each(|leaf| tape.watch(leaf));
            let out = forward(&tape, &leaves)?;
            tape.backward(&out, gradient.clone(), &mut gradients)?;
            gradients.reset();
            Ok(())
        })
    }

    fn step(&self, size: Gpt) -> Work {
        let config =
            Config { bias: false, ..Config::gpt2(VOCABULARY, size.context, size.layers, size.heads, size.width) };
        let settings = Settings { batch: size.batch, ..Settings::recipe(config) };
        let tokens = size.batch * size.context;
        let batch = Batch {
            inputs: ids(tokens, VOCABULARY),
            targets: ids(tokens, VOCABULARY - 1),
            starts: None,
            rows: size.batch,
            context: size.context,
        };
        let model = Model::new(&self.0, &settings.config, 1).expect("a model");
        let mut trainer = Trainer::new(&self.0, model, &settings).expect("a trainer");
        trainer.rehearse(std::slice::from_ref(&batch)).expect("a rehearsal");
        self.tuned(move || {
            pollster::block_on(trainer.step(std::slice::from_ref(&batch))?.outcome()).map(|_| ())
        })
    }
}

impl Peer for Wgpt {
    fn name(&self) -> &'static str {
        "wgpt"
    }

    fn does(&self, _: &Case) -> bool {
        true
    }

    fn work(&self, case: &Case) -> Work {
        match *case {
            Case::MultiplyAdds => {
                let roof = MultiplyAdds::new(&self.0).expect("the tensor fits");
                self.tuned(move || roof.run())
            }
            Case::Copy { length } => {
                let (from, to) = (self.data(&[length]), self.empty(&[length]));
                self.tuned(move || from.scale_into(&to, 1.0, false))
            }
            Case::Matmul { m, n, k } => {
                let (a, b, out) = (self.data(&[m, k]), self.data(&[k, n]), self.empty(&[m, n]));
                self.tuned(move || matmul(Shape::new(m, n, k), &a, &b, &out, Epilogue::default()))
            }
            Case::Attention { batch, context, heads, dim, both_ways } => {
                let sizes = Heads { query: heads, key_value: heads, dim };
                let qkv = self.data(&[batch, context, sizes.qkv_width()]);
                if !both_ways {
                    return self.tuned(move || attention::forward(&qkv, sizes, None).map(|_| ()));
                }
                let gradient = self.data(&[batch, context, heads * dim]);
                self.both_ways(vec![qkv], gradient, move |tape, leaves| {
                    attention::attention(tape, &leaves[0], sizes, None)
                })
            }
            Case::LayerNorm { rows, width, both_ways } => {
                let leaves = vec![self.data(&[rows, width]), self.data(&[width]), self.data(&[width])];
                let forward = |tape: &Tape, leaves: &[Tensor]| {
                    let weights = norm::Weights { weight: &leaves[1], bias: Some(&leaves[2]) };
                    norm::norm(tape, norm::Kind::Layer, &leaves[0], weights, 1e-5, DType::F32)
                };
                if !both_ways {
                    let tape = Tape::off(&self.0);
                    return self.tuned(move || forward(&tape, &leaves).map(|_| ()));
                }
                self.both_ways(leaves, self.data(&[rows, width]), forward)
            }
            Case::Softmax { rows, width } => {
                let (x, gradient) = (self.data(&[rows, width]), self.data(&[rows, width]));
                self.both_ways(vec![x], gradient, |tape, leaves| softmax::softmax(tape, &leaves[0]))
            }
            Case::CrossEntropy { rows, width } => {
                let x = self.data(&[rows, width]);
                let targets = Targets::new(&self.0, &ids(rows, width)).expect("targets");
                let stats = self.empty(&[rows, 4]);
                let slope = Slope { factor: 1.0 / rows as f32, rows: None };
                let gpu = self.0.clone();
                // The gradient overwrites the logits, so every call needs fresh ones; a framework's output is fresh too.
                let logits = self.empty(&[rows, width]);
                self.tuned(move || {
                    x.scale_into(&logits, 1.0, false)?;
                    let plan = Plan::choose(&gpu, rows, width);
                    head::accumulate(&logits, &targets.ids, &stats, 0, Reading::LOSS, plan)?;
                    head::backward(&logits, &targets.ids, &stats, 0, Reading::LOSS, slope, plan)
                })
            }
            Case::Embedding { rows, vocabulary, width } => {
                let tokens = Tokens::new(&self.0, &ids(rows, vocabulary), 1, rows, true).expect("tokens");
                let table = self.data(&[vocabulary, width]);
                self.both_ways(vec![table], self.data(&[1, rows, width]), move |tape, leaves| {
                    embed(tape, &tokens, &leaves[0], None, 0)
                })
            }
            Case::Gelu { length } => {
                let (x, gradient) = (self.data(&[length]), self.data(&[length]));
                self.tuned(move || {
                    activation::gelu(&x)?;
                    activation::gelu_backward(&x, &gradient).map(|_| ())
                })
            }
            Case::Add { length } => {
                let (a, b, tape) = (self.data(&[length]), self.data(&[length]), Tape::off(&self.0));
                self.tuned(move || elementwise::add(&tape, &a, &b).map(|_| ()))
            }
            Case::AdamW { length } => {
                let [weight, gradient, m, v] = [(); 4].map(|()| self.data(&[length]));
                let (state, norm) = (optimizer::State { weight, gradient, m, v, half: None }, self.data(&[1]));
                self.tuned(move || optimizer::adamw(STILL, &state, &norm))
            }
            Case::Step(size) => self.step(size),
        }
    }
}
