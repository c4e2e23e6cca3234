//! A device that is lost during training ends it with an error that says how to continue, not with a panic; and the
//! saved run continues as if nothing had happened, bit for bit.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use wgpt::{
    Error,
    gpu::{Gpu, Options},
    tensor::Tensor,
    text::shards,
    train::{pretrain::Pretrain, run::Event, state, supervised::Supervised},
};

use crate::program::{Place, checked, english, kill, pretrain};

const SETTINGS: &[&str] = &["--steps", "150", "--save-every", "7", "--val-every", "50", "--dropout", "0.1"];

/// The newest checkpoint of a run.
fn newest(run: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(run).ok()?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("checkpoint-0"));
    folders.filter(named).max()
}

/// Continues the run in `out` until the device is lost, in the tenth step from here.
fn lose(gpu: &Gpu, place: &Place, out: &Path) -> Error {
    let (trainer, codec, state) = state::resume(gpu, out).expect("resumed");
    let settings = state.settings;
    let text = place.path("text.txt");
    let split =
        shards::prepare(&text, &codec.tokenizer, out, settings.val_fraction, &mut |_, _| {}).expect("token files");
    let (task, stop) = (Pretrain { split }, AtomicBool::new(false));
    let mut stage = Supervised { out, settings, task, codec, trainer, best_val_loss: state.best_val_loss, stop: &stop };
    let (lost, mut steps) = (gpu.clone(), 0);
    let ended = pollster::block_on(stage.run(|event| {
        steps += u32::from(matches!(event, Event::Step(_)));
        if steps == 10 {
            lost.destroy();
        }
    }));
    ended.expect_err("the device is gone")
}

#[test]
fn a_training_that_loses_its_device_says_how_to_go_on_and_does() {
    let place = Place::with_text(english());
    place.json(&pretrain("whole", SETTINGS));

    // Started by the program, so that the program can resume it.
    let out = place.path("lost");
    let child = place.start(&pretrain("lost", SETTINGS));
    // By the time of its next step, the second checkpoint is complete.
    place.wait_for_steps("lost", 15);
    kill(child);

    // Opened as the program opens it in these tests: with the kernels' run-time checks, which may round differently.
    let options = Options { checked: checked(), ..Options::from_environment() };
    let gpu = pollster::block_on(Gpu::open(&options)).expect("a GPU adapter, real or software");
    let tensor = Tensor::from_f32(&gpu, &[4], &[1.0, 2.0, 3.0, 4.0]).expect("a tensor");
    assert_eq!(pollster::block_on(tensor.to_f32()).expect("a readback"), [1.0, 2.0, 3.0, 4.0]);
    let error = lose(&gpu, &place, &out);
    let kept = newest(&out).expect("a checkpoint is left");
    assert!(matches!(&error, Error::DeviceLost { saved: Some(saved), .. } if *saved == kept), "{error:?}, {kept:?}");
    let said = error.to_string();
    assert!(said.contains(&format!("{} is whole", kept.display())), "{said}");

    // Everything else on that device fails in the same way, without a checkpoint to continue from.
    let error = pollster::block_on(tensor.to_f32()).expect_err("the device is gone");
    assert!(matches!(error, Error::DeviceLost { saved: None, .. }), "{error:?}");
    let later = Tensor::zeros(&gpu, &[1 << 20]).and_then(|_| pollster::block_on(gpu.finish()));
    assert!(matches!(later, Err(Error::DeviceLost { .. })), "{later:?}");

    let resumed: Vec<_> = SETTINGS.iter().copied().chain(["--resume"]).collect();
    assert_eq!(place.json(&pretrain("lost", &resumed))["step"], 150);
    assert_eq!(place.losses("lost"), place.losses("whole"));
    let weights = |run| std::fs::read(place.path(run).join("checkpoint-00000150/model.safetensors")).expect("weights");
    assert!(weights("lost") == weights("whole"), "the last weights differ");
}
