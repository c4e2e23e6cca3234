//! Checks the choice of tokens with every rule.

use super::{Doctor, Work, reference::sample as oracle};
use crate::{
    Result,
    ops::sample::{PLAN, Rule, penalise, sample},
    tensor::Tensor,
};

/// Rows and width.
const SIZES: &[(usize, usize)] = &[(1, 1), (3, 5), (5, 257), (2, 3001), (1, 151_937)];

/// Temperature, top-k, top-p, min-p.
const RULES: &[(f32, usize, f32, f32)] = &[
    (0.0, 0, 1.0, 0.0),
    (1.0, 0, 1.0, 0.0),
    (0.7, 3, 1.0, 0.0),
    (1.3, 0, 0.6, 0.0),
    (1.0, 0, 1.0, 0.3),
    (0.5, 40, 0.8, 0.05),
];

pub(super) async fn check(doctor: &mut Doctor<'_>) -> Result<()> {
    for &(rows, width) in SIZES {
        for &(temperature, top_k, top_p, min_p) in RULES {
            choices(doctor, rows, width, Rule { temperature, top_k, top_p, min_p }).await?;
        }
    }
    let (rows, width) = (8, 32_768);
    let logits = doctor.data(rows * width);
    let (logits, keys) = (doctor.upload(&[rows, width], &logits)?, keys(doctor, rows)?.1);
    let rule = Rule { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 };
    let call = move || sample(&logits, &keys, rule).map(|_| ());
    doctor.time(("sample", PLAN.name), Work::Bytes((rows * width * 4) as f64), call);
    for (rows, width, per_row) in [(1, 1, 1), (3, 70, 5), (5, 33, 64)] {
        let logits = doctor.data(rows * width);
        let id =
            |row: usize, i: usize| if (i + row) % 3 == 1 || i >= width { u32::MAX } else { (i * 7 % width) as u32 };
        // i * 7 mod width repeats only after width / gcd(7, width) values, so no id comes twice.
        let ids: Vec<u32> = (0..rows * per_row).map(|at| id(at / per_row, at % per_row)).collect();
        let expected: Vec<f64> = logits
            .chunks_exact(width)
            .zip(ids.chunks_exact(per_row))
            .flat_map(|(row, ids)| oracle::penalise(row, ids, f64::from(1.3f32)))
            .collect();
        let out = doctor.upload(&[rows, width], &logits)?;
        penalise(&out, &Tensor::from_u32(doctor.gpu, &[rows, per_row], &ids)?, 1.3)?;
        doctor.compare(("penalise", "flat"), &format!("[{rows}, {width}]"), &out, &expected, 1).await?;
    }
    Ok(())
}

fn keys(doctor: &mut Doctor<'_>, rows: usize) -> Result<(Vec<u32>, Tensor)> {
    doctor.seed += 1;
    let keys: Vec<u32> = (0..rows as u64).map(|row| crate::random::bits(doctor.seed, 4, row) as u32).collect();
    let uploaded = Tensor::from_u32(doctor.gpu, &[rows], &keys)?;
    Ok((keys, uploaded))
}

/// Checks that the chosen token is one that the oracle could have chosen too in f32: compares its score with the
/// oracle's greatest score, and its log-probability.
async fn choices(doctor: &mut Doctor<'_>, rows: usize, width: usize, rule: Rule) -> Result<()> {
    let logits: Vec<f64> = doctor.data(rows * width).iter().map(|x| f64::from((x * x * x * 6.0) as f32)).collect();
    let (keys, gpu_keys) = keys(doctor, rows)?;
    let out = sample(&doctor.upload(&[rows, width], &logits)?, &gpu_keys, rule)?.to_u32().await?;
    let wide = oracle::Rule {
        temperature: f64::from(rule.temperature),
        top_k: rule.top_k,
        top_p: f64::from(rule.top_p),
        min_p: f64::from(rule.min_p),
    };
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for ((row, key), pair) in logits.chunks_exact(width).zip(keys).zip(out.chunks_exact(2)) {
        let oracle = oracle::scores(row, wide, key);
        let best = oracle.scores.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let id = pair[0] as usize;
        found.push(oracle.scores.get(id).copied().flatten().unwrap_or(f64::NAN) as f32);
        found.push(f32::from_bits(pair[1]));
        expected.extend([best, oracle.logprobs.get(id).copied().unwrap_or(f64::NAN)]);
    }
    let found = Tensor::from_f32(doctor.gpu, &[found.len()], &found)?;
    doctor.compare(("sample", PLAN.name), &format!("[{rows}, {width}] {rule:?}"), &found, &expected, 1).await
}
