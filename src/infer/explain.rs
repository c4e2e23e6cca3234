//! Says why what a model computes is not finite, by computing it once more.

use crate::{
    Error, Result,
    error::Origin,
    gpu::Gpu,
    model::{
        Gpt,
        gpt::Pass,
        origin::{broken_weight, origin, watch},
    },
    ops::embedding::Tokens,
    tape::Tape,
};

/// The same error; if it says that what the model computes for `tokens` is not finite, with the reason.
pub(crate) async fn explained(gpu: &Gpu, model: &Gpt, tokens: &[u32], error: Error) -> Error {
    match error {
        // If even this fails, the first error is the better one.
        Error::NotNumbers { what, origin: None } => {
            Error::NotNumbers { what, origin: found(gpu, model, tokens).await.ok() }
        }
        error => error,
    }
}

/// Refuses numbers that are not finite, which a model computed for `tokens`; `what` they are is for the message.
///
/// # Errors
/// [`Error::NotNumbers`], with the reason.
pub(crate) async fn finite(gpu: &Gpu, model: &Gpt, tokens: &[u32], what: &'static str, numbers: &[f32]) -> Result<()> {
    if numbers.iter().all(|number| number.is_finite()) {
        return Ok(());
    }
    Err(explained(gpu, model, tokens, Error::NotNumbers { what, origin: None }).await)
}

async fn found(gpu: &Gpu, model: &Gpt, tokens: &[u32]) -> Result<Origin> {
    let weights = model.weights();
    if let Some(name) = broken_weight(gpu, &weights).await? {
        return Ok(Origin::Weight { name, given: false });
    }
    watch(gpu, &weights)?;
    gpu.watch_part(|| "forward pass".to_string(), false);
    let tape = Tape::off(gpu);
    let newest = &tokens[tokens.len().saturating_sub(model.config().context)..];
    let scores = || {
        let hidden = model.forward(&tape, &Tokens::new(gpu, newest, 1, newest.len(), false)?, Pass::default(), None)?;
        model.logits(&tape, &hidden.last_row()?).map(|_| ())
    };
    let result = scores();
    origin(gpu, result).await
}
