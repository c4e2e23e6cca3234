//! Checks whether the tuner chooses well: compares its choices for typical training runs and for decoding with
//! exhaustive timings of every variant, for other shapes of each class and for every use of the class's variants.

use serde::Serialize;

use crate::{
    Error, Result,
    gpu::{Gpu, race::Rules, tune::Question},
    infer::{
        generate::{Limits, generate},
        sampler::Sampling,
        session::Session,
    },
    model::{Config, Gpt},
    ops::{
        matmul, rows,
        tuning::{self, Use},
    },
    train::{Settings, plan},
};

/// A choice may take at most this many times as long as the best variant.
pub const MOST: f64 = 1.05;

/// A choice compared with the best variant, for one shape and one use.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The class of shapes.
    pub class: String,
    /// The shape, as numbers.
    pub shape: Vec<u32>,
    /// Whether this shape was not asked for and only falls into the same class.
    pub sibling: bool,
    /// What the variants were used for.
    #[serde(rename = "use")]
    pub used: Use,
    /// The tuner's choice for the class.
    pub chosen: &'static str,
    /// The fastest variant for this shape and use.
    pub best: &'static str,
    /// The time of the choice divided by the time of the best variant.
    pub ratio: f64,
    /// Seconds by variant; `None` for one that failed its check.
    pub seconds: Vec<(&'static str, Option<f64>)>,
}

/// The training runs that are audited: nanoGPT's character model, one with six layers, and the demo's.
fn trainings() -> [Settings; 3] {
    let nano =
        |layers, heads, width, context| Config { bias: false, ..Config::gpt2(65, context, layers, heads, width) };
    let demo = Config { tied: true, ..Config::llama(1024, 96, 2, 4, 128) };
    [(nano(4, 4, 128, 64), 12), (nano(6, 6, 384, 256), 4), (demo, 8)]
        .map(|(config, batch)| Settings { batch, ..Settings::recipe(config) })
}

/// A class, and the shapes in it that training or decoding asks for.
pub struct Case {
    /// The class and its shapes.
    pub question: Question,
    /// Whether training asks for it, rather than decoding.
    pub training: bool,
}

/// The questions that training and decoding ask an empty tuner.
///
/// # Errors
/// Returns the driver's errors.
pub async fn cases(gpu: &Gpu) -> Result<Vec<Case>> {
    let (training, decoding) = (gpu.imagine(), gpu.imagine());
    training.tuner().clear();
    decoding.tuner().clear();
    for settings in trainings() {
        plan::rehearse(&training, Gpt::new(&training, &settings.config, 1)?, &settings)?;
        decode(&decoding, &settings.config).await?;
    }
    let cases = |gpu: &Gpu, training| gpu.tuner().open().into_iter().map(move |question| Case { question, training });
    Ok(cases(&training, true).chain(cases(&decoding, false)).collect())
}

/// Reads a prompt and generates a few tokens with a model of this shape.
pub(super) async fn decode(gpu: &Gpu, config: &Config) -> Result<()> {
    let model = Gpt::new(gpu, config, 1)?;
    let mut session = Session::new(gpu, &model)?;
    let limits = Limits { count: 3, ..Limits::default() };
    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    generate(&mut session, &[1, 2, 3, 4, 5], limits, &greedy, |_, _| (), |_| true).await?;
    Ok(())
}

/// Other shapes in the class of `shape`: its sizes rounded up to the bounds of the class, and three quarters of those.
fn siblings(class: &str, shape: &[u32]) -> Vec<Vec<u32>> {
    let sizes = match class.split(' ').next() {
        Some("matmul") => 3,
        Some("rows") => 2,
        _ => 1,
    };
    let scaled = |quarters: u32| {
        let bound = |(place, size): (usize, &u32)| match (place < sizes, *size) {
            (true, size) if size > 8 => (size.next_power_of_two() / 4 * quarters).max(1),
            (_, size) => size,
        };
        shape.iter().enumerate().map(bound).collect::<Vec<_>>()
    };
    let same = |other: &Vec<u32>| match class.split(' ').next() {
        Some("matmul") => matmul::Shape::from_numbers(other).is_some_and(|other| other.class() == class),
        Some("rows") => rows::class(other[0] as usize, other[1] as usize) == class,
        _ => true,
    };
    [4, 3].map(scaled).into_iter().filter(same).filter(|other| other != shape).collect()
}

/// The fastest of timed variants.
fn fastest(class: &str, timed: &tuning::Timed) -> Result<(&'static str, f64)> {
    tuning::fastest(timed).ok_or_else(|| Error::NoVariant { class: class.to_string() })
}

/// Answers a question from scratch, and times everything that the choice is used for.
///
/// # Errors
/// Returns the driver's errors; [`Error::NoVariant`] when no variant passes its check.
pub async fn audit(gpu: &Gpu, case: &Case) -> Result<Vec<Finding>> {
    let (class, shapes) = &case.question;
    let mut findings = Vec::new();
    let Some(first) = shapes.first() else { return Ok(findings) };
    let Some(timed) = tuning::time_as_a_run(gpu, class, first).await? else { return Ok(findings) };
    let (chosen, _) = fastest(class, &timed)?;
    let others: Vec<_> = shapes.iter().flat_map(|shape| siblings(class, shape)).collect();
    let mut seen: Vec<&[u32]> = Vec::new();
    let all = shapes.iter().map(|shape| (shape, false)).chain(others.iter().map(|shape| (shape, true)));
    for (shape, sibling) in all {
        if seen.contains(&shape.as_slice()) {
            continue;
        }
        seen.push(shape);
        let others = if sibling { &[] } else { Use::others(class, case.training) };
        for &used in [Use::Plain].iter().chain(others) {
            let mut finding = find(gpu, class, shape, used, chosen, Rules::MEASURE).await?;
            // The minimum of many noisy figures is too low, so what looks bad is measured again.
            if finding.ratio > MOST {
                finding = find(gpu, class, shape, used, chosen, Rules::MEASURE_LONG).await?;
            }
            findings.push(Finding { sibling, ..finding });
        }
    }
    gpu.trim();
    Ok(findings)
}

async fn find(gpu: &Gpu, class: &str, shape: &[u32], used: Use, chosen: &'static str, rules: Rules) -> Result<Finding> {
    let seconds = tuning::time(gpu, class, shape, used, rules).await?.unwrap_or_default();
    let (best, least) = fastest(class, &seconds)?;
    let own = seconds.iter().find(|(name, _)| *name == chosen).and_then(|(_, seconds)| *seconds);
    let ratio = own.map_or(f64::INFINITY, |own| own / least);
    let (class, shape) = (class.to_string(), shape.to_vec());
    Ok(Finding { class, shape, sibling: false, used, chosen, best, ratio, seconds })
}
