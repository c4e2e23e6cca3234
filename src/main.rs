//! The `wgpt` program: a thin shell around [`wgpt::cli`].

fn main() -> std::process::ExitCode {
    wgpt::cli::main()
}
