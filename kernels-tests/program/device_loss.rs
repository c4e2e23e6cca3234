//! A device that goes away in the middle of work is an error with a way on, not a panic.

use wgpt::{
    Error,
    gpu::{Gpu, Options},
    tensor::Tensor,
};

#[test]
fn a_lost_device_is_a_typed_error() {
    let gpu = pollster::block_on(Gpu::open(&Options::from_environment())).expect("a GPU adapter, real or software");
    let tensor = Tensor::from_f32(&gpu, &[4], &[1.0, 2.0, 3.0, 4.0]).expect("a tensor");
    assert_eq!(pollster::block_on(tensor.to_f32()).expect("a readback"), [1.0, 2.0, 3.0, 4.0]);
    gpu.device().destroy();
    let error = pollster::block_on(tensor.to_f32()).expect_err("the device is gone");
    assert!(matches!(error, Error::DeviceLost { .. }), "{error:?}");
    assert!(error.to_string().contains("--resume"), "{error}");
    let later = Tensor::zeros(&gpu, &[1 << 20]).and_then(|_| gpu.finish());
    assert!(matches!(later, Err(Error::DeviceLost { .. })), "{later:?}");
}
