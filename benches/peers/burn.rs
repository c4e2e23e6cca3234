//! burn on wgpu: single kernels without its fusion, which would join calls that are independent here; training steps
//! with fusion, as its users run them.

use std::time::Instant;

use burn::{
    backend::{
        Autodiff,
        wgpu::{CubeBackend, WgpuDevice, WgpuRuntime},
    },
    nn::{LayerNorm, LayerNormConfig, loss::CrossEntropyLossConfig},
    optim::{AdamW, AdamWConfig, SimpleOptimizer},
    tensor::{Int, Tensor, TensorData, activation, backend::Backend, module, ops::AttentionModuleOptions},
};

use crate::{
    burn_gpt,
    cases::{Case, Peer, Work, ids},
    common::values,
};

type Plain = CubeBackend<WgpuRuntime, f32, i32, u32>;
type Auto = Autodiff<Plain>;

/// Its device.
pub struct Burn(WgpuDevice);

/// Test values in a shape.
fn data<B: Backend, const D: usize>(shape: [usize; D], device: &B::Device) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values(shape.iter().product()), shape), device)
}

/// Ids in a shape.
pub fn tokens<B: Backend, const D: usize>(shape: [usize; D], most: usize, device: &B::Device) -> Tensor<B, D, Int> {
    let ids: Vec<i32> = ids(shape.iter().product(), most).into_iter().map(|id| id as i32).collect();
    Tensor::from_data(TensorData::new(ids, shape), device)
}

/// Time for `count` calls that are waited for once. The first call, which compiles and chooses kernels, is not timed.
pub fn timed<B: Backend>(device: &B::Device, mut call: impl FnMut() + 'static) -> Work {
    let device = device.clone();
    call();
    B::sync(&device).expect("burn's device works");
    Box::new(move |count| {
        let start = Instant::now();
        (0..count).for_each(|_| call());
        B::sync(&device).expect("burn's device works");
        start.elapsed()
    })
}

impl Burn {
    /// Its default device.
    pub fn open() -> Self {
        Self(WgpuDevice::default())
    }

    fn plain(&self, call: impl FnMut() + 'static) -> Work {
        timed::<Plain>(&self.0, call)
    }

    /// A forward and a backward pass through its tape; the output's gradient is all ones.
    fn both_ways<const D: usize>(&self, mut forward: impl FnMut() -> Tensor<Auto, D> + 'static) -> Work {
        timed::<Auto>(&self.0, move || drop(forward().backward()))
    }

    fn qkv<B: Backend<Device = WgpuDevice>>(&self, shape: [usize; 4]) -> [Tensor<B, 4>; 3] {
        [0; 3].map(|_| data::<B, 4>(shape, &self.0))
    }
}

fn attend<B: Backend>([q, k, v]: [Tensor<B, 4>; 3]) -> Tensor<B, 4> {
    module::attention(q, k, v, None, None, AttentionModuleOptions { is_causal: true, ..Default::default() })
}

fn tracked<const D: usize>(tensor: &Tensor<Auto, D>) -> Tensor<Auto, D> {
    tensor.clone().require_grad()
}

impl Peer for Burn {
    fn name(&self) -> &'static str {
        "burn"
    }

    fn does(&self, case: &Case) -> bool {
        !case.is_roof()
    }

    fn work(&self, case: &Case) -> Work {
        let device = &self.0;
        match *case {
            Case::MultiplyAdds | Case::Copy { .. } => unreachable!("roofs are wgpt's"),
            Case::Matmul { m, n, k } => {
                let (a, b) = (data::<Plain, 2>([m, k], device), data::<Plain, 2>([k, n], device));
                self.plain(move || drop(a.clone().matmul(b.clone())))
            }
            Case::Attention { batch, context, heads, dim, both_ways } => {
                let shape = [batch, heads, context, dim];
                if !both_ways {
                    let qkv = self.qkv::<Plain>(shape);
                    return self.plain(move || drop(attend(qkv.clone())));
                }
                let qkv = self.qkv::<Auto>(shape);
                self.both_ways(move || attend([0, 1, 2].map(|i: usize| tracked(&qkv[i]))))
            }
            Case::LayerNorm { rows, width, both_ways } => {
                if !both_ways {
                    let norm: LayerNorm<Plain> = LayerNormConfig::new(width).init(device);
                    let x = data::<Plain, 2>([rows, width], device);
                    return self.plain(move || drop(norm.forward(x.clone())));
                }
                let norm: LayerNorm<Auto> = LayerNormConfig::new(width).init(device);
                let x = data::<Auto, 2>([rows, width], device);
                self.both_ways(move || norm.forward(tracked(&x)))
            }
            Case::Softmax { rows, width } => {
                let x = data::<Auto, 2>([rows, width], device);
                self.both_ways(move || activation::softmax(tracked(&x), 1))
            }
            Case::CrossEntropy { rows, width } => {
                let (x, targets) = (data::<Auto, 2>([rows, width], device), tokens::<Auto, 1>([rows], width, device));
                let loss = CrossEntropyLossConfig::new().init::<Auto>(device);
                self.both_ways(move || loss.forward(tracked(&x), targets.clone()))
            }
            Case::Embedding { rows, vocabulary, width } => {
                let table = data::<Auto, 2>([vocabulary, width], device);
                let tokens = tokens::<Auto, 2>([1, rows], vocabulary, device);
                self.both_ways(move || module::embedding(tracked(&table), tokens.clone()))
            }
            Case::Gelu { length } => {
                let x = data::<Auto, 1>([length], device);
                self.both_ways(move || activation::gelu_approximate(tracked(&x)))
            }
            Case::Add { length } => {
                let (a, b) = (data::<Plain, 1>([length], device), data::<Plain, 1>([length], device));
                self.plain(move || drop(a.clone() + b.clone()))
            }
            Case::AdamW { length } => {
                let optimizer: AdamW = AdamWConfig::new().with_weight_decay(0.1).build();
                let gradient = data::<Plain, 1>([length], device);
                let mut weight = data::<Plain, 1>([length], device);
                let mut state = None;
                self.plain(move || {
                    let (next, kept) = optimizer.step(1e-9, weight.clone(), gradient.clone(), state.take());
                    (weight, state) = (next, kept);
                })
            }
            Case::Step(size) => burn_gpt::step(size, device),
        }
    }
}
