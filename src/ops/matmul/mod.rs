//! Matrix products: one call, many kernels; the fastest correct one is chosen by shape class.

pub mod variants;

use self::variants::{MatmulVariant, Types, VARIANTS, Vectorization};
use super::require;
use crate::{
    Result, binds,
    gpu::{Gpu, Variant},
    params,
    tensor::{DType, Tensor},
};

/// The product `out[batch, m, n] = A . B` and how its operands are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of each dot product.
    pub k: usize,
    /// Independent products.
    pub batch: usize,
    /// A is stored as `[k, m]`.
    pub trans_a: bool,
    /// B is stored as `[n, k]`.
    pub trans_b: bool,
    /// B is stored in f16.
    pub half: bool,
}

/// What is applied to a result on its way to memory: `[residual +] [gelu](sum [+ bias])`.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[n]`, added to every row.
    pub bias: Option<&'a Tensor>,
    /// Applies GELU, and writes the values before it here: `[batch, m, n]`.
    pub gelu: Option<&'a Tensor>,
    /// `[batch, m, n]`, added last.
    pub residual: Option<&'a Tensor>,
    /// Adds to what `out` holds.
    pub accumulate: bool,
}

impl Shape {
    /// A product of plain row-major matrices.
    pub fn new(m: usize, n: usize, k: usize) -> Self {
        Self { m, n, k, batch: 1, trans_a: false, trans_b: false, half: false }
    }

    /// A is stored as `[k, m]`.
    #[must_use]
    pub fn trans_a(self) -> Self {
        Self { trans_a: true, ..self }
    }

    /// B is stored as `[n, k]`.
    #[must_use]
    pub fn trans_b(self) -> Self {
        Self { trans_b: true, ..self }
    }

    /// Sets whether B is stored in f16.
    #[must_use]
    pub fn half(self, half: bool) -> Self {
        Self { half, ..self }
    }

    /// How B is stored.
    pub fn dtype(&self) -> DType {
        if self.half { DType::F16 } else { DType::F32 }
    }

    /// The class of shapes that share one choice: sizes are rounded up to powers of two; m up to 8 is exact, and n, on
    /// which tiles differ most, is also rounded to the halves between powers.
    pub fn class(&self) -> String {
        let form = match (self.trans_a, self.trans_b) {
            (false, false) => "nn",
            (false, true) => "nt",
            (true, false) => "tn",
            (true, true) => "tt",
        };
        let m = if self.m <= 8 { self.m } else { self.m.next_power_of_two() };
        let odd = if self.k % 4 == 0 && self.n % 4 == 0 && self.m % 4 == 0 { "" } else { " odd" };
        let half = if self.half { " f16" } else { "" };
        let (n, k) = (self.n.next_power_of_two(), self.k.next_power_of_two());
        let n = if n > 4 && self.n <= n / 4 * 3 { n / 4 * 3 } else { n };
        format!("matmul {form} {m}x{n}x{k}{odd}{half}")
    }

    /// The shape as numbers, for the tuner's notes.
    pub fn numbers(&self) -> Vec<u32> {
        let Self { m, n, k, batch, trans_a, trans_b, half } = *self;
        let flags = [trans_a, trans_b, half].map(u32::from);
        [m, n, k, batch].map(|number| number as u32).into_iter().chain(flags).collect()
    }

    /// The inverse of [`Shape::numbers`].
    pub fn from_numbers(numbers: &[u32]) -> Option<Self> {
        let &[m, n, k, batch, trans_a, trans_b, half] = numbers else { return None };
        let [m, n, k, batch] = [m, n, k, batch].map(|number| number as usize);
        let [trans_a, trans_b, half] = [trans_a, trans_b, half].map(|flag| flag != 0);
        Some(Self { m, n, k, batch, trans_a, trans_b, half })
    }

    /// Floating-point operations of the product.
    pub fn flops(&self) -> f64 {
        2.0 * self.batch as f64 * self.m as f64 * self.n as f64 * self.k as f64
    }
}

/// The variant for a product: the tuner's choice, else the first vector kernel that fits if there are few rows, else the
/// first variant that fits.
pub fn choose(gpu: &Gpu, shape: Shape) -> &'static MatmulVariant {
    let fitting = || VARIANTS.iter().filter(|spec| spec.fits(gpu.capabilities(), &shape));
    let usable = |name: &str| fitting().any(|spec| spec.name == name);
    let few_rows = |spec: &&MatmulVariant| matches!(spec.vectorization, Vectorization::Rows(_));
    let plainest = &VARIANTS[VARIANTS.len() - 1];
    let default = || fitting().find(few_rows).or_else(|| fitting().next()).unwrap_or(plainest);
    let choice = gpu.tuner().choice(&shape.class(), &shape.numbers(), usable, || default().name);
    fitting().find(|spec| spec.name == choice).unwrap_or(plainest)
}

/// Computes `shape` from `a [batch, m, k]` and `b [batch, k, n]`, or their transposes, into `out [batch, m, n]`. Each
/// is f32 or f16, and may have any shape with as many elements.
///
/// # Errors
/// [`crate::Error::Shape`] when an operand does not hold the shape's elements.
pub fn matmul(shape: Shape, a: &Tensor, b: &Tensor, out: &Tensor, epilogue: Epilogue<'_>) -> Result<()> {
    let shape = shape.half(b.dtype() == DType::F16);
    matmul_with(choose(out.gpu(), shape), shape, a, b, out, epilogue)
}

/// [`matmul`] with a given variant.
///
/// # Errors
/// As [`matmul`].
pub fn matmul_with(
    spec: &MatmulVariant,
    shape: Shape,
    a: &Tensor,
    b: &Tensor,
    out: &Tensor,
    epilogue: Epilogue<'_>,
) -> Result<()> {
    let Shape { m, n, k, batch, .. } = shape;
    let sizes = [("A", a, batch * m * k), ("B", b, batch * k * n), ("out", out, batch * m * n)];
    for (name, tensor, elements) in sizes {
        require(tensor.elements() == elements, "matmul", || {
            format!("{name} is {:?}, {shape:?} needs {elements} elements", tensor.shape())
        })?;
    }
    for tensor in [epilogue.gelu, epilogue.residual].into_iter().flatten() {
        require(tensor.elements() == batch * m * n, "matmul", || {
            format!("the epilogue has {:?} for {shape:?}", tensor.shape())
        })?;
    }
    if let Some(bias) = epilogue.bias {
        super::expect("matmul", "the bias", bias, &[n])?;
    }
    let (range, ranges) = spec.ranges(k);
    if ranges == 1 {
        return product(spec, shape, range, (a, b, out), epilogue);
    }
    let gpu = out.gpu();
    let parts = Tensor::empty_f32(gpu, &[ranges, batch * m * n])?;
    product(spec, shape, range, (a, b, &parts), Epilogue::default())?;
    let (variant, width) = spec.join(types(&parts, b, out, epilogue));
    // The parts take the place of A, and adding them is a sum over k.
    let joined = Shape { k: ranges, ..shape };
    let steps = Steps { a_batch: batch * m * n, range: ranges, ..Steps::default() };
    dispatch(variant, joined, steps, (&parts, &parts, out), epilogue, gpu.flat_grid(batch * m * n / width))
}

/// The strides of rows and batches of A and B in memory, and the length of each range of k.
#[derive(Default)]
struct Steps {
    a_row: usize,
    b_row: usize,
    a_batch: usize,
    b_batch: usize,
    range: usize,
}

/// The storage types of operands and results.
fn types(a: &Tensor, b: &Tensor, out: &Tensor, epilogue: Epilogue<'_>) -> Types {
    let before = epilogue.gelu.map_or(DType::F32, Tensor::dtype);
    Types { a: a.dtype(), b: b.dtype(), out: out.dtype(), before }
}

/// The product of A and B, with every range of `range` elements of k separate: `[ranges, batch, m, n]`.
fn product(
    spec: &MatmulVariant,
    shape: Shape,
    range: usize,
    (a, b, out): (&Tensor, &Tensor, &Tensor),
    epilogue: Epilogue<'_>,
) -> Result<()> {
    let Shape { m, n, k, trans_a, trans_b, .. } = shape;
    let (a_row, b_row) = (if trans_a { m } else { k }, if trans_b { k } else { n });
    let variant = spec.variant(types(a, b, out, epilogue), out.gpu().capabilities());
    let variant = variant.set("TRANS_A", trans_a).set("TRANS_B", trans_b);
    let steps = Steps { a_row, b_row, a_batch: m * k, b_batch: k * n, range };
    dispatch(variant, shape, steps, (a, b, out), epilogue, spec.grid(&shape))
}

/// One dispatch of a kernel that includes `lib/matmul.wgsl`.
fn dispatch(
    variant: Variant,
    shape: Shape,
    steps: Steps,
    (a, b, out): (&Tensor, &Tensor, &Tensor),
    epilogue: Epilogue<'_>,
    grid: [u32; 3],
) -> Result<()> {
    let (gpu, Shape { m, n, k, batch, .. }) = (out.gpu(), shape);
    let variant = variant
        .set("BIAS", epilogue.bias.is_some())
        .set("GELU", epilogue.gelu.is_some())
        .set("RESIDUAL", epilogue.residual.is_some());
    // Unused bindings still need buffers; a writable one must differ from all others.
    let spare = if epilogue.gelu.is_none() { Some(Tensor::empty_f32(gpu, &[4])?) } else { None };
    let preactivation = epilogue.gelu.or(spare.as_ref()).unwrap_or(out);
    let binds = binds![
        a: a.bind(), b: b.bind(), bias: epilogue.bias.unwrap_or(a).bind(),
        residual: epilogue.residual.unwrap_or(a).bind(), out: out.bind(), preactivation: preactivation.bind(),
    ];
    let params = params![
        m: m, n: n, k: k, out_row: n, out_batch: m * n, batch: batch, accumulate: epilogue.accumulate,
        a_row: steps.a_row, b_row: steps.b_row, a_batch: steps.a_batch, b_batch: steps.b_batch, range: steps.range,
    ];
    gpu.run(&variant, binds, params, grid)
}
