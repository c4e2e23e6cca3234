//! Lists the variants that are used where nothing was timed yet, by training and decoding small models on an imagined device.

use std::collections::HashSet;

use super::{Doctor, audit::decode};
use crate::{
    Result,
    formats::{Format, Rows},
    gpu::{Capabilities, Constant, Gpu, Variant},
    model::{Config, Gpt},
    ops::{
        kv::decode::{DecodeVariant, VARIANTS},
        norm::Kind,
        packed::{
            Packed,
            product::{Activation, FEW, Fused, Norm, product},
        },
    },
    tensor::Tensor,
    train::{Settings, plan, settings::Precision},
};

/// Widths of heads in use.
const HEADS: &[usize] = &[32, 64, 80, 96, 128, 256];

/// The variants that an adapter with these capabilities gets untuned, for models of GPT-2's and Llama's kind with heads of
/// 32 to 256, sorted by name: in training, in generation, with packed weights, and in the server. `gpu` need not have these
/// capabilities; it only lends a device that does nothing.
///
/// # Errors
/// [`crate::Error::Shape`] or [`crate::Error::TooLarge`] when a small model does not fit these limits.
pub async fn chosen(gpu: &Gpu, capabilities: Capabilities) -> Result<Vec<Variant>> {
    let half = capabilities.f16;
    let imagined = gpu.imagine_as(capabilities.clone());
    imagined.tuner().clear();
    for &dim in HEADS {
        let gpt2 = Config::gpt2(260, 128, 1, 2, 2 * dim);
        let llama = Config { kv_heads: 1, ..Config::llama(260, 128, 1, 2, 2 * dim) };
        for config in [gpt2, llama] {
            for precision in [Precision::F32].into_iter().chain(half.then_some(Precision::F16)) {
                let settings = Settings { batch: 8, precision, ..Settings::recipe(config.clone()) };
                plan::rehearse(&imagined, Gpt::new(&imagined, &config, 1)?, &settings)?;
            }
            decode(&imagined, &config).await?;
        }
    }
    for format in Format::ALL {
        packed(&imagined, format)?;
    }
    let mut works = imagined.ledger().map(|mut ledger| ledger.take(false).works).unwrap_or_default();
    works.extend(paged(gpu, &imagined, capabilities).await?);
    let variants: HashSet<_> = works.into_iter().map(|work| work.variant).collect();
    let mut variants: Vec<_> = variants.into_iter().collect();
    variants.sort_by_cached_key(Variant::to_string);
    Ok(variants)
}

/// Products with weights packed in `format`, fused as in a block of a model.
fn packed(gpu: &Gpu, format: Format) -> Result<()> {
    let (n, k) = (512, 256);
    let bytes = vec![0; format.row_bytes(n * k)];
    let weights = Packed::new(gpu, &[Rows { format, rows: n, width: k, bytes: bytes.into() }])?;
    let (weight, bias) = (Tensor::empty_f32(gpu, &[k])?, Tensor::empty_f32(gpu, &[n])?);
    let rms = Norm { kind: Kind::RootMeanSquare, weight: &weight, bias: None, epsilon: 1e-5 };
    let layer = Norm { kind: Kind::Layer, bias: Some(&weight), ..rms };
    for m in 1..=FEW {
        let x = Tensor::empty_f32(gpu, &[m, k])?;
        let residual = Tensor::empty_f32(gpu, &[m, n])?;
        for fused in [
            Fused::default(),
            Fused { norm: Some(rms), ..Fused::default() },
            Fused { norm: Some(rms), activation: Activation::Swiglu, ..Fused::default() },
            Fused { norm: Some(layer), bias: Some(&bias), ..Fused::default() },
            Fused { norm: Some(layer), bias: Some(&bias), activation: Activation::Gelu, ..Fused::default() },
            Fused { residual: Some(&residual), ..Fused::default() },
            Fused { bias: Some(&bias), residual: Some(&residual), ..Fused::default() },
        ] {
            product(&x, &weights, fused)?;
        }
    }
    Ok(())
}

/// Attention over pages: what its checks dispatch if every variant but the chosen one is left unused.
async fn paged(gpu: &Gpu, imagined: &Gpu, capabilities: Capabilities) -> Result<Vec<crate::gpu::imagine::Work>> {
    let chosen = DecodeVariant::choose(imagined).name;
    let others = VARIANTS.iter().map(|spec| spec.name).filter(|name| *name != chosen).map(str::to_string);
    let unused = capabilities.unused.iter().cloned().chain(others).collect();
    let imagined = gpu.imagine_as(Capabilities { unused, ..capabilities });
    Doctor::new(&imagined, false).check("paged").await?;
    let mut works = imagined.ledger().map(|mut ledger| ledger.take(false).works).unwrap_or_default();
    // The checks also try narrower heads, which no model has.
    let used = |value: &Constant| matches!(value, Constant::Uint(width) if HEADS.contains(&(*width as usize)));
    works.retain(|work| work.variant.constants.iter().all(|(name, value)| *name != "D" || used(value)));
    Ok(works)
}
