//! Checks every kernel, in every variant that could be chosen on this adapter, against its oracle.
//!
//! The tests in `kernels-tests` run the same checks; `wgpt doctor` adds timings. On an imagined device the checks list
//! the variants that exist: [`variants`].

mod attention;
pub mod audit;
pub mod chosen;
mod flat;
mod gate;
pub mod known_answers;
mod losses;
mod matmul;
mod packed;
mod paged;
mod position;
mod rows;
mod sample;
pub mod trajectory;
pub mod variants;

pub mod reference;

pub use gate::Gate;

use serde::Serialize;

use half::f16;

use crate::{
    Error, Result,
    gpu::{
        Gpu,
        race::{Call, LONG},
    },
    random,
    tensor::{DType, Tensor},
};
use gate::Working;
use reference::compare::compare;

/// The families of checks, by name.
pub const FAMILIES: &[&str] =
    &["matmul", "attention", "rows", "flat", "position", "packed", "paged", "sample", "losses"];

/// The families whose kernels also work on f16 activations.
const HALF_FAMILIES: &[&str] = &["matmul", "attention", "rows", "flat", "position"];

/// How a family's kernels can store activations on an adapter.
pub fn elements(gpu: &Gpu, family: &str) -> &'static [DType] {
    match HALF_FAMILIES.contains(&family) && gpu.capabilities().f16 {
        true => &[DType::F32, DType::F16],
        false => &[DType::F32],
    }
}

/// The result for one variant of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The kernel.
    pub kernel: String,
    /// The variant.
    pub variant: String,
    /// Whether every result was within its tolerance.
    pub pass: bool,
    /// Largest difference from the oracle, divided by the oracle where that is above 1; for attention over a cache in f16,
    /// the root of the mean square difference.
    pub max_error: f64,
    /// Billions of floating-point operations per second, for kernels that are limited by arithmetic.
    pub gflops: Option<f64>,
    /// Billions of bytes read and written per second, for kernels that are limited by memory.
    pub gbps: Option<f64>,
    /// A description of the first wrong element.
    pub failure: Option<String>,
}

/// Runs the checks and collects rows.
pub struct Doctor<'a> {
    gpu: &'a Gpu,
    /// Whether to time the kernels too.
    times: bool,
    /// How activations are stored in the current checks.
    element: DType,
    rows: Vec<Row>,
    seed: u64,
    watch: Option<Watch<'a>>,
    /// Whether every variant is checked in every form, rather than in some of them.
    thorough: bool,
    /// What it shares with the doctors of other devices.
    gate: Option<&'a Gate>,
    /// What is timed once the checks of its family are done.
    timings: Vec<Timing>,
}

/// Is called with a kernel and a variant before each comparison; returns whether the checks go on.
pub type Watch<'a> = Box<dyn FnMut(&str, &str) -> bool + 'a>;

/// A kernel to be timed.
struct Timing {
    kernel: String,
    variant: String,
    work: Work,
    call: Call<'static>,
}

/// Work per call, for the rate.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Floating-point operations.
    Flops(f64),
    /// Bytes read and written.
    Bytes(f64),
}

impl<'a> Doctor<'a> {
    /// A doctor for `gpu`; with `times`, every kernel is also timed at a size that keeps the adapter busy.
    pub fn new(gpu: &'a Gpu, times: bool) -> Self {
        Self {
            gpu,
            times,
            element: DType::F32,
            rows: Vec::new(),
            seed: 0,
            watch: None,
            thorough: true,
            gate: None,
            timings: Vec::new(),
        }
    }

    /// Calls `watch` before each comparison. Once it returns false, the checks end with [`Error::Interrupted`]; the rows so
    /// far remain.
    #[must_use]
    pub fn watched(self, watch: Watch<'a>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// Checks every variant in some of its forms only: other widths of heads, transpositions and fused operations are other
    /// kernels to compile, which takes a driver in software half a second each.
    #[must_use]
    pub fn brief(self) -> Self {
        Self { thorough: false, ..self }
    }

    /// Lets doctors on other devices that pass `gate` too work at the same time, in threads of their own, but not while a
    /// kernel is timed.
    #[must_use]
    pub fn beside(self, gate: &'a Gate) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// Whether a form is checked; without being thorough, every `every`-th is.
    fn takes(&self, turn: usize, every: usize) -> bool {
        self.thorough || turn % every == 0
    }

    /// Runs one of the [`FAMILIES`], and again with f16 activations if kernels and adapter support them.
    ///
    /// # Errors
    /// As [`Doctor::check_stored`].
    pub async fn check(&mut self, family: &str) -> Result<()> {
        for element in elements(self.gpu, family) {
            self.check_stored(family, *element).await?;
        }
        Ok(())
    }

    /// Whether activations are f16 in the current checks.
    fn half(&self) -> bool {
        self.element == DType::F16
    }

    /// Whether nothing is compiled or run, so that nothing needs to be left out to save time.
    fn notes_only(&self) -> bool {
        self.gpu.is_imagined()
    }

    /// Runs one of the [`FAMILIES`] with activations stored as one of its [`elements`].
    ///
    /// # Errors
    /// [`Error::Usage`] for a family that does not exist; the driver's errors. A wrong result is not an error here but a row
    /// that does not pass.
    pub async fn check_stored(&mut self, family: &str, element: DType) -> Result<()> {
        self.element = element;
        self.timings.clear();
        let working = self.gate.map(Gate::enter);
        self.check_family(family).await?;
        self.make_timings(working.as_ref()).await
    }

    async fn check_family(&mut self, family: &str) -> Result<()> {
        match family {
            "matmul" => matmul::check(self).await,
            "attention" => attention::check(self).await,
            "rows" => rows::check(self).await,
            "flat" => flat::check(self).await,
            "losses" => losses::check(self).await,
            "packed" => packed::check(self).await,
            "paged" => paged::check(self).await,
            "position" => position::check(self).await,
            "sample" => sample::check(self).await,
            _ => Err(Error::Usage(format!("there are no checks '{family}'; known are {}", FAMILIES.join(", ")))),
        }
    }

    /// The rows so far.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// New test data: asymmetric, exactly representable in the storage type of activations, never the same twice.
    fn data(&mut self, len: usize) -> Vec<f64> {
        self.seed += 1;
        let value = |i| (random::uniform(self.seed, 1, i) * 2.5 - 1.0) as f32;
        let stored = |value: f32| if self.half() { f16::from_f32(value).to_f32() } else { value };
        (0..len as u64).map(|i| f64::from(stored(value(i)))).collect()
    }

    /// Values on the GPU, in f32.
    fn upload(&self, shape: &[usize], values: &[f64]) -> Result<Tensor> {
        self.upload_as(shape, values, DType::F32)
    }

    /// Values on the GPU in the storage type of activations.
    fn store(&self, shape: &[usize], values: &[f64]) -> Result<Tensor> {
        self.upload_as(shape, values, self.element)
    }

    fn upload_as(&self, shape: &[usize], values: &[f64], dtype: DType) -> Result<Tensor> {
        let values: Vec<_> = values.iter().map(|value| *value as f32).collect();
        Tensor::from_f32_as(self.gpu, shape, &values, dtype)
    }

    /// An f32 output filled with NaN, so that elements that a kernel leaves unwritten show.
    fn poisoned(&self, shape: &[usize]) -> Result<Tensor> {
        self.poisoned_as(shape, DType::F32)
    }

    fn poisoned_as(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        self.upload_as(shape, &vec![f64::NAN; shape.iter().product()], dtype)
    }

    /// Compares a result with its oracle: `|x - oracle| <= 1e-5 sqrt(depth) + 1e-4 |oracle|`, or `1e-3 sqrt(depth) +
    /// 1e-3 |oracle|` if it is stored in f16, where `depth` is the number of terms that each element sums.
    async fn compare(
        &mut self,
        (kernel, variant): (&str, &str),
        what: &str,
        actual: &Tensor,
        oracle: &[f64],
        depth: usize,
    ) -> Result<()> {
        if self.notes_only() {
            return Ok(());
        }
        let values = self.result(kernel, variant, actual).await?;
        let terms = (depth as f64).sqrt().max(1.0);
        let (atol, rtol, normalised) = match actual.dtype() {
            DType::F16 => (1e-3, 1e-3, 1e-6),
            _ => (1e-5, 1e-4, 1e-7),
        };
        let found = compare(&values, oracle, atol * terms, rtol);
        let name = self.name(kernel);
        let row = self.row(&name, variant);
        row.max_error = row.max_error.max(found.scaled);
        if !found.passes_within(normalised) && row.failure.is_none() {
            row.pass = false;
            let at = found.worst.map_or(String::new(), |(i, x, y)| format!(" [{i}] is {x}, the oracle says {y};"));
            row.failure = Some(format!("{what}:{at} normalised error {:.1e}", found.normalised));
        }
        Ok(())
    }

    /// Checks that the mean square difference from an oracle is at most `most`, for kernels that store coarser numbers.
    async fn compare_mean(
        &mut self,
        (kernel, variant): (&str, &str),
        what: &str,
        actual: &Tensor,
        oracle: &[f64],
        most: f64,
    ) -> Result<()> {
        if self.notes_only() {
            return Ok(());
        }
        let values = self.result(kernel, variant, actual).await?;
        let squares: f64 = values.iter().zip(oracle).map(|(x, y)| (f64::from(*x) - y).powi(2)).sum();
        let error = if values.len() == oracle.len() { squares / oracle.len() as f64 } else { f64::NAN };
        let row = self.row(kernel, variant);
        row.max_error = row.max_error.max(error.sqrt());
        if error.is_nan() || error > most {
            row.pass = false;
            row.failure = Some(format!("{what}: mean square error {error:.1e}"));
        }
        Ok(())
    }

    /// The name under which a kernel's results are listed.
    fn name(&self, kernel: &str) -> String {
        if self.half() { format!("{kernel} f16") } else { kernel.to_string() }
    }

    fn row(&mut self, kernel: &str, variant: &str) -> &mut Row {
        let position = self.rows.iter().position(|row| row.kernel == kernel && row.variant == variant);
        let position = position.unwrap_or_else(|| {
            self.rows.push(Row {
                kernel: kernel.to_string(),
                variant: variant.to_string(),
                pass: true,
                max_error: 0.0,
                gflops: None,
                gbps: None,
                failure: None,
            });
            self.rows.len() - 1
        });
        &mut self.rows[position]
    }

    /// Reads the result of a check, and lets others time their kernels before the next check.
    async fn result(&mut self, kernel: &str, variant: &str, actual: &Tensor) -> Result<Vec<f32>> {
        self.go_on(kernel, variant)?;
        let values = actual.to_f32().await?;
        if let Some(gate) = self.gate {
            gate.step_aside();
        }
        Ok(values)
    }

    /// Tells who watches what is checked next.
    fn go_on(&mut self, kernel: &str, variant: &str) -> Result<()> {
        match self.watch.as_mut().is_none_or(|watch| watch(kernel, variant)) {
            true => Ok(()),
            false => Err(Error::Interrupted),
        }
    }

    /// Times `call` once the checks of its family are done, if times are wanted.
    fn time(&mut self, (kernel, variant): (&str, &str), work: Work, call: impl Fn() -> Result<()> + 'static) {
        // Brief checks leave f16 untimed: on the processor nobody chooses it for speed.
        if self.times && (self.thorough || !self.half()) {
            self.timings.push(Timing {
                kernel: self.name(kernel),
                variant: variant.to_string(),
                work,
                call: Box::new(call),
            });
        }
    }

    /// Makes the timings that [`Doctor::time`] asked for, one after the other, so that others have to wait only once.
    async fn make_timings(&mut self, working: Option<&Working<'_>>) -> Result<()> {
        let mut timings = std::mem::take(&mut self.timings);
        // Nothing that was not checked gets a row.
        timings.retain(|timing| {
            self.rows.iter().any(|row| (&row.kernel, &row.variant) == (&timing.kernel, &timing.variant))
        });
        for Timing { kernel, variant, call, .. } in &timings {
            self.go_on(kernel, variant)?;
            // Compiles it.
            self.gpu.clock(call, 1).await?;
        }
        let _alone = working.filter(|_| !timings.is_empty()).map(Working::alone);
        for Timing { kernel, variant, work, call } in timings {
            self.go_on(&kernel, &variant)?;
            let once = self.gpu.clock(&call, 1).await?;
            // What takes long is not interrupted often enough to matter.
            let seconds = if once > LONG { once } else { self.gpu.time(3, 3, &*call).await? };
            let row = self.row(&kernel, &variant);
            match work {
                Work::Flops(flops) => row.gflops = Some(flops / seconds * 1e-9),
                Work::Bytes(bytes) => row.gbps = Some(bytes / seconds * 1e-9),
            }
        }
        Ok(())
    }
}
