//! Compiles SPIR-V in separate processes, because a driver may crash, hang, or print to the standard output. Answers are
//! kept by the hash of the SPIR-V.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use wgpt::hash;

use crate::{
    trusted::{Device, Source},
    variant::{Item, words_of},
};

/// Longer than any kernel may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a process is started under an emulator, where opening the device crashes every other time.
const ATTEMPTS: usize = 12;
/// The signal of a fault in memory.
const SEGV: i32 = 11;
/// Shaders per process, where the driver prints nothing.
const BATCH: usize = 16;

/// What a process is asked to compile.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    /// The file with the SPIR-V.
    spirv: PathBuf,
    bindings: Vec<u32>,
    immediate_bytes: u32,
    /// Where the answer goes.
    answer: PathBuf,
}

/// What came of a shader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Why there is nothing else.
    pub(crate) error: Option<String>,
    /// Lanes of a subgroup.
    pub(crate) subgroup: u32,
    /// Milliseconds.
    pub(crate) milliseconds: f64,
    /// The driver's figures.
    pub(crate) statistics: BTreeMap<String, f64>,
    /// The driver's machine code; see [`crate::machine_code::Architecture::representation`].
    pub(crate) text: String,
}

impl Answer {
    fn failed(error: String) -> Self {
        Self { error: Some(error), subgroup: 0, milliseconds: 0.0, statistics: BTreeMap::new(), text: String::new() }
    }
}

/// How shaders are compiled.
#[derive(Clone, Debug)]
pub(crate) struct How {
    /// The folder of answers.
    pub(crate) cache: PathBuf,
    /// Identifies the compiler, and how it is called, in the names of answers.
    pub(crate) compiler: String,
    /// Whether every access to a buffer is checked.
    pub(crate) robust: bool,
    /// The representation to keep.
    pub(crate) representation: &'static str,
    /// Whether the driver prints the machine code instead of returning it.
    pub(crate) prints: bool,
    /// The number of processes.
    pub(crate) jobs: usize,
}

/// The answers for all `items`, in their order: from the cache, or compiled now. `report` is called with the number of
/// answers and their total.
///
/// # Errors
/// When the cache cannot be written.
pub(crate) fn compile(items: &[Item], how: &How, report: impl Fn(usize, usize) + Sync) -> Result<Vec<Answer>, String> {
    fs::create_dir_all(&how.cache).map_err(|error| format!("{}: {error}", how.cache.display()))?;
    let places: Vec<_> = items.iter().map(|item| how.cache.join(key(item, how))).collect();
    let ready = |place: &PathBuf| fs::read(place).ok().and_then(|bytes| serde_json::from_slice::<Answer>(&bytes).ok());
    let missing: Vec<usize> = (0..items.len()).filter(|index| ready(&places[*index]).is_none()).collect();
    let done = Mutex::new(items.len() - missing.len());
    let size = if how.prints { 1 } else { BATCH };
    let work = Mutex::new(missing.chunks(size));
    let worker = || -> Result<(), String> {
        loop {
            let next = work.lock().map_err(|_| "a worker panicked")?.next();
            let Some(batch) = next else { return Ok(()) };
            let wanted: Vec<_> = batch.iter().map(|index| (&items[*index], places[*index].as_path())).collect();
            run(&wanted, how)?;
            let mut done = done.lock().map_err(|_| "a worker panicked")?;
            *done += batch.len();
            report(*done, items.len());
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..how.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        running.into_iter().try_for_each(|running| running.join().map_err(|_| "a worker panicked".to_string())?)
    })?;
    let missing = || Answer::failed("no answer".to_string());
    Ok(places.iter().map(|place| ready(place).unwrap_or_else(missing)).collect())
}

/// The file name of an answer.
fn key(item: &Item, how: &How) -> String {
    let mut sum = hash::START;
    for bytes in [how.compiler.as_bytes(), &[u8::from(how.robust)], &words(item)] {
        sum = hash::add(sum, bytes);
    }
    format!("{sum:016x}.json")
}

fn words(item: &Item) -> Vec<u8> {
    item.words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Compiles a few shaders in a process. The first that has no answer when the process ends is what ended it; those after
/// it get another process.
fn run(wanted: &[(&Item, &Path)], how: &How) -> Result<(), String> {
    let mut left = wanted;
    let mut attempts = 0;
    while !left.is_empty() {
        let mut requests = Vec::new();
        for (item, answer) in left {
            let spirv = answer.with_extension("spv");
            fs::write(&spirv, words(item)).map_err(|error| format!("{}: {error}", spirv.display()))?;
            requests.push(Request {
                spirv,
                bindings: item.bindings.clone(),
                immediate_bytes: item.immediate_bytes,
                answer: answer.to_path_buf(),
            });
        }
        let (ended, crashed, printed) = process(&requests, how)?;
        requests.iter().for_each(|request| drop(fs::remove_file(&request.spirv)));
        let stuck = left.iter().position(|(_, answer)| !answer.exists());
        if let (true, None) = (how.prints, stuck) {
            keep_printed(left[0].1, printed)?;
        }
        let Some(stuck) = stuck else { break };
        attempts = if stuck == 0 { attempts + 1 } else { 1 };
        if crashed && !emulator().is_empty() && attempts < ATTEMPTS {
            left = &left[stuck..];
            continue;
        }
        attempts = 0;
        write(left[stuck].1, &Answer::failed(ended))?;
        left = &left[stuck + 1..];
    }
    Ok(())
}

fn write(place: &Path, answer: &Answer) -> Result<(), String> {
    let bytes = serde_json::to_vec(answer).map_err(|error| error.to_string())?;
    // Under another name first: an answer that exists is whole.
    let part = place.with_extension("part");
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, place));
    written.map_err(|error| format!("{}: {error}", place.display()))
}

/// Puts what the driver printed into an answer.
fn keep_printed(place: &Path, printed: String) -> Result<(), String> {
    let bytes = fs::read(place).map_err(|error| format!("{}: {error}", place.display()))?;
    let mut answer: Answer = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    answer.text = printed;
    write(place, &answer)
}

/// Runs a process; returns how it ended, whether by a fault in memory, and what it printed.
fn process(requests: &[Request], how: &How) -> Result<(String, bool, String), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    // Under a loader that was named explicitly, the program is the loader's first argument; and under an emulator the
    // loader is the emulator's.
    let loader = program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"));
    let mut words = emulator();
    words.push(program.to_string_lossy().into_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    if loader {
        command.args(loader_arguments());
    }
    command.arg("compile").arg("--representation").arg(how.representation);
    if how.robust {
        command.arg("--robust");
    }
    if how.prints {
        command.env("AGX_MESA_DEBUG", "shaders");
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let asked = serde_json::to_vec(requests).map_err(|error| error.to_string())?;
    let mut input = child.stdin.take().ok_or("no standard input")?;
    let mut output = child.stdout.take().ok_or("no standard output")?;
    // A process that ended early has said why by its status.
    input.write_all(&asked).ok();
    drop(input);
    let reader = thread::spawn(move || {
        let mut printed = Vec::new();
        output.read_to_end(&mut printed).ok();
        String::from_utf8_lossy(&printed).into_owned()
    });
    let (ended, crashed) = wait(&mut child, PATIENCE * requests.len() as u32)?;
    Ok((ended, crashed, reader.join().unwrap_or_default()))
}

/// The words before a program of this process's architecture.
fn emulator() -> Vec<String> {
    std::env::var("WGPT_LAB_EMULATOR").unwrap_or_default().lines().map(String::from).collect()
}

/// The arguments that this process got from its explicitly named loader, up to its own program.
fn loader_arguments() -> Vec<String> {
    let bytes = fs::read("/proc/self/cmdline").unwrap_or_default();
    let all: Vec<_> = bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    // The loader, its options in pairs, then the program.
    let program = all.iter().position(|word| word.ends_with("wgpt-lab")).unwrap_or(0);
    all.get(1..=program).map(<[String]>::to_vec).unwrap_or_default()
}

fn wait(child: &mut Child, patience: Duration) -> Result<(String, bool), String> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            // As a shell says it, too.
            let crashed = status.signal() == Some(SEGV) || status.code() == Some(128 + SEGV);
            return Ok((format!("the compiler ended with {status}"), crashed));
        }
        if start.elapsed() > patience {
            child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
            return Ok((format!("the compiler did not end within {} seconds", patience.as_secs()), false));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The process that compiles: reads requests from the standard input, and writes their answers.
///
/// # Errors
/// When there is no device, or an answer cannot be written.
pub(crate) fn answer(robust: bool, representation: &str) -> Result<(), String> {
    let device = Device::open(robust)?;
    let requests: Vec<Request> = serde_json::from_reader(std::io::stdin()).map_err(|error| error.to_string())?;
    for request in requests {
        let bytes = fs::read(&request.spirv).map_err(|error| format!("{}: {error}", request.spirv.display()))?;
        let words = words_of(&bytes);
        let start = Instant::now();
        let compiled = device.compile(&Source {
            words: &words,
            bindings: &request.bindings,
            immediate_bytes: request.immediate_bytes,
        });
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let answer = match compiled {
            Err(error) => Answer::failed(error),
            Ok(mut compiled) => Answer {
                error: None,
                subgroup: compiled.subgroup,
                milliseconds,
                text: compiled.texts.remove(representation).unwrap_or_default(),
                statistics: compiled.statistics,
            },
        };
        write(&request.answer, &answer)?;
    }
    Ok(())
}
