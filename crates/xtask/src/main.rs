//! Every developer command of ntproto: `cargo xtask help`.
//!
//! One file a command; this one is the table of contents.
#![forbid(unsafe_code)]

mod bench;
mod book;
mod ci;
mod citations;
mod codegen;
mod coverage;
mod cross;
mod deps;
mod embedded;
mod files;
mod fuzz;
mod interop;
mod layers;
mod metadata;
mod msrv;
mod nightly;
mod process;
mod purity;
mod sim;
mod source;
mod tools;
mod vectors;
mod wasm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

Before a commit lands
  ci [--list] [--from STEP] [--only STEP,STEP]
                     every check, in order; stops at the first that fails

Its steps, one by one
  codegen [--check]  Rust types from proto/; --check compares only
  layers             a crate depends only on crates below it
  purity             the pure crates: what they may depend on and name
  deps [--write]     docs/dependencies.md against the manifests; --write corrects its \"used by\" column
  files              file lengths
  msrv               rust-version and edition of the whole tree
  vectors [--check]  the specification's test vectors, from the code; --check compares only
  book [--build]     links and includes of docs/; --build runs mdbook too
  citations [--list] every MUST of docs/spec has code and a test that cite it; --list prints where
  sim [--seeds N] [-- ARG...]
                     the simulator
  embedded           the minimal client as firmware, and its size
  wasm               the package for JavaScript, its size, and its tests in Node
  interop [CLIENT...]
                     clients that others wrote, against a server that was built;
                     `bench` instead: files beside nginx, Caddy and tus
  fuzz [--seconds N] [TARGET...]
                     every fuzz target, or these, for N seconds each (default 30)

Sometimes
  bench              the benchmarks beside their peers, as ratios against the bars
  coverage           which lines of core its tests run; wants LLVM's tools (CONTRIBUTING.md)
  nightly            what takes too long for ci: more seeds, longer fuzzing, the book
  tools              installs what ci uses and is missing: cargo tools, libraries of other targets
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let result = run(&root(), &command, &rest);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask {command}: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: &Path, command: &str, args: &[String]) -> Result<(), String> {
    match command {
        "ci" => ci::run(root, args),
        "coverage" => no_args(args).and_then(|()| coverage::run(root)),
        "codegen" => codegen::run(root, only_flag(args, "--check")?),
        "layers" => no_args(args).and_then(|()| layers::run(root)),
        "purity" => no_args(args).and_then(|()| purity::run(root)),
        "deps" => deps::run(root, only_flag(args, "--write")?),
        "files" => no_args(args).and_then(|()| files::run(root)),
        "msrv" => no_args(args).and_then(|()| msrv::run(root)),
        "vectors" => vectors::run(root, only_flag(args, "--check")?),
        "book" => book::run(root, only_flag(args, "--build")?),
        "citations" => citations::run(root, only_flag(args, "--list")?),
        "sim" => sim::run(root, args),
        "fuzz" => fuzz::run(root, args),
        "interop" => interop::run(root, args),
        "embedded" => no_args(args).and_then(|()| embedded::run(root)),
        "wasm" => no_args(args).and_then(|()| wasm::run(root)),
        "bench" => no_args(args).and_then(|()| bench::run(root)),
        "nightly" => no_args(args).and_then(|()| nightly::run(root)),
        "tools" => no_args(args).and_then(|()| tools::run(root)),
        "help" | "--help" | "-h" | "" => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(format!("no such command\n\n{HELP}")),
    }
}

/// For commands that take at most one flag.
fn only_flag(args: &[String], flag: &str) -> Result<bool, String> {
    match args {
        [] => Ok(false),
        [one] if one == flag => Ok(true),
        _ => Err(format!("takes only {flag}, got {args:?}")),
    }
}

/// For commands that take nothing.
fn no_args(args: &[String]) -> Result<(), String> {
    if args.is_empty() { Ok(()) } else { Err(format!("takes no arguments, got {args:?}")) }
}

/// The workspace root, two folders above this crate.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}
