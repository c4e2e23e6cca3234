//! Writes the JavaScript for a compiled engine, like wasm-bindgen's own program but without its other features.
//!
//! `wgpt-bindgen engine.wasm FOLDER`

use std::{env, process::ExitCode};

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [input, folder] = &arguments[..] else {
        eprintln!("wgpt-bindgen engine.wasm FOLDER");
        return ExitCode::FAILURE;
    };
    let mut bindgen = Bindgen::new();
    let written = bindgen.input_path(input).web(true).and_then(|bindgen| bindgen.typescript(false).omit_default_module_path(false).remove_name_section(true).remove_producers_section(true).generate(folder));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wgpt-bindgen: {input}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
