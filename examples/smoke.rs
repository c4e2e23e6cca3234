use wgpt::{
    gpu::{Gpu, Options},
    model::{Config, Gpt, gpt::Pass},
    ops::{cross_entropy::Targets, embedding::Tokens, tuning},
    optim::*,
    tape::*,
    tensor::Tensor,
};
fn main() -> wgpt::Result<()> {
    pollster::block_on(async {
        let gpu = Gpu::open(&Options::from_environment()).await?;
        println!("{} {:?}", gpu.description(), gpu.capabilities());
        let mut config = Config::gpt2(65, 64, 4, 4, 128);
        config.bias = false;
        let model = Gpt::new(&gpu, &config, 1)?;
        let text: Vec<u32> = std::fs::read("../shared/data/tinyshakespeare.txt")
            .unwrap()
            .iter()
            .map(|&b| (b as u32).wrapping_sub(10).min(112) * 65 / 113)
            .collect();
        let mut grads = Gradients::default();
        let mut opt = Optimizer::new(
            &gpu,
            model.parameters(),
            AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1, clip: 1.0 },
            &mut grads,
        )?;
        let steps = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(20);
        let mut last = std::time::Instant::now();
        for step in 0..steps {
            if step == 3 && std::env::var("PROFILE").is_ok() {
                gpu.start_profile()?;
            }
            let mut x = vec![];
            let mut y = vec![];
            for b in 0..12 {
                let s = (step * 7919 + b * 104729) % (text.len() - 65);
                x.extend(&text[s..s + 64]);
                y.extend(&text[s + 1..s + 65]);
            }
            let tape = Tape::new(&gpu);
            model.watch(&tape);
            let tokens = Tokens::new(&gpu, &x, 12, 64, true)?;
            let targets = Targets::new(&gpu, &y)?;
            let h = model.forward(&tape, &tokens, Pass::default(), None)?;
            let loss = model.loss(&tape, &h, &targets, 1.0)?;
            let mean = loss.mean.clone();
            let one = Tensor::from_f32(&gpu, &[1], &[1.0])?;
            tape.backward(&mean, one, &mut grads)?;
            let norm = opt.update(&gpu, &mut grads, 1e-3)?;
            let (l, n) = (mean.read(), norm.read());
            gpu.submit()?;
            let (l, n) = (l.numbers::<f32>().await?, n.numbers::<f32>().await?);
            println!("{step} {} {} {:?} {:?}", l[0], n[0], last.elapsed(), gpu.created());
            last = std::time::Instant::now();
            if step == 1 && std::env::var("TUNE").is_ok() {
                for t in tuning::answer(&gpu, |c, i, n| eprintln!("{c} {i}/{n}")).await? {
                    println!("{t:?}");
                }
                last = std::time::Instant::now();
            }
        }
        let mut total = 0.0;
        for (k, e) in gpu.profile_table()? {
            println!("{:8.2} ms {:6} {k}", e.seconds * 1e3 / (steps - 3) as f64, e.dispatches);
            total += e.seconds * 1e3 / (steps - 3) as f64;
        }
        println!("{total}");
        Ok(())
    })
}
