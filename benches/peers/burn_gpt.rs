//! A GPT-2 built of burn's own modules: pre-norm blocks, no biases, its causal attention (which its fusion may turn into
//! flash attention), tied head.

use burn::{
    backend::CubeDevice,
    module::Module,
    nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, loss::CrossEntropyLossConfig},
    optim::{AdamWConfig, GradientsParams},
    tensor::{Device, Int, Tensor, activation, module, ops::AttentionModuleOptions},
};

use crate::{
    burn::{timed, tokens},
    cases::{Gpt, VOCABULARY, Work},
};

#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    out: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
    heads: usize,
}

#[derive(Module, Debug)]
struct Model {
    tokens: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl Block {
    fn new(size: Gpt, device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        let norm = || LayerNormConfig::new(size.width).with_bias(false).init(device);
        let width = size.width;
        Self {
            norm1: norm(),
            qkv: linear(width, 3 * width),
            out: linear(width, width),
            norm2: norm(),
            up: linear(width, 4 * width),
            down: linear(4 * width, width),
            heads: size.heads,
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, context, width] = x.dims();
        let qkv = self.qkv.forward(self.norm1.forward(x.clone()));
        let [q, k, v] = qkv
            .chunk(3, 2)
            .try_into()
            .map(|parts: [Tensor<3>; 3]| {
                parts.map(|part| part.reshape([batch, context, self.heads, width / self.heads]).swap_dims(1, 2))
            })
            .expect("three parts");
        let options = AttentionModuleOptions { is_causal: true, ..Default::default() };
        let mixed = module::attention(q, k, v, None, None, options).swap_dims(1, 2).reshape([batch, context, width]);
        let x = x + self.out.forward(mixed);
        let hidden = activation::gelu_approximate(self.up.forward(self.norm2.forward(x.clone())));
        x + self.down.forward(hidden)
    }
}

impl Model {
    fn new(size: Gpt, device: &Device) -> Self {
        Self {
            tokens: EmbeddingConfig::new(VOCABULARY, size.width).init(device),
            positions: EmbeddingConfig::new(size.context, size.width).init(device),
            blocks: (0..size.layers).map(|_| Block::new(size, device)).collect(),
            norm: LayerNormConfig::new(size.width).with_bias(false).init(device),
        }
    }

    fn loss(&self, inputs: Tensor<2, Int>, targets: Tensor<1, Int>, device: &Device) -> Tensor<1> {
        let [batch, context] = inputs.dims();
        let places = Tensor::<1, Int>::arange(0..context as i64, device).reshape([1, context]);
        let mut x = self.tokens.forward(inputs) + self.positions.forward(places);
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = self.norm.forward(x);
        let width = x.dims()[2];
        let logits = x.reshape([batch * context, width]).matmul(self.tokens.weight.val().transpose());
        CrossEntropyLossConfig::new().init(device).forward(logits, targets)
    }
}

/// A training step: forward, backward, AdamW, and reading the loss.
pub fn step(size: Gpt, device: &CubeDevice) -> Work {
    let device = Device::new(device.clone()).autodiff();
    let rows = size.batch * size.context;
    let inputs = Tensor::<2, Int>::from_data(tokens([size.batch, size.context], VOCABULARY), &device);
    let targets = Tensor::<1, Int>::from_data(tokens([rows], VOCABULARY - 1), &device);
    let mut model = Some(Model::new(size, &device));
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.1).init();
    let own = device.clone();
    let mut call = move || {
        let Some(current) = model.take() else { return };
        let loss = current.loss(inputs.clone(), targets.clone(), &own);
        let gradients = GradientsParams::from_grads(loss.backward(), &current);
        model = Some(optimizer.step(1e-3, current, gradients));
        loss.into_scalar::<f32>();
    };
    // Its autotuning decides during the first steps.
    (0..3).for_each(|_| call());
    timed(move || device.sync().expect("burn's device works"), call)
}
