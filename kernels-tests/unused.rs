//! Variants can be left unused by name: then they are not chosen, but some variant always is.

use wgpt::{
    doctor::variants::variants,
    gpu::{Capabilities, Gpu},
    ops::{
        attention::{self, Heads},
        kv::decode,
        matmul,
        packed::{layout::Layout, product},
        rows::Plan,
        variant_names,
    },
    tensor::DType,
};

use crate::device::device;

/// The names of the variants that an adapter chooses for a few shapes.
fn choices(gpu: &Gpu) -> Vec<&'static str> {
    let heads = Heads { query: 4, key_value: 4, dim: 32 };
    vec![
        matmul::choose(gpu, matmul::Shape::new(64, 64, 64)).name,
        matmul::choose(gpu, matmul::Shape::new(1, 64, 64).trans_b()).name,
        attention::variants::choose(gpu, heads, 64, DType::F32).name,
        product::choose(gpu, Layout::Q4, [1, 64, 64]).name,
        decode::DecodeVariant::choose(gpu).name,
        Plan::choose(gpu, 64, 64).name,
    ]
}

#[test]
fn named_variants_are_not_chosen() {
    let device = device();
    let without = |unused: &[&str]| {
        let unused = unused.iter().map(|name| (*name).to_string()).collect();
        device.gpu.imagine_as(Capabilities { unused, ..device.gpu.capabilities().clone() })
    };
    let first = choices(&without(&[]));
    let second = choices(&without(&first));
    for (first, second) in first.iter().zip(&second) {
        assert_ne!(first, second);
    }
    // Even if every variant is named, there is a kernel for everything.
    assert_eq!(choices(&without(&variant_names())).len(), first.len());
}

#[test]
fn kernels_are_left_unused_as_well() {
    let device = device();
    let capabilities = Capabilities { unused: vec!["matmul_tiled".to_string()], ..Capabilities::baseline() };
    let found = pollster::block_on(variants(&device.gpu, capabilities)).expect("checks can be noted");
    assert!(found.iter().any(|variant| variant.kernel.name == "matmul_registers"));
    assert!(found.iter().all(|variant| variant.kernel.name != "matmul_tiled"));
}

/// If two families shared a name, it would leave both variants unused.
#[test]
fn names_are_distinct() {
    let names = variant_names();
    assert!(names.iter().all(|name| !name.contains(';') && name.trim() == *name));
    for kernel in ["matmul_tiled", "packed_lanes", "shuffled rows 32", "32 lanes, split", "subgroup 8x8"] {
        assert!(names.contains(&kernel), "{kernel}");
    }
}
