//! burn on wgpu: single kernels without its fusion, which would join calls that are independent here; training steps
//! with fusion, as its users run them.
//!
//! burn's tensors, modules and optimizers always use fusion if it is compiled in. So the single kernels are called on the
//! backend below, with the operations that `burn::nn` and `burn::optim` are made of.

use std::time::Instant;

use burn::{
    backend::{
        Autodiff, AutodiffBackend, Backend, CubeDevice, WgpuDevice,
        ops::{ActivationOps, FloatTensorOps, IntTensorOps, ModuleOps},
        tensor::{FloatTensor, IntTensor},
        wgpu::CubeBackend,
    },
    tensor::{FloatDType, TensorData, ops::AttentionModuleOptions},
};

use crate::{
    burn_gpt,
    cases::{Case, Peer, Work, ids},
    common::values,
};

type Plain = CubeBackend;
type Auto = Autodiff<Plain>;

/// Its device.
pub struct Burn(CubeDevice);

/// Test values in a shape.
fn data<B: Backend>(shape: impl Into<Vec<usize>>, device: &B::Device) -> FloatTensor<B> {
    let shape = shape.into();
    B::float_from_data(TensorData::new(values(shape.iter().product()), shape), device)
}

/// Ids in a shape.
pub fn tokens<const D: usize>(shape: [usize; D], most: usize) -> TensorData {
    let ids: Vec<i32> = ids(shape.iter().product(), most).into_iter().map(|id| id as i32).collect();
    TensorData::new(ids, shape)
}

/// Time for `count` calls that are waited for once. The first call, which compiles and chooses kernels, is not timed.
pub fn timed(wait: impl Fn() + 'static, mut call: impl FnMut() + 'static) -> Work {
    call();
    wait();
    Box::new(move |count| {
        let start = Instant::now();
        (0..count).for_each(|_| call());
        wait();
        start.elapsed()
    })
}

impl Burn {
    /// Its default device.
    pub fn open() -> Self {
        Self(WgpuDevice::default().into())
    }

    fn plain(&self, call: impl FnMut() + 'static) -> Work {
        let device = self.0.clone();
        timed(move || Plain::sync(&device).expect("burn's device works"), call)
    }

    /// A forward and a backward pass through its tape; the output's gradient is all ones.
    fn both_ways(&self, mut forward: impl FnMut() -> FloatTensor<Auto> + 'static) -> Work {
        self.plain(move || drop(Auto::backward(forward())))
    }

    fn qkv<B: Backend<Device = CubeDevice>>(&self, shape: [usize; 4]) -> [FloatTensor<B>; 3] {
        [0; 3].map(|_| data::<B>(shape, &self.0))
    }
}

fn tracked(tensor: &FloatTensor<Auto>) -> FloatTensor<Auto> {
    Auto::float_set_require_grad(tensor.clone(), true)
}

fn attend<B: Backend>([q, k, v]: [FloatTensor<B>; 3]) -> FloatTensor<B> {
    B::attention(q, k, v, None, None, AttentionModuleOptions { is_causal: true, ..Default::default() })
}

/// `LayerNorm`'s first weight and bias.
fn norm_parameters<B: Backend>(width: usize, device: &B::Device) -> [FloatTensor<B>; 2] {
    let shape = || [width].into();
    [B::float_ones(shape(), device, FloatDType::F32), B::float_zeros(shape(), device, FloatDType::F32)]
}

/// `LayerNorm`'s forward pass.
fn norm<B: Backend>(x: FloatTensor<B>, [weight, bias]: [FloatTensor<B>; 2]) -> FloatTensor<B> {
    B::layer_norm(x, weight, Some(bias), 1e-5)
}

/// `CrossEntropyLoss`'s forward pass.
fn cross_entropy<B: Backend>(logits: FloatTensor<B>, targets: IntTensor<B>, rows: usize) -> FloatTensor<B> {
    let targets = B::int_reshape(targets, [rows, 1].into());
    let chosen = B::float_gather(1, B::log_softmax(logits, 1), targets);
    B::float_neg(B::float_mean(B::float_reshape(chosen, [rows].into())))
}

/// `activation::gelu_approximate`.
fn gelu<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    let cubic = B::float_mul_scalar(B::float_powf_scalar(x.clone(), 3.0.into()), 0.044715.into());
    let inner = B::float_mul_scalar(B::float_add(x.clone(), cubic), (FRAC_2_SQRT_PI * FRAC_1_SQRT_2).into());
    let gate = B::float_add_scalar(B::float_tanh(inner), 1.0.into());
    B::float_mul_scalar(B::float_mul(x, gate), 0.5.into())
}

/// What `AdamW` keeps of a weight.
struct Moments<B: Backend> {
    time: i32,
    first: FloatTensor<B>,
    second: FloatTensor<B>,
}

/// `AdamW`'s step with its default settings, apart from the learning rate and a weight decay of 0.1.
fn adamw<B: Backend>(
    rate: f64,
    weight: FloatTensor<B>,
    gradient: FloatTensor<B>,
    moments: Option<Moments<B>>,
) -> (FloatTensor<B>, Moments<B>) {
    let (beta1, beta2, epsilon, decay) = (0.9f32, 0.999f32, 1e-5f32, 0.1f32);
    let first = B::float_mul_scalar(gradient.clone(), (1.0 - beta1).into());
    let second = B::float_mul_scalar(B::float_powi_scalar(gradient, 2.into()), (1.0 - beta2).into());
    let moments = match moments {
        Some(moments) => Moments {
            time: moments.time + 1,
            first: B::float_add(B::float_mul_scalar(moments.first, beta1.into()), first),
            second: B::float_add(B::float_mul_scalar(moments.second, beta2.into()), second),
        },
        None => Moments { time: 1, first, second },
    };
    let corrected = |moment: &FloatTensor<B>, beta: f32| {
        B::float_div_scalar(moment.clone(), (1.0 - beta.powi(moments.time)).into())
    };
    let (first, second) = (corrected(&moments.first, beta1), corrected(&moments.second, beta2));
    let change = B::float_div(first, B::float_add_scalar(B::float_sqrt(second), epsilon.into()));
    let decayed = B::float_mul_scalar(weight, (1.0 - rate * f64::from(decay)).into());
    (B::float_sub(decayed, B::float_mul_scalar(change, rate.into())), moments)
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
                let (a, b) = (data::<Plain>([m, k], device), data::<Plain>([k, n], device));
                self.plain(move || drop(Plain::float_matmul(a.clone(), b.clone())))
            }
            Case::Attention { batch, context, heads, dim, both_ways } => {
                let shape = [batch, heads, context, dim];
                if !both_ways {
                    let qkv = self.qkv::<Plain>(shape);
                    return self.plain(move || drop(attend::<Plain>(qkv.clone())));
                }
                let qkv = self.qkv::<Auto>(shape);
                self.both_ways(move || attend::<Auto>([0, 1, 2].map(|i: usize| tracked(&qkv[i]))))
            }
            Case::LayerNorm { rows, width, both_ways } => {
                if !both_ways {
                    let parameters = norm_parameters::<Plain>(width, device);
                    let x = data::<Plain>([rows, width], device);
                    return self.plain(move || drop(norm::<Plain>(x.clone(), parameters.clone())));
                }
                let parameters = norm_parameters::<Auto>(width, device).map(|parameter| tracked(&parameter));
                let x = data::<Auto>([rows, width], device);
                self.both_ways(move || norm::<Auto>(tracked(&x), parameters.clone()))
            }
            Case::Softmax { rows, width } => {
                let x = data::<Auto>([rows, width], device);
                self.both_ways(move || Auto::softmax(tracked(&x), 1))
            }
            Case::CrossEntropy { rows, width } => {
                let x = data::<Auto>([rows, width], device);
                let targets = Auto::int_from_data(tokens([rows], width), device);
                self.both_ways(move || cross_entropy::<Auto>(tracked(&x), targets.clone(), rows))
            }
            Case::Embedding { rows, vocabulary, width } => {
                let table = data::<Auto>([vocabulary, width], device);
                let tokens = Auto::int_from_data(tokens([1, rows], vocabulary), device);
                self.both_ways(move || Auto::embedding(tracked(&table), tokens.clone()))
            }
            Case::Gelu { length } => {
                let x = data::<Auto>([length], device);
                self.both_ways(move || gelu::<Auto>(tracked(&x)))
            }
            Case::Add { length } => {
                let (a, b) = (data::<Plain>([length], device), data::<Plain>([length], device));
                self.plain(move || drop(Plain::float_add(a.clone(), b.clone())))
            }
            Case::AdamW { length } => {
                let gradient = data::<Plain>([length], device);
                let mut weight = data::<Plain>([length], device);
                let mut moments = None;
                self.plain(move || {
                    let (next, kept) = adamw::<Plain>(1e-9, weight.clone(), gradient.clone(), moments.take());
                    (weight, moments) = (next, Some(kept));
                })
            }
            Case::Step(size) => burn_gpt::step(size, device),
        }
    }
}
