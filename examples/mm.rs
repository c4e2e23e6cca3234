use wgpt::{
    gpu::{Gpu, Options},
    ops::{matmul::*, matmul_variants::VARIANTS},
    tensor::Tensor,
};
fn main() -> wgpt::Result<()> {
    pollster::block_on(async {
        let gpu = Gpu::open(&Options::from_environment()).await?;
        for (name, shape) in [
            ("nt 768x384x128", Shape::new(768, 384, 128).trans_b()),
            ("nn 768x128x512", Shape::new(768, 128, 512)),
            ("tn 512x128x768", Shape::new(512, 128, 768).trans_a()),
            ("nn 512", Shape::new(512, 512, 512)),
            ("nt 512", Shape::new(512, 512, 512).trans_b()),
            ("nn 1024", Shape::new(1024, 1024, 1024)),
            ("nt 1024", Shape::new(1024, 1024, 1024).trans_b()),
        ] {
            let v = |n: usize, s: u32| -> Vec<f32> {
                (0..n as u32)
                    .map(|i| ((i.wrapping_mul(2654435761).wrapping_add(s)) >> 8) as f32 / (1 << 24) as f32 - 0.4)
                    .collect()
            };
            let (av, bv) = (v(shape.m * shape.k, 1), v(shape.k * shape.n, 77));
            let a = Tensor::from_f32(&gpu, &[shape.m * shape.k], &av)?;
            let b = Tensor::from_f32(&gpu, &[shape.k * shape.n], &bv)?;
            let out = Tensor::empty_f32(&gpu, &[shape.m * shape.n])?;
            let mut reference: Option<Vec<f32>> = None;
            for spec in VARIANTS.iter().rev().filter(|s| s.fits(gpu.capabilities(), &shape)) {
                let t0 = std::time::Instant::now();
                matmul_with(spec, shape, &a, &b, &out, Epilogue::default())?;
                gpu.finish()?;
                let compile = t0.elapsed();
                let s = gpu.time(3, 3, || matmul_with(spec, shape, &a, &b, &out, Epilogue::default()))?;
                let o = out.to_f32().await?;
                let r = reference.get_or_insert(o.clone());
                let err = o.iter().zip(r.iter()).map(|(x, y)| (x - y).abs()).fold(0f32, f32::max);
                println!(
                    "{name:16} {:20} {:6.1} GFLOP/s  {:?} first, err {err}",
                    spec.name,
                    shape.flops() / s * 1e-9,
                    compile
                );
            }
        }
        Ok(())
    })
}
