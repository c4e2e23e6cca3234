//! A laboratory for GPUs that are not there: compiles wgpt's kernels with the drivers' own compilers, which run without
//! the hardware, and reads registers, spills, occupancy and hot loops. `scripts/lab` sets up the drivers and calls this.

mod bound;
mod compile;
mod figures;
mod gpus;
mod machine_code;
mod report;
mod trusted;
mod variant;

use std::{
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Parser, Subcommand};
use wgpt::gpu::{Gpu, Options};

use crate::{
    compile::How,
    report::{Table, compare, summary, words},
};

/// What the compilers of GPUs make of wgpt's kernels, without the GPUs.
#[derive(Parser)]
#[command(name = "wgpt-lab")]
struct Program {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Compile variants on the adapter of this environment, which must be a stub of the GPU
    Read(Read),
    /// Show what changed between two tables
    Compare {
        /// The JSON table before
        before: PathBuf,
        /// The JSON table after
        after: PathBuf,
    },
    /// Compile what is asked on the standard input (used by `read`)
    #[command(hide = true)]
    Compile {
        #[arg(long)]
        robust: bool,
        #[arg(long)]
        representation: String,
    },
}

#[derive(Args)]
struct Read {
    /// The GPU that the environment imitates
    #[arg(long)]
    gpu: String,
    /// Only variants whose name contains one of these
    #[arg(long)]
    only: Vec<String>,
    /// A kernel that is being worked on: a file like those in shaders, instead of the variants
    #[arg(long, value_name = "FILE")]
    draft: Option<PathBuf>,
    /// A constant of the draft to replace, as in TILE_K=16u; can be given several times
    #[arg(long, value_name = "NAME=VALUE", requires = "draft")]
    set: Vec<String>,
    /// All variants, not only those in f32 without anything fused and those that are used where nothing was timed
    #[arg(long)]
    all: bool,
    /// Only variants that are used where nothing was timed, and fail if one of them spills or does not compile
    #[arg(long, conflicts_with = "all")]
    strict: bool,
    /// As on a device that checks every access to a buffer
    #[arg(long)]
    robust: bool,
    /// Print the hot loop of each variant
    #[arg(long)]
    disassemble: bool,
    /// Where answers of compilers are kept
    #[arg(long, default_value = "target/lab")]
    cache: PathBuf,
    /// Write GPU.json and GPU.md here
    #[arg(long)]
    out: Option<PathBuf>,
    /// Processes that compile at the same time; as many as there are cores if not given
    #[arg(long)]
    jobs: Option<usize>,
}

fn main() -> ExitCode {
    let done = match Program::parse().command {
        What::Read(read) => pollster::block_on(run(&read)),
        What::Compare { before, after } => Table::read(&before).and_then(|before| {
            print(&compare(&before, &Table::read(&after)?));
            Ok(())
        }),
        What::Compile { robust, representation } => compile::answer(robust, &representation),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wgpt-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints, and does not mind a reader who has seen enough.
fn print(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).ok();
}

async fn run(read: &Read) -> Result<(), String> {
    let known = || gpus::GPUS.iter().map(|gpu| gpu.name).collect::<Vec<_>>().join(", ");
    let gpu = gpus::of(&read.gpu).ok_or_else(|| format!("no GPU '{}'; known are {}", read.gpu, known()))?;
    let opened = Gpu::open(&Options::default()).await.map_err(|error| error.to_string())?;
    let mut items = match &read.draft {
        Some(file) => vec![variant::draft(&opened, file, &read.set)?],
        None => variant::items(&opened, &read.only, read.all).await?,
    };
    if read.strict {
        items.retain(|item| item.chosen);
    }
    drop(opened);
    let (adapter, driver) = {
        let device = trusted::Device::open(read.robust)?;
        (device.name.clone(), device.driver.clone())
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let how = How {
        cache: read.cache.join(gpu.name),
        compiler: format!("{} {adapter} {driver}", gpu.name),
        robust: read.robust,
        representation: gpu.architecture.representation(),
        prints: gpu.architecture.representation() == "printed",
        jobs: read.jobs.unwrap_or(cores),
    };
    let (start, last) = (Instant::now(), Mutex::new(Instant::now()));
    let answers = compile::compile(&items, &how, |done, total| {
        let Ok(mut last) = last.lock() else { return };
        if last.elapsed() > Duration::from_secs(5) {
            *last = Instant::now();
            let left = start.elapsed().as_secs_f64() / done as f64 * (total - done) as f64;
            eprintln!("{}: {done} of {total} variants, about {left:.0} s left", gpu.name);
        }
    })?;
    let mut table = Table {
        gpu: gpu.name.to_string(),
        driver: adapter,
        compiler: driver,
        robust: read.robust,
        variants: Vec::with_capacity(items.len()),
    };
    for (item, answer) in items.iter().zip(&answers) {
        let (figures, hot) = figures::figures(gpu, item, answer);
        if read.disassemble {
            let bound = figures.bound.as_ref().map_or_else(String::new, words);
            print(&format!("{}: {bound}\n{}\n\n", figures.variant, hot.join("\n")));
        }
        table.variants.push(figures);
    }
    print(&summary(&table));
    if read.draft.is_some() || !read.only.is_empty() {
        table.variants.iter().for_each(|row| print(&report::details(row)));
    }
    if let Some(folder) = &read.out {
        table.write(folder)?;
    }
    let wrong = table.variants.iter().filter(|row| row.chosen && !row.fits()).count();
    match read.strict && wrong > 0 {
        true => Err(format!("{wrong} variants that are used untuned spill or do not compile on {}", gpu.name)),
        false => Ok(()),
    }
}
