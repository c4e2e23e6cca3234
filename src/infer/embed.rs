//! Embeds texts as vectors: the model's final hidden states, pooled.

use super::explain::explained_by_any;
use crate::{
    Error, Result,
    gpu::Gpu,
    model::{Gpt, gpt::Pass},
    ops::{embedding::Tokens, reduce},
    tape::Tape,
    tensor::Tensor,
};

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// That of the last token.
    Last,
}

/// The vector of a text: the hidden states after the last normalisation, pooled, `[width]`. A text longer than the
/// context is read window by window: the mean is over all its tokens, and the last token sees only its own window.
///
/// # Errors
/// [`Error::Usage`] without tokens; [`Error::NotNumbers`], with the reason; the driver's errors.
pub async fn embed(gpu: &Gpu, model: &Gpt, tokens: &[u32], pooling: Pooling) -> Result<Vec<f32>> {
    if tokens.is_empty() {
        return Err(Error::Usage("an empty text has no vector: give at least one token".to_string()));
    }
    let window = model.config().context;
    let tokens = match pooling {
        Pooling::Mean => tokens,
        Pooling::Last => &tokens[tokens.len().saturating_sub(window)..],
    };
    let total = Tensor::empty_f32(gpu, &[model.config().width])?;
    let mut last = None;
    for (index, chunk) in tokens.chunks(window).enumerate() {
        let inputs = Tokens::new(gpu, chunk, 1, chunk.len(), false)?;
        let hidden = model.forward(&Tape::off(gpu), &inputs, Pass::default(), None)?;
        match pooling {
            Pooling::Mean => reduce::column_sum(&hidden, &total, index > 0)?,
            Pooling::Last => last = Some(hidden.last_row()?),
        }
        gpu.submit()?;
    }
    let count = if last.is_some() { 1.0 } else { tokens.len() as f32 };
    let sums = last.unwrap_or(total).to_f32().await?;
    if sums.iter().any(|sum| !sum.is_finite()) {
        let error = Error::NotNumbers { what: "hidden states", origin: None };
        return Err(explained_by_any(gpu, model, tokens.chunks(window), error).await);
    }
    Ok(sums.into_iter().map(|sum| sum / count).collect())
}

/// The vector scaled to length 1; a zero vector stays as it is.
pub fn normalised(vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let factor = if length > 0.0 { (1.0 / length) as f32 } else { 1.0 };
    vector.into_iter().map(|x| x * factor).collect()
}

/// The cosine of the angle between two vectors; 0 if one of them is zero.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let lengths = (product(a, a) * product(b, b)).sqrt();
    if lengths > 0.0 { product(a, b) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::{cosine, normalised};

    #[test]
    fn lengths_and_angles() {
        assert_eq!(normalised(vec![3.0, 0.0, -4.0]), [0.6, 0.0, -0.8]);
        assert_eq!(normalised(vec![0.0; 2]), [0.0; 2]);
        assert!((cosine(&[1.0, 1.0], &[2.0, 0.0]) - 0.5f64.sqrt()).abs() < 1e-12);
        assert_eq!(cosine(&[1.0, 1.0], &[0.0, 0.0]), 0.0);
    }
}
