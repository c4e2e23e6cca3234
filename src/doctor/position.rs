//! Checks the embedding, its gradient, and rotary positions.

use super::{Doctor, reference::position as oracle};
use crate::{
    Result,
    ops::{
        attention::Heads,
        embedding::{self, Tokens},
        rope,
    },
    tape::{Gradients, Tape},
    tensor::Tensor,
};

/// Where each token's segment begins, for segments of three tokens.
fn starts(batch: usize, context: usize) -> Vec<u32> {
    (0..batch * context).map(|row| (row % context / 3 * 3) as u32).collect()
}

/// Checks positions that count from the start of each segment.
async fn segments(doctor: &mut Doctor<'_>, [batch, context, width, vocabulary]: [usize; 4]) -> Result<()> {
    let ids: Vec<u32> = (0..batch * context).map(|i| (i * i * 5 % vocabulary) as u32).collect();
    let at: Vec<usize> = (0..batch * context).map(|row| row % context % 3).collect();
    let (table, positions) = (doctor.data(vocabulary * width), doctor.data((context + 1) * width));
    let grad = doctor.data(batch * context * width);
    let what = format!("[{batch}, {context}, {width}] of {vocabulary} in segments");
    let gpu_table = doctor.upload(&[vocabulary, width], &table)?;
    let gpu_positions = doctor.upload(&[context + 1, width], &positions)?;
    let tokens = Tokens::with_segments(doctor.gpu, &ids, &starts(batch, context), batch, context, true)?;
    let tape = Tape::new(doctor.gpu);
    tape.watch(&gpu_table);
    tape.watch(&gpu_positions);
    let out = embedding::embed(&tape, &tokens, &gpu_table, Some(&gpu_positions), 0)?;
    let expected = oracle::embed_at(&ids, &table, width, Some(&positions), &at);
    doctor.compare(("embed", "flat"), &what, &out, &expected, 1).await?;
    let mut gradients = Gradients::default();
    let incoming = doctor.upload(&[batch, context, width], &grad)?;
    tape.backward(&out, incoming, &mut gradients)?;
    let (grad_table, grad_positions) = oracle::embed_at_backward(&ids, &grad, width, vocabulary, context + 1, &at);
    for (tensor, expected) in [(&gpu_table, &grad_table), (&gpu_positions, &grad_positions)] {
        if let Some(actual) = gradients.get(tensor).cloned() {
            doctor.compare(("embed_backward", "flat"), &what, &actual, expected, batch * context).await?;
        }
    }
    Ok(())
}

pub(super) async fn check(doctor: &mut Doctor<'_>) -> Result<()> {
    // The residual stream and its embeddings are f32 in every precision.
    if !doctor.half() {
        embeddings(doctor).await?;
    }
    rotations(doctor).await
}

async fn embeddings(doctor: &mut Doctor<'_>) -> Result<()> {
    for (batch, context, width, vocabulary) in [(1, 1, 1, 1), (2, 5, 3, 7), (3, 33, 20, 11), (2, 64, 128, 300)] {
        let ids: Vec<u32> = (0..batch * context).map(|i| (i * i * 7 % vocabulary) as u32).collect();
        // One position more than the batch uses; its gradient must be zero.
        let (table, positions) = (doctor.data(vocabulary * width), doctor.data((context + 1) * width));
        let grad = doctor.data(batch * context * width);
        let what = format!("[{batch}, {context}, {width}] of {vocabulary}");
        let gpu_table = doctor.upload(&[vocabulary, width], &table)?;
        let gpu_positions = doctor.upload(&[context + 1, width], &positions)?;
        let tokens = Tokens::new(doctor.gpu, &ids, batch, context, true)?;
        let tape = Tape::new(doctor.gpu);
        tape.watch(&gpu_table);
        tape.watch(&gpu_positions);
        let out = embedding::embed(&tape, &tokens, &gpu_table, Some(&gpu_positions), 0)?;
        let expected = oracle::embed(&ids, &table, width, Some(&positions), context, 0);
        doctor.compare(("embed", "flat"), &what, &out, &expected, 1).await?;
        let mut gradients = Gradients::default();
        let incoming = doctor.upload(&[batch, context, width], &grad)?;
        tape.backward(&out, incoming, &mut gradients)?;
        let (grad_table, mut grad_positions) = oracle::embed_backward(&ids, &grad, width, vocabulary, context);
        grad_positions.extend(vec![0.0; width]);
        for (tensor, expected) in [(&gpu_table, &grad_table), (&gpu_positions, &grad_positions)] {
            if let Some(actual) = gradients.get(tensor).cloned() {
                doctor.compare(("embed_backward", "flat"), &what, &actual, expected, batch * context).await?;
            }
        }
        segments(doctor, [batch, context, width, vocabulary]).await?;
        let past = embedding::embed(
            &Tape::off(doctor.gpu),
            &Tokens::new(doctor.gpu, &ids[..1], 1, 1, false)?,
            &gpu_table,
            Some(&gpu_positions),
            context,
        )?;
        let expected = oracle::embed(&ids[..1], &table, width, Some(&positions), 1, context);
        doctor.compare(("embed", "flat"), &format!("{what} at the last position"), &past, &expected, 1).await?;
    }
    Ok(())
}

async fn rotations(doctor: &mut Doctor<'_>) -> Result<()> {
    for (batch, context, query, key_value, dim, past) in
        [(1, 1, 1, 1, 2, 0), (2, 5, 3, 1, 4, 0), (1, 40, 4, 2, 64, 900)]
    {
        let heads = Heads { query, key_value, dim };
        let (x, grad) =
            (doctor.data(batch * context * heads.qkv_width()), doctor.data(batch * context * heads.qkv_width()));
        let shape = [batch, context, heads.qkv_width()];
        let (gpu_x, gpu_grad) = (doctor.store(&shape, &x)?, doctor.store(&shape, &grad)?);
        let table = rope::table(doctor.gpu, past + context, dim, 10_000.0, |_, _| 1.0)?;
        let tape = Tape::new(doctor.gpu);
        tape.watch(&gpu_x);
        let out = rope::rope(&tape, &gpu_x, &table, heads, past, None)?;
        let (all, rotated) = (query + 2 * key_value, query + key_value);
        let rotary = oracle::Rotary { heads: all, rotated, dim, context, past, theta: 10_000.0 };
        let turn = |values: &[f64], direction| oracle::rope(rotary, values, direction);
        let what = format!("{heads:?} past {past}");
        if past == 0 {
            let at: Vec<usize> = (0..batch * context).map(|row| row % context % 3).collect();
            let starts = Tensor::from_u32(doctor.gpu, &[batch, context], &starts(batch, context))?;
            let tape = Tape::new(doctor.gpu);
            tape.watch(&gpu_x);
            let out = rope::rope(&tape, &gpu_x, &table, heads, past, Some(&starts))?;
            let expected = oracle::rope_at(rotary, &x, &at, 1.0);
            doctor.compare(("rope", "flat"), &format!("{what} in segments"), &out, &expected, 1).await?;
            let mut gradients = Gradients::default();
            tape.backward(&out, gpu_grad.clone(), &mut gradients)?;
            if let Some(actual) = gradients.get(&gpu_x).cloned() {
                let expected = oracle::rope_at(rotary, &grad, &at, -1.0);
                let what = format!("{what} in segments, backward");
                doctor.compare(("rope", "flat"), &what, &actual, &expected, 1).await?;
            }
        }
        doctor.compare(("rope", "flat"), &what, &out, &turn(&x, 1.0), 1).await?;
        let mut gradients = Gradients::default();
        tape.backward(&out, gpu_grad, &mut gradients)?;
        if let Some(actual) = gradients.get(&gpu_x).cloned() {
            doctor.compare(("rope", "flat"), &format!("{what} backward"), &actual, &turn(&grad, -1.0), 1).await?;
        }
    }
    Ok(())
}
