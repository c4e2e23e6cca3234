//! Checks attention over pages, and the attention probabilities for display.

use super::{
    Doctor,
    reference::{attention as oracle, paged as pages, position},
};
use crate::{
    Result,
    ops::{
        attention::{Heads, attention_map},
        kv::{
            decode::{Precision, VARIANTS},
            paged::{self, PAGE, Paged, Rows, Run},
        },
        rope,
    },
};

/// Heads, key-value heads, width.
const HEADS: &[[usize; 3]] = &[[1, 1, 4], [6, 2, 12], [4, 1, 64]];
/// Lengths of texts that share a pool: one token, less than a page, whole pages, and more than one range of positions.
const LENGTHS: &[usize] = &[1, 31, 64, 301];

pub(super) async fn check(doctor: &mut Doctor<'_>) -> Result<()> {
    for (size, &[query, key_value, dim]) in HEADS.iter().enumerate() {
        for (turn, spec) in VARIANTS.iter().enumerate().filter(|(_, spec)| spec.fits(doctor.gpu.capabilities())) {
            for (half, precision) in [Precision::Single, Precision::Half].into_iter().enumerate() {
                if !doctor.takes(turn + size + half, HEADS.len()) {
                    continue;
                }
                texts(doctor, *spec, Heads { query, key_value, dim }, precision).await?;
            }
        }
        for context in [1, 7, 70] {
            let s = oracle::Sizes { batch: 1, context, heads: query, kv_heads: key_value, dim };
            let qkv = doctor.data(context * s.row());
            let map = attention_map(&doctor.upload(&[1, context, s.row()], &qkv)?, Heads { query, key_value, dim })?;
            let expected = oracle::probabilities(s, &qkv);
            doctor.compare(("attention_map", "32 lanes"), &format!("{s:?}"), &map, &expected, dim).await?;
        }
    }
    Ok(())
}

/// Checks several texts at once: most of each, then most of the rest, then one token of each.
async fn texts(
    doctor: &mut Doctor<'_>,
    spec: crate::ops::kv::decode::DecodeVariant,
    heads: Heads,
    precision: Precision,
) -> Result<()> {
    let Heads { query, key_value, dim } = heads;
    let longest = LENGTHS.iter().copied().max().unwrap_or(1);
    let (all, rotated, width) = (query + 2 * key_value, query + key_value, heads.qkv_width());
    // Pages in a scrambled order, some of them unused.
    let count = LENGTHS.iter().map(|length| length.div_ceil(PAGE)).sum::<usize>() + 3;
    let mut free = (0..count as u32).map(|page| page * 7 % count as u32);
    let tables: Vec<Vec<u32>> =
        LENGTHS.iter().map(|length| free.by_ref().take(length.div_ceil(PAGE)).collect()).collect();
    let pool = Paged::new(doctor.gpu, [count, key_value, dim], precision)?;
    // NaN in every free place, so that reading too far shows.
    let nothing = vec![f64::NAN; count * key_value * PAGE * dim];
    let mut reference = pages::Pool { page: PAGE, keys: nothing.clone(), values: nothing };
    let table = rope::table(doctor.gpu, longest, dim, 10_000.0, |_, _| 1.0)?;
    let texts: Vec<Vec<f64>> = LENGTHS.iter().map(|length| doctor.data(length * width)).collect();
    let turned = |text: &Vec<f64>| {
        let context = text.len() / width;
        let rotary = position::Rotary { heads: all, rotated, dim, context, past: 0, theta: 10_000.0 };
        position::rope(rotary, text, 1.0)
    };
    let turned: Vec<Vec<f64>> = texts.iter().map(turned).collect();
    // Counted from the end, so that every length has a last token.
    let ends = |length: usize| [length * 2 / 3, length.saturating_sub(1), length];
    for part in 0..3 {
        let (mut runs, mut new, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for (index, length) in LENGTHS.iter().enumerate() {
            let (first, end) = (if part == 0 { 0 } else { ends(*length)[part - 1] }, ends(*length)[part]);
            if first == end {
                continue;
            }
            let s = oracle::Sizes { batch: 1, context: end - first, heads: query, kv_heads: key_value, dim };
            let rows = first * width..end * width;
            runs.push(Run { pages: &tables[index], first, count: end - first });
            new.extend_from_slice(&texts[index][rows.clone()]);
            pages::append(s, &turned[index][rows.clone()], &mut reference, &tables[index], first);
            expected.extend(pages::attend(s, &turned[index][rows], &reference, &tables[index], first));
        }
        let rows = Rows::with(spec, doctor.gpu, heads, &runs)?;
        let qkv = doctor.upload(&[rows.count(), 1, width], &new)?;
        let q = paged::append(&qkv, Some(&table), heads, &pool, &rows)?;
        let actual = paged::attend(&q, heads, &pool, &rows, longest)?;
        let what = format!("{heads:?}, part {part} of {LENGTHS:?}");
        match precision {
            Precision::Single => {
                doctor.compare(("attention_paged", spec.name), &what, &actual, &expected, longest + dim).await?;
            }
            Precision::Half => {
                doctor.compare_mean(("attention_paged f16", spec.name), &what, &actual, &expected, 1e-6).await?;
            }
        }
    }
    Ok(())
}
