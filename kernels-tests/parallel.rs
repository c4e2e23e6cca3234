//! A guarantee that ranks rely on: a gradient reported as complete is complete. `ranks.rs` tests several ranks.

use std::collections::{HashMap, HashSet};

use wgpt::{
    gpu::wait,
    model::{Config, Gpt, Model, config::Positions, gpt::Pass},
    ops::cross_entropy::Targets,
    optim::Optimizer,
    tape::{Gradients, Tape},
    tensor::Tensor,
    train::{Settings, trainer},
};

use crate::{device::device, training::batch};

fn read(tensor: &Tensor) -> Vec<f32> {
    pollster::block_on(tensor.to_f32()).expect("a readback")
}

/// Covers both families, embeddings used once and twice, and activations kept and recomputed: every parameter is
/// reported once, and its gradient then already has its final value.
#[test]
fn gradients_are_complete_when_reported() {
    let device = device();
    let gpu = &device.gpu;
    let (gpt2, llama) = (Config::gpt2(41, 13, 2, 4, 48), Config::llama(41, 13, 2, 4, 48));
    let untied = Config { bias: false, tied: false, positions: Positions::Rotary, ..gpt2.clone() };
    let more = Config { kv_heads: 2, qk_norm: true, qkv_bias: true, ..llama };
    for (config, checkpoint) in
        [(gpt2.clone(), false), (gpt2, true), (untied, false), (more.clone(), false), (more, true)]
    {
        let settings = Settings { batch: 3, ..Settings::recipe(config.clone()) };
        let model = Gpt::new(gpu, &config, 1).expect("a model");
        let mut gradients = Gradients::default();
        let parameters = model.parameters().to_vec();
        let optimizer =
            Optimizer::new(gpu, &parameters, &[], settings.common.optimizer, &mut gradients).expect("an optimizer");
        let all = batch(&settings, 5);
        let (mut told, mut order) = (HashMap::new(), Vec::new());
        // Two micro-batches: the second adds to the gradients of the first.
        for last in [false, true] {
            let tape = Tape::new(gpu);
            model.watch(&tape);
            let tokens = trainer::tokens(gpu, &all, true).expect("tokens");
            let hidden = model.forward(&tape, &tokens, Pass { checkpoint, ..Pass::default() }, None).expect("a pass");
            let targets = Targets::new(gpu, &all.targets).expect("targets");
            let loss = model.loss(&tape, &hidden, &targets, 0.5).expect("a loss").mean;
            let one = Tensor::from_f32(gpu, &[1], &[1.0]).expect("one");
            let done = |gradients: &Gradients, id: u64| {
                let (_, weight) = parameters.iter().find(|(_, weight)| weight.id() == id).expect("a parameter");
                let gradient = gradients.get(weight).expect("its gradient");
                if last {
                    assert!(told.insert(id, wait::now(gradient.to_f32())?).is_none(), "told twice: {config:?}");
                    order.push(id);
                }
                Ok(())
            };
            tape.backward_telling(&loss, one, &mut gradients, done).expect("a backward pass");
        }
        assert_eq!(told.len(), parameters.len(), "{config:?}");
        for (name, weight) in &parameters {
            let end = read(gradients.get(weight).expect("a gradient"));
            assert!(end.iter().any(|value| *value != 0.0), "{name}");
            assert_eq!(told[&weight.id()], end, "{name} was not complete, checkpoint {checkpoint}: {config:?}");
        }
        // The last blocks are complete first, so their gradients can be sent first.
        let place = |name: &str| {
            let (_, weight) = parameters.iter().find(|(other, _)| other == name).expect("a parameter");
            order.iter().position(|id| *id == weight.id())
        };
        assert!(place("blocks.1.mlp.down.weight") < place("blocks.0.attention.qkv.weight"));
        // Exactly the parameters whose gradients are summed over the ranks are reported.
        let added: HashSet<_> = optimizer.in_memory().map(|(weight, _)| weight.id()).collect();
        assert_eq!(added, told.keys().copied().collect(), "{config:?}");
    }
}
