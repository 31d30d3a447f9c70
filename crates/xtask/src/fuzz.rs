//! `cargo xtask fuzz`: every target for a while, as many at once as there are cores.
//!
//! No sanitizer: the code under test forbids `unsafe`, and without one the targets run twice as fast
//! and build with the same stable compiler as everything else.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::process::cargo;
use crate::source::rust_files;

/// How long one input may take: the parsers are linear, so a slow input is a bug.
const INPUT_SECONDS: u32 = 10;

/// Memory a target may take: a message and its copies, with room for the fuzzer's own corpus.
const MEMORY_MIB: u32 = 1024;

/// The targets: the files of `fuzz/fuzz_targets`.
fn targets(root: &Path) -> Result<Vec<String>, String> {
    let files = rust_files(&root.join("fuzz/fuzz_targets"))?;
    Ok(files.iter().filter_map(|p| p.file_stem()).map(|s| s.to_string_lossy().into_owned()).collect())
}

/// Runs the targets named, or all.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let mut seconds = 30;
    let mut wanted = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--seconds" {
            let value = args.next().ok_or("--seconds needs a number")?;
            seconds = value.parse().map_err(|_| format!("--seconds: `{value}` is no number"))?;
        } else {
            wanted.push(arg.clone());
        }
    }
    for_seconds(root, &wanted, seconds)
}

/// Runs each target for `seconds`. Finds land in `fuzz/artifacts`.
pub(crate) fn for_seconds(root: &Path, wanted: &[String], seconds: u64) -> Result<(), String> {
    let all = targets(root)?;
    if let Some(unknown) = wanted.iter().find(|t| !all.contains(t)) {
        return Err(format!("no target {unknown}; there are {}", all.join(", ")));
    }
    let chosen = if wanted.is_empty() { &all } else { wanted };
    // All at once, so that the runs below find them built.
    cargo(root, ["fuzz", "build", "--sanitizer", "none"]).done()?;
    let left = Mutex::new(chosen.iter());
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(chosen.len());
    std::thread::scope(|scope| {
        let work = || {
            loop {
                let Some(target) = left.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                    return Ok(());
                };
                one(root, target, seconds)?;
            }
        };
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })
}

/// One target; what it printed appears when it ended.
fn one(root: &Path, target: &str, seconds: u64) -> Result<(), String> {
    println!("fuzz: {target} for {seconds} s");
    // New inputs go to a scratch corpus; the committed seeds are read only.
    let scratch = root.join("fuzz/target/corpus").join(target);
    std::fs::create_dir_all(&scratch).map_err(|e| format!("{}: {e}", scratch.display()))?;
    let seeds = format!("fuzz/seeds/{target}");
    let mut line = vec!["fuzz".into(), "run".into(), "--sanitizer".into(), "none".into(), target.to_owned()];
    line.push(scratch.to_string_lossy().into_owned());
    if root.join(&seeds).is_dir() {
        line.push(seeds);
    }
    line.extend([
        "--".into(),
        format!("-max_total_time={seconds}"),
        format!("-timeout={INPUT_SECONDS}"),
        format!("-rss_limit_mb={MEMORY_MIB}"),
        "-print_final_stats=1".into(),
        "-verbosity=0".into(),
        "-print_funcs=0".into(),
    ]);
    cargo(root, line).quietly().map_err(|e| {
        format!(
            "{e}\nthe input is in fuzz/artifacts/{target}: `cargo fuzz run -s none {target} FILE` replays it"
        )
    })
}
