//! Few rows times packed weights, with normalisation before and activation and residual after, in one dispatch.

use super::{
    Packed,
    layout::Layout,
    variants::{PackedVariant, VARIANTS},
};
use crate::{
    Result, binds,
    gpu::Gpu,
    ops::{expect, norm, require},
    params,
    tensor::Tensor,
};

/// With more rows than this, unpacking the weights once and multiplying plain matrices is faster.
pub const FEW: usize = 16;

/// A normalisation of the inputs.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Whether the mean is subtracted.
    pub kind: norm::Kind,
    /// `[in]`
    pub weight: &'a Tensor,
    /// `[in]`
    pub bias: Option<&'a Tensor>,
    /// Added to the variance.
    pub epsilon: f32,
}

/// What is applied to the sums before they are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// GELU in its tanh form.
    Gelu,
    /// `silu(gate) * up`: the first half of the weights' rows are gates, and the result is half as wide.
    Swiglu,
}

/// What is fused into a product.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fused<'a> {
    /// Normalises the inputs.
    pub norm: Option<Norm<'a>>,
    /// `[out]`, added before the activation.
    pub bias: Option<&'a Tensor>,
    /// Applied after the bias.
    pub activation: Activation,
    /// `[.., out]`, or half of it for [`Activation::Swiglu`]; added last.
    pub residual: Option<&'a Tensor>,
}

/// The variant for `m` rows: the tuner's choice, else the one with the fewest rows that fits and has room for all of m, or
/// for as many as any that fits.
pub fn choose(gpu: &Gpu, layout: Layout, [m, n, k]: [usize; 3]) -> &'static PackedVariant {
    let fitting = || VARIANTS.iter().filter(|spec| spec.fits(gpu.capabilities()));
    let usable = |name: &str| fitting().any(|spec| spec.name == name);
    let class = format!("packed {} {m}x{}x{}", layout.names().0, n.next_power_of_two(), k.next_power_of_two());
    let numbers = [m as u32, n as u32, k as u32, layout as u32];
    let plainest = &VARIANTS[VARIANTS.len() - 1];
    let most = || fitting().map(|spec| spec.rows).max().unwrap_or(1);
    let roomy = |spec: &&PackedVariant| spec.rows >= m.min(most());
    let default = || fitting().filter(roomy).min_by_key(|spec| spec.rows).unwrap_or(plainest);
    let choice = gpu.tuner().choice(&class, &numbers, usable, || default().name);
    fitting().find(|spec| spec.name == choice).unwrap_or(plainest)
}

/// `[residual +] activation?(norm?(x) W^T [+ bias])` for `x [.., in]` and packed weights `[out, in]`: `[.., out]`, or
/// half that width for [`Activation::Swiglu`].
///
/// # Errors
/// [`crate::Error::Shape`] when the widths disagree, or for SwiGLU with weights in several pieces.
pub fn product(x: &Tensor, weights: &Packed, fused: Fused<'_>) -> Result<Tensor> {
    product_with(|layout, shape| choose(x.gpu(), layout, shape), x, weights, fused)
}

/// [`product`] with the variant that `choose` returns.
///
/// # Errors
/// As [`product`].
pub fn product_with(
    choose: impl Fn(Layout, [usize; 3]) -> &'static PackedVariant,
    x: &Tensor,
    weights: &Packed,
    fused: Fused<'_>,
) -> Result<Tensor> {
    const OP: &str = "packed product";
    let (gpu, m, k) = (x.gpu(), x.height(), x.width());
    let swiglu = fused.activation == Activation::Swiglu;
    let features = if swiglu { weights.rows() / 2 } else { weights.rows() };
    require(k == weights.width(), OP, || {
        format!("x {:?}, weights [{}, {}]", x.shape(), weights.rows(), weights.width())
    })?;
    require(!swiglu || weights.pieces().len() == 1, OP, || {
        "SwiGLU needs gates and their partners in one piece".into()
    })?;
    let mut shape = x.shape().to_vec();
    shape[x.shape().len() - 1] = features;
    if let Some(norm) = fused.norm {
        for tensor in [norm.weight].into_iter().chain(norm.bias) {
            expect(OP, "the normalisation", tensor, &[k])?;
        }
    }
    if let Some(bias) = fused.bias {
        expect(OP, "the bias", bias, &[weights.rows()])?;
    }
    if let Some(residual) = fused.residual {
        require(residual.elements() == m * features, OP, || format!("the residual is {:?}", residual.shape()))?;
    }
    let out = Tensor::empty_f32(gpu, &shape)?;
    for piece in weights.pieces() {
        let n = if swiglu { features } else { piece.rows };
        let spec = choose(piece.layout, [m, piece.rows, k]);
        let center = fused.norm.is_some_and(|norm| norm.kind == norm::Kind::Layer);
        let variant = spec
            .variant(piece.layout)
            .set("NORM", fused.norm.is_some())
            .set("CENTER", center)
            .set("NORM_BIAS", fused.norm.is_some_and(|norm| norm.bias.is_some()))
            .set("BIAS", fused.bias.is_some())
            .set("GELU", fused.activation == Activation::Gelu)
            .set("SWIGLU", swiglu)
            .set("RESIDUAL", fused.residual.is_some());
        // Unused bindings still need buffers.
        let norm_weight = fused.norm.map_or(x, |norm| norm.weight);
        let norm_bias = fused.norm.and_then(|norm| norm.bias).unwrap_or(x);
        let binds = binds![
            a: x.bind(), weights: piece.bind(), norm_weight: norm_weight.bind(), norm_bias: norm_bias.bind(),
            bias: fused.bias.unwrap_or(x).bind(), residual: fused.residual.unwrap_or(x).bind(), out: out.bind(),
        ];
        let params = params![
            m: m, n: n, k: k, first: piece.first, out_row: features,
            row_quads: piece.row_quads(k), blocks: Layout::blocks(k),
            epsilon: fused.norm.map_or(0.0, |norm| norm.epsilon),
        ];
        let columns = if swiglu { spec.columns / 2 } else { spec.columns };
        let grid = [n.div_ceil(columns) as u32, m.div_ceil(spec.rows) as u32, 1];
        gpu.run(&variant, binds, params, grid)?;
    }
    Ok(out)
}
