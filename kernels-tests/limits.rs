//! Limits: the minimum that WebGPU guarantees, if that is asked for, and sizes beyond any limit.

use wgpt::{Error, gpu::capabilities::MINIMUM, ops::elementwise, tape::Tape, tensor::Tensor};

use crate::device::device;

#[test]
fn minimum_limits_are_webgpus() {
    let device = device();
    if std::env::var("WGPT_LIMITS").as_deref() != Ok(MINIMUM) {
        return println!("skipped: WGPT_LIMITS={MINIMUM} does not ask for the minimum limits");
    }
    let limits = device.gpu.capabilities();
    // None of them exceeds what WebGPU guarantees, whatever the adapter has.
    assert!(limits.binding <= 128 << 20 && limits.buffer <= 256 << 20, "{limits:?}");
    assert!(limits.workgroup_memory <= 16_384 && limits.invocations <= 256 && limits.groups <= 65_535, "{limits:?}");
    assert_eq!(limits.alignment, 256);
    assert_eq!(device.gpu.wgpu_device().expect("it is bounded").limits().max_storage_buffers_per_shader_stage, 8);
}

#[test]
fn a_tensor_over_the_largest_buffer_is_refused() {
    let device = device();
    let most = device.gpu.capabilities().buffer;
    let error = Tensor::empty_f32(&device.gpu, &[most as usize / 4 + 1]).expect_err("it fits no buffer");
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("the adapter allows {most} in one buffer")), "{error}");
    device.gpu.check().expect("the driver was not asked");
}

/// Weights are bound range by range; other tensors over a binding are refused before the driver sees them.
#[test]
fn a_tensor_over_the_largest_binding_is_refused() {
    let device = device();
    let limits = device.gpu.capabilities();
    let elements = limits.binding as usize / 4 + 1024;
    if 4 * elements as u64 > limits.buffer || u32::try_from(elements).is_err() {
        return println!("skipped: this adapter binds its largest buffer as a whole");
    }
    // Nothing that large is created there.
    let imagined = device.gpu.imagine();
    let large = Tensor::empty_f32(&imagined, &[elements]).expect("a buffer may be so large");
    let error = elementwise::add(&Tape::off(&imagined), &large, &large).expect_err("it cannot be bound");
    assert!(matches!(error, Error::OutOfMemory(_)), "{error:?}");
    let said = error.to_string();
    assert!(said.contains(&format!("binds at most {}", limits.binding)), "{said}");
    large.scale_into(&large, 2.0, false).expect("range by range");
}
