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
    explained_by_any(gpu, model, [tokens], error).await
}

/// [`explained`] for several texts, any of which may be the one that failed.
pub(super) async fn explained_by_any(
    gpu: &Gpu,
    model: &Gpt,
    texts: impl IntoIterator<Item = impl AsRef<[u32]>>,
    error: Error,
) -> Error {
    match error {
        // If even this fails, the first error is the better one.
        Error::NotNumbers { what, origin: None } => {
            Error::NotNumbers { what, origin: found(gpu, model, texts).await.ok() }
        }
        error => error,
    }
}

async fn found(gpu: &Gpu, model: &Gpt, texts: impl IntoIterator<Item = impl AsRef<[u32]>>) -> Result<Origin> {
    let weights = model.weights();
    if let Some(name) = broken_weight(gpu, &weights).await? {
        return Ok(Origin::Weight { name, given: false });
    }
    let tape = Tape::off(gpu);
    for text in texts {
        let text = text.as_ref();
        watch(gpu, &weights)?;
        gpu.watch_part(|| "forward pass".to_string(), false);
        let newest = &text[text.len().saturating_sub(model.config().context)..];
        let scores = || {
            let tokens = Tokens::new(gpu, newest, 1, newest.len(), false)?;
            let hidden = model.forward(&tape, &tokens, Pass::default(), None)?;
            model.logits(&tape, &hidden.last_row()?).map(|_| ())
        };
        let result = scores();
        match origin(gpu, result).await? {
            Origin::Vanished => {}
            origin => return Ok(origin),
        }
    }
    Ok(Origin::Vanished)
}
