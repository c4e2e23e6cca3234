//! Several ranks compute the same as one. Here the ranks are threads that share the device; `scripts/check/ranks/run`
//! tests processes under mpirun.

use wgpt::{
    Result,
    gpu::{Gpu, wait},
    model::{Config, Gpt},
    optim::{Decay, Schedule},
    parallel::{Group, Kept, Options, Wire, threads},
    tensor::Tensor,
    text::batches,
    train::{
        Settings,
        settings::Common,
        trainer::{Outcome, Trainer},
    },
};

use crate::{device::device, training::batch};

/// Settings for steps over `batch` rows.
fn settings(config: Config, batch: usize) -> Settings {
    let schedule = Schedule { lr: 1e-2, min_lr: 1e-3, warmup: 0, steps: 10, decay: Decay::Cosine };
    let recipe = Settings::recipe(config);
    Settings { common: Common { seed: 1, ..recipe.common }, batch, schedule, ..recipe }
}

fn trainer(gpu: &Gpu, settings: &Settings) -> Result<Trainer> {
    Trainer::new(gpu, Gpt::new(gpu, &settings.config, 7)?, settings)
}

/// A step over this rank's share of a batch, or over all of it.
fn step(trainer: &mut Trainer, settings: &Settings, counter: u64) -> Result<Outcome> {
    wait::now(trainer.step(&[batch(settings, counter)])?.outcome())
}

fn weights(model: &Gpt) -> Result<Vec<f32>> {
    let all = model.parameters().iter().map(|(_, weight)| wait::now(weight.to_f32()));
    Ok(all.collect::<Result<Vec<_>>>()?.concat())
}

/// The state of a rank after some steps.
struct Trained {
    outcomes: Vec<Outcome>,
    weights: Vec<f32>,
    kept: Vec<Kept>,
}

fn train(gpu: &Gpu, group: &Group, settings: &Settings, steps: u64) -> Result<Trained> {
    let mut trainer = trainer(gpu, settings)?;
    trainer.join(group)?;
    let outcomes = (0..steps).map(|counter| step(&mut trainer, settings, counter)).collect::<Result<_>>()?;
    trainer.replica.meet()?;
    Ok(Trained { outcomes, weights: weights(&trainer.model)?, kept: wait::now(trainer.kept())? })
}

/// The root mean square of the difference, relative to the root mean square of the wanted values.
fn error(found: &[f32], wanted: &[f32]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let squares: f64 = found.iter().zip(wanted).map(|(x, y)| f64::from(x - y).powi(2)).sum();
    let size: f64 = wanted.iter().map(|y| f64::from(*y).powi(2)).sum();
    (squares / size.max(f64::MIN_POSITIVE)).sqrt()
}

/// The steps, weights and moments of all ranks must equal those of one rank within bounds that `most` sets, and all
/// ranks must have the same weights.
fn compare(name: &str, one: &Trained, all: &[Trained], most: f64) {
    for (rank, found) in all.iter().enumerate() {
        for (found, wanted) in found.outcomes.iter().zip(&one.outcomes) {
            let off = |x: f32, y: f32| f64::from((x - y).abs() / y.abs());
            assert!(off(found.loss, wanted.loss) <= most, "{name}, rank {rank}: {found:?}, alone {wanted:?}");
            assert!(off(found.norm, wanted.norm) <= 10.0 * most, "{name}, rank {rank}: {found:?}, alone {wanted:?}");
        }
        assert_eq!(found.outcomes.len(), one.outcomes.len());
        assert!(found.weights == all[0].weights, "{name}: the weights of ranks 0 and {rank} differ");
        // All ranks ask for what a checkpoint keeps; only the first gets it.
        assert_eq!(found.kept.is_empty(), rank != 0, "{name}");
    }
    let found = error(&all[0].weights, &one.weights);
    assert!(found <= 10.0 * most, "{name}: weights are off by {found:e}");
    let sorted = |kept: &[Kept]| {
        let mut kept = kept.to_vec();
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        kept
    };
    let (kept, wanted) = (sorted(&all[0].kept), sorted(&one.kept));
    assert_eq!(kept.len(), wanted.len(), "{name}");
    for (found, wanted) in kept.iter().zip(&wanted) {
        assert_eq!((&found.name, &found.shape), (&wanted.name, &wanted.shape), "{name}");
        let error = error(&found.values, &wanted.values);
        assert!(error <= 100.0 * most, "{name}: {} is off by {error:e}", wanted.name);
    }
}

#[test]
fn ranks_that_add_their_gradients_do_what_one_does() {
    let device = device();
    let gpu = &device.gpu;
    let settings = settings(Config { tied: false, ..Config::llama(41, 13, 2, 4, 48) }, 3);
    let one = train(gpu, &Group::alone(), &settings, 3).expect("a rank alone");
    let (sharded, half) =
        (Options { shard_optimizer: true, ..Options::default() }, Options { wire: Wire::F16, ..Options::default() });
    // With four ranks and three rows, one rank has nothing to do.
    for (name, count, options, most) in [
        ("2 ranks", 2, Options::default(), 1e-5),
        ("4 ranks", 4, Options::default(), 1e-5),
        ("2 ranks that share the optimizer", 2, sharded, 1e-5),
        ("4 ranks that share the optimizer", 4, sharded, 1e-5),
        ("gradients in f16", 2, half, 1e-3),
    ] {
        let all = threads(count, options, |group| train(gpu, group, &settings, 3)).expect(name);
        compare(name, &one, &all, most);
    }
}

/// In a model larger than a bucket, gradients are sent before the backward pass has ended.
#[test]
fn gradients_in_several_buckets_are_added_too() {
    let device = device();
    let gpu = &device.gpu;
    let settings = settings(Config::gpt2(5003, 8, 2, 4, 192), 2);
    let one = train(gpu, &Group::alone(), &settings, 2).expect("a rank alone");
    let all = threads(2, Options::default(), |group| train(gpu, group, &settings, 2)).expect("two ranks");
    compare("buckets", &one, &all, 1e-5);
    gpu.trim();
}

/// Compares with the outer step of DiLoCo computed from its formulas, with inner steps by separate trainers.
#[test]
fn ranks_that_take_steps_of_their_own_meet_in_outer_steps() {
    const RANKS: usize = 2;
    let device = device();
    let gpu = &device.gpu;
    let settings = settings(Config::llama(41, 13, 2, 4, 48), 3);

    let mut own: Vec<_> = (0..RANKS).map(|_| trainer(gpu, &settings).expect("a trainer")).collect();
    let mut wanted: Vec<f64> =
        weights(&own[0].model).expect("weights").iter().map(|weight| f64::from(*weight)).collect();
    let mut velocity = vec![0.0; wanted.len()];
    for meeting in 0..2 {
        let mut mean = vec![0.0; wanted.len()];
        for (rank, trainer) in own.iter_mut().enumerate() {
            for counter in [2 * meeting, 2 * meeting + 1] {
                let share = batches::rows(&[batch(&settings, counter)], [0..1, 1..3][rank].clone());
                wait::now(trainer.step(&share).expect("a step").outcome()).expect("an outcome");
            }
            let moved = weights(&trainer.model).expect("weights");
            mean.iter_mut().zip(moved).for_each(|(mean, weight)| *mean += f64::from(weight) / RANKS as f64);
        }
        for ((weight, velocity), mean) in wanted.iter_mut().zip(&mut velocity).zip(mean) {
            let moved = *weight - mean;
            *velocity = 0.9 * *velocity + moved;
            *weight -= 0.7 * (moved + 0.9 * *velocity);
        }
        for trainer in &own {
            let mut first = 0;
            for (_, weight) in trainer.model.parameters() {
                let values: Vec<f32> = wanted[first..first + weight.elements()].iter().map(|x| *x as f32).collect();
                weight.write(&values).expect("written");
                first += weight.elements();
            }
        }
    }

    let options = Options { sync_every: 2, ..Options::default() };
    let all = threads(RANKS, options, |group| {
        let mut trainer = trainer(gpu, &settings)?;
        trainer.join(group)?;
        let (mut meets, mut between) = (Vec::new(), Vec::new());
        for counter in 0..4 {
            meets.push(trainer.replica.meets());
            step(&mut trainer, &settings, counter)?;
            if counter == 2 {
                between = weights(&trainer.model)?;
            }
        }
        // Nothing has happened since the last outer step, so there must be none now.
        let met = weights(&trainer.model)?;
        trainer.replica.meet()?;
        assert!(weights(&trainer.model)? == met, "an outer step over nothing");
        let velocity: Vec<_> = trainer.replica.state().iter().map(|(_, tensor)| read(tensor)).collect::<Result<_>>()?;
        Ok((meets, between, met, velocity.concat()))
    })
    .expect("two ranks");
    let to_f32 = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
    for (meets, _, met, momentum) in &all {
        assert_eq!(meets, &[false, true, false, true]);
        assert!(*met == all[0].2, "the ranks' weights differ after they met");
        let (weights, momentum) = (error(met, &to_f32(&wanted)), error(momentum, &to_f32(&velocity)));
        assert!(weights < 1e-5 && momentum < 1e-4, "weights are off by {weights:e}, the momentum by {momentum:e}");
    }
    assert!(all[0].1 != all[1].1, "steps between meetings are the rank's own");
}

fn read(tensor: &Tensor) -> Result<Vec<f32>> {
    wait::now(tensor.to_f32())
}
