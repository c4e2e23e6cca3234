//! Variants can be disabled by name: disabled variants are not chosen, but some variant always is.

use std::collections::BTreeSet;

use wgpt::{
    doctor::variants::variants,
    gpu::{Capabilities, Gpu},
    ops::{
        attention::{self, Heads},
        kv::decode,
        matmul,
        packed::{self, layout::Layout, product},
        rows::{PLANS, Plan},
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
}

/// Where nothing was timed, a GPU computes attention by blocks, as large as it has memory for, and a driver in software
/// by rows that subgroups share.
#[test]
fn attention_suits_the_adapter() {
    let device = device();
    let chosen_for = |context: usize, capabilities: Capabilities, dim| {
        let gpu = device.gpu.imagine_as(capabilities);
        attention::variants::choose(&gpu, Heads { query: 4, key_value: 4, dim }, context, DType::F32).name
    };
    let chosen = |capabilities: Capabilities, dim| chosen_for(1000, capabilities, dim);
    let gpu = Capabilities { subgroups: Some((32, 32)), workgroup_memory: 32 << 10, ..Capabilities::baseline() };
    let software = Capabilities { processor: true, subgroups: Some((8, 8)), ..gpu.clone() };
    for (dim, by_rows) in [(32, "shared rows 8x2"), (128, "shared rows 8"), (256, "shared rows 8")] {
        assert_eq!(chosen(gpu.clone(), dim), "blocks 128");
        let roomy = Capabilities { workgroup_memory: 48 << 10, ..gpu.clone() };
        assert_eq!(chosen(roomy, dim), "wide blocks 128");
        assert_eq!(chosen(Capabilities::baseline(), dim), "narrow blocks 64");
        assert_eq!(chosen(software.clone(), dim), by_rows);
    }
    // Blocks of 128 rows would be half empty.
    assert_eq!(chosen_for(64, gpu.clone(), 32), "small blocks 128");
    assert_eq!(chosen_for(3, gpu, 32), "narrow blocks 64");
}

/// Even with every variant disabled, there are kernels for everything: those that need no feature that an adapter may
/// lack.
#[test]
fn with_everything_named_the_last_resorts_are_chosen() {
    let device = device();
    let unused = variant_names().into_iter().map(str::to_string).collect();
    let last = device.gpu.imagine_as(Capabilities { unused, ..Capabilities::baseline() });
    let resorts = ["registers 8x8", "registers 8x8", "rows 64", "lanes 4x2, 32", "32 lanes, split", "256x1"];
    assert_eq!(choices(&last), resorts);
    // They are also what remains if only the others are disabled, and they fit any shape on an adapter without optional
    // features.
    let kept = [&resorts[..], &["matmul_registers", "packed_lanes"]].concat();
    let unused = variant_names().into_iter().filter(|name| !kept.contains(name)).map(str::to_string).collect();
    let rest = Capabilities { unused, ..Capabilities::baseline() };
    let gpu = device.gpu.imagine_as(rest.clone());
    let odd = matmul::Shape::new(3, 5, 7).trans_a();
    let fitting = [
        matmul::variants::VARIANTS.iter().filter(|spec| spec.fits(&rest, &odd)).map(|spec| spec.name).collect(),
        attention::variants::VARIANTS
            .iter()
            .filter(|spec| spec.fits(&rest, 8))
            .map(|spec| spec.name)
            .collect::<Vec<_>>(),
        packed::variants::VARIANTS.iter().filter(|spec| spec.fits(&rest)).map(|spec| spec.name).collect(),
        decode::VARIANTS.iter().filter(|spec| spec.fits(&rest)).map(|spec| spec.name).collect(),
        PLANS.iter().filter(|plan| plan.fits(&gpu, 4099)).map(|plan| plan.name).collect(),
    ];
    assert_eq!(fitting.concat(), resorts[1..]);
}

#[test]
fn kernels_are_left_unused_as_well() {
    let device = device();
    let kernels = |unused: &[&str]| {
        let unused = unused.iter().map(|name| (*name).to_string()).collect();
        let capabilities = Capabilities { unused, ..Capabilities::baseline() };
        let found = pollster::block_on(variants(&device.gpu, capabilities)).expect("checks can be noted");
        found.into_iter().map(|variant| variant.kernel.name).collect::<BTreeSet<_>>()
    };
    let (all, mut without) = (kernels(&[]), kernels(&["matmul_tiled"]));
    assert!(without.insert("matmul_tiled"), "it was left unused");
    assert_eq!(without, all, "nothing else was");
}

/// A name shared by two variants would disable both.
#[test]
fn names_are_distinct() {
    // Kernels of matrix products can also be named: each stands for all of its variants.
    let products: BTreeSet<_> = matmul::variants::VARIANTS.iter().map(|spec| spec.kernel.name).collect();
    let packed_kernels: BTreeSet<_> = packed::variants::VARIANTS.iter().map(|spec| spec.kernel.name).collect();
    let mut all: Vec<_> = products.into_iter().chain(packed_kernels).collect();
    all.extend(matmul::variants::VARIANTS.iter().map(|spec| spec.name));
    all.extend(packed::variants::VARIANTS.iter().map(|spec| spec.name));
    all.extend(attention::variants::VARIANTS.iter().map(|spec| spec.name));
    all.extend(decode::VARIANTS.iter().map(|spec| spec.name));
    all.extend(PLANS.iter().map(|plan| plan.name));
    let distinct: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "{all:?}");
    assert_eq!(distinct, variant_names().into_iter().collect());
    assert!(all.iter().all(|name| !name.contains(';') && name.trim() == *name), "WGPT_WITHOUT_VARIANTS takes them");
}
