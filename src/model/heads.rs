//! Heads that compute one number per hidden state: rewards of texts, values of tokens.

use crate::{
    Error, Result,
    gpu::Gpu,
    ops::{
        gather::{RowIndex, gather},
        linear::{Fuse, linear},
    },
    random,
    tape::Tape,
    tensor::Tensor,
};

/// The random stream of a head's initial weights.
const STREAM: u64 = u64::from_le_bytes(*b"sclrhead");

/// How a head is initialised. Its bias starts at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Every weight is 0, for a value head that predicts nothing yet.
    Zeros,
    /// Weights from N(0, 1 / sqrt(width + 1)) with this seed (Stiennon et al. 2020), for a reward head.
    Normal(u64),
}

/// `gain * (hidden weight^T + bias) + shift`.
#[derive(Clone)]
pub struct ScalarHead {
    /// `[1, width]`; trained.
    pub weight: Tensor,
    /// `[1]`; trained.
    pub bias: Tensor,
    /// Set by [`ScalarHead::normalise`], not trained; initially 1.
    pub gain: f32,
    /// Set by [`ScalarHead::normalise`], not trained; initially 0.
    pub shift: f32,
}

impl ScalarHead {
    /// A new head for hidden states of this width.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, width: usize, start: Start) -> Result<Self> {
        let deviation = (1.0 / (width as f64 + 1.0).sqrt()) as f32;
        let values: Vec<f32> = match start {
            Start::Zeros => vec![0.0; width],
            Start::Normal(seed) => {
                (0..width as u64).map(|counter| deviation * random::normal(seed, STREAM, counter)).collect()
            }
        };
        let weight = Tensor::from_f32(gpu, &[1, width], &values)?;
        Ok(Self { weight, bias: Tensor::zeros(gpu, &[1])?, gain: 1.0, shift: 0.0 })
    }

    /// The trained tensors by name: `<name>.weight`, `<name>.bias`.
    pub fn parameters(&self, name: &str) -> [(String, Tensor); 2] {
        [(format!("{name}.weight"), self.weight.clone()), (format!("{name}.bias"), self.bias.clone())]
    }

    /// Makes `tape` compute the gradients of weight and bias.
    pub fn watch(&self, tape: &Tape) {
        tape.watch(&self.weight);
        tape.watch(&self.bias);
    }

    /// A number for every row of `hidden [.., width]`: `[rows]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the widths differ.
    pub fn apply(&self, tape: &Tape, hidden: &Tensor) -> Result<Tensor> {
        let fuse = Fuse { bias: Some(&self.bias), ..Fuse::default() };
        let raw = linear(tape, hidden, &self.weight, fuse)?.reshape(&[hidden.height()])?;
        if self.gain == 1.0 && self.shift == 0.0 {
            return Ok(raw);
        }
        let out = Tensor::empty_f32(tape.gpu(), raw.shape())?;
        out.fill(self.shift)?;
        raw.scale_into(&out, self.gain, true)?;
        let (input, gain) = (raw.clone(), self.gain);
        tape.push(&[&raw], &out, move |gradients, gradient| {
            let (slot, accumulate) = gradients.slot(&input)?;
            gradient.scale_into(&slot, gain, accumulate)
        });
        Ok(out)
    }

    /// A number for each of these rows of `hidden [.., width]` only, such as the last token of each text:
    /// `[rows.count()]`.
    ///
    /// # Errors
    /// As [`ScalarHead::apply`] and [`gather`].
    pub fn apply_at(&self, tape: &Tape, hidden: &Tensor, rows: &RowIndex) -> Result<Tensor> {
        self.apply(tape, &gather(tape, hidden, rows)?)
    }

    /// Sets gain and shift so that the texts that got `scores` from this head get mean 0 and (biased) standard
    /// deviation 1. The scores are those of the reference policy's samples (Ziegler et al. 2019).
    ///
    /// # Errors
    /// [`Error::Config`] when the scores are all equal or not finite.
    pub fn normalise(&mut self, scores: &[f32]) -> Result<()> {
        let count = scores.len().max(1) as f64;
        let mean = scores.iter().map(|score| f64::from(*score)).sum::<f64>() / count;
        let variance = scores.iter().map(|score| (f64::from(*score) - mean).powi(2)).sum::<f64>() / count;
        let factor = variance.sqrt().recip();
        if !(factor.is_finite() && mean.is_finite()) {
            let reason = format!("mean {mean}, variance {variance} over {} samples", scores.len());
            return Err(Error::Config(format!(
                "rewards that do not differ cannot be normalised ({reason}); train the reward model first"
            )));
        }
        self.shift = ((f64::from(self.shift) - mean) * factor) as f32;
        self.gain = (f64::from(self.gain) * factor) as f32;
        Ok(())
    }
}
