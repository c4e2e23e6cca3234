//! Matrix products where the doctor's data do not lead: numbers that are not finite, and subgroups of other sizes.

use wgpt::{
    binds,
    doctor::reference::matmul as oracle,
    gpu::Capabilities,
    ops::matmul::{
        Epilogue, Shape, matmul_with,
        variants::{MatmulVariant, Types, VARIANTS},
    },
    params, random,
    tensor::{DType, Tensor},
};

use crate::{device::device, support::assert_close};

const FORMS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// Exact in f16.
fn data(seed: u64, len: usize) -> Vec<f32> {
    (0..len as u64).map(|i| (random::uniform(seed, 0, i) * 64.0).floor() as f32 / 32.0 - 0.75).collect()
}

fn result(spec: &MatmulVariant, shape: Shape, a: &Tensor, b: &Tensor) -> Vec<f32> {
    let out = Tensor::empty_f32(a.gpu(), &[shape.batch, shape.m, shape.n]).expect("memory");
    matmul_with(spec, shape, a, b, &out, Epilogue::default()).expect("it runs");
    pollster::block_on(out.to_f32()).expect("it is read")
}

/// A NaN in A makes its row of the result NaN, an infinity in B its column not finite, and neither anything else: what tiles
/// take from beyond the end of k or of the result does not matter.
#[test]
fn what_is_not_finite_stays_in_its_row_and_column() {
    let device = device();
    for (spec, (trans_a, trans_b)) in VARIANTS.iter().flat_map(|spec| FORMS.map(|form| (spec, form))) {
        let of = |m| Shape { m, batch: 2, trans_a, trans_b, half: spec.cooperative > 0, ..Shape::new(m, 36, 68) };
        let Some(shape) = [20, 4, 1].map(of).into_iter().find(|shape| spec.fits(device.gpu.capabilities(), shape))
        else {
            continue;
        };
        let Shape { m, n, k, batch, .. } = shape;
        let (mut a, mut b) = (data(1, batch * m * k), data(2, batch * k * n));
        // Others in the next product, which lies behind the end of the first.
        let place = |z: usize| ((m - 1).saturating_sub(z), n - 2 - z);
        let finite = result(spec, shape, &stored(&device.gpu, &a, shape), &stored(&device.gpu, &b, shape));
        for (z, kk) in (0..batch).flat_map(|z| [(z, 0), (z, k - 1)]) {
            let (row, column) = place(z);
            a[z * m * k + if trans_a { kk * m + row } else { row * k + kk }] = f32::NAN;
            b[z * k * n + if trans_b { column * k + kk } else { kk * n + column }] = f32::INFINITY;
        }
        let values = result(spec, shape, &stored(&device.gpu, &a, shape), &stored(&device.gpu, &b, shape));
        for (i, (value, before)) in values.iter().zip(&finite).enumerate() {
            let (z, row, column) = (i / n / m, i / n % m, i % n);
            let case = format!("{} {shape:?} [{z}, {row}, {column}] is {value}", spec.name);
            match (row == place(z).0, column == place(z).1) {
                (true, _) => assert!(value.is_nan(), "{case}"),
                (_, true) => assert!(!value.is_finite(), "{case}"),
                _ => assert_eq!(value, before, "{case}"),
            }
        }
    }
}

fn stored(gpu: &wgpt::gpu::Gpu, values: &[f32], shape: Shape) -> Tensor {
    Tensor::from_f32_as(gpu, &[values.len()], values, shape.dtype()).expect("memory")
}

/// A driver may make subgroups smaller than the largest, of which there are then more in a workgroup than blocks.
#[test]
fn subgroups_may_be_smaller_than_a_workgroup_is_made_for() {
    let device = device();
    let capabilities = device.gpu.capabilities();
    let (Some(side), Some((least, most))) = (capabilities.cooperative, capabilities.subgroups) else {
        return println!("skipped: the adapter has no cooperative matrices");
    };
    let larger = Capabilities { subgroups: Some((least, 2 * most)), ..capabilities.clone() };
    for (trans_a, trans_b) in FORMS {
        let shape = Shape { batch: 2, trans_a, trans_b, half: true, ..Shape::new(76, 100, 68) };
        let Shape { m, n, k, batch, .. } = shape;
        let fits = |spec: &&MatmulVariant| spec.cooperative == side && spec.split == 1 && spec.fits(&larger, &shape);
        let mut fitting = VARIANTS.iter().filter(fits).peekable();
        assert!(fitting.peek().is_some(), "some variant fits {larger:?}");
        let (a, b) = (data(3, batch * m * k), data(4, batch * k * n));
        let layout = oracle::Layout { m, n, k, batch, trans_a, trans_b };
        let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
        let expected = oracle::matmul(layout, &wide(&a), &wide(&b));
        let (a, b) = (stored(&device.gpu, &a, shape), stored(&device.gpu, &b, shape));
        for spec in fitting {
            let types = Types { a: DType::F16, b: DType::F16, ..Types::SINGLE };
            let variant = spec.variant(types, &larger).set("TRANS_A", trans_a).set("TRANS_B", trans_b);
            let out = Tensor::empty_f32(&device.gpu, &[batch * m * n]).expect("memory");
            let spare = Tensor::empty_f32(&device.gpu, &[4]).expect("memory");
            let (a_row, b_row) = (if trans_a { m } else { k }, if trans_b { k } else { n });
            let binds = binds![
                a: a.bind(), b: b.bind(), bias: a.bind(), residual: a.bind(), out: out.bind(), preactivation: spare.bind(),
            ];
            let params = params![
                m: m, n: n, k: k, out_row: n, out_batch: m * n, batch: batch, accumulate: false,
                a_row: a_row, b_row: b_row, a_batch: m * k, b_batch: k * n, range: k,
            ];
            device.gpu.dispatch(&variant, binds, params, spec.grid(&shape)).expect("it runs");
            let values = pollster::block_on(out.to_f32()).expect("it is read");
            assert_close(&format!("{} {shape:?}", spec.name), &values, &expected, 1e-4, 1e-4);
        }
    }
}
