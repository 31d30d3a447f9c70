//! `cargo xtask ci`: everything that must hold before a change lands, in one order everywhere.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::metadata::OTHERS;
use crate::process::cargo;
use crate::sim::Seeds;
use crate::{
    book, citations, codegen, deps, embedded, files, fuzz, interop, layers, msrv, purity, sim, tools, wasm,
};

/// Seeds of the simulator in one run.
const SEEDS: Seeds = Seeds { streams: 5_000, quic: 1_000, files: 300 };

/// Seconds a fuzz target: enough to notice what broke. The nightly run gives each ten minutes.
const FUZZ_SECONDS: u64 = 10;

struct Step {
    name: &'static str,
    run: fn(&Path) -> Result<(), String>,
    /// What to do when it fails.
    hint: &'static str,
}

/// Cheap checks first; what shares a build stands together.
const STEPS: [Step; 21] = [
    Step { name: "tools", run: tools::run, hint: "install the tool by hand, then run again" },
    Step { name: "fmt", run: fmt, hint: "cargo fmt --all; cargo fmt --manifest-path fuzz/Cargo.toml" },
    Step { name: "codegen", run: |root| codegen::run(root, true), hint: "cargo xtask codegen" },
    Step { name: "layers", run: layers::run, hint: "move the code down, or the dependency out" },
    Step { name: "purity", run: purity::run, hint: "pass it in as a value, or move it to an adapter" },
    Step {
        name: "deps",
        run: |root| deps::run(root, false),
        hint: "cargo xtask deps --write, and give a reason",
    },
    Step { name: "files", run: files::run, hint: "split the file by concept" },
    Step { name: "msrv", run: msrv::run, hint: "take an older release of that dependency" },
    Step { name: "book", run: |root| book::run(root, false), hint: "mend the link, or list the page" },
    Step {
        name: "citations",
        run: |root| citations::run(root, false),
        hint: "cite the clause beside the code that keeps it and above its test: see CONTRIBUTING.md",
    },
    Step { name: "deny", run: deny, hint: "drop the dependency; a new licence is a decision (deny.toml)" },
    Step {
        name: "clippy",
        run: |root| {
            cargo(root, ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]).done()
        },
        hint: "mend the warning; an `allow` states its reason",
    },
    Step { name: "no_std", run: no_std, hint: "core, hub and what they stand on use core and alloc only" },
    // Both crypto providers: the package `tests` asks for the second, and a workspace builds a package once.
    Step {
        name: "test",
        run: |root| {
            cargo(root, ["test", "--workspace", "--locked"]).done()?;
            // What only a feature brings: files in a bucket, of a server in Python.
            let tests = ["--test", "files", "--test", "https", "--locked"];
            cargo(root, ["test", "-p", "ntproto-server", "--features", "s3"].iter().chain(&tests)).done()
        },
        hint: "cargo test -p CRATE NAME runs one; `cargo xtask vectors` writes vectors that changed",
    },
    Step {
        name: "doc",
        run: |root| {
            cargo(root, ["doc", "--workspace", "--no-deps", "--locked"])
                .env("RUSTDOCFLAGS", "-D warnings")
                .done()
        },
        hint: "mend the link or the markup",
    },
    Step { name: "sim", run: |root| sim::seeds(root, &SEEDS), hint: "the line above replays the seed" },
    Step {
        name: "fuzz",
        run: |root| fuzz::for_seconds(root, &[], FUZZ_SECONDS),
        hint: "commit the input to fuzz/seeds with the fix",
    },
    Step {
        name: "demo",
        run: |root| cargo(root, ["run", "--release", "--locked", "--", "demo"]).done(),
        hint: "a message was lost or doubled: the table says which",
    },
    // With the server that the demo built.
    Step {
        name: "wasm",
        run: wasm::run,
        hint: "Node 20 or later runs it; a size that is right goes into docs/embedding.md",
    },
    // Talks with the client in Node.
    Step {
        name: "embedded",
        run: embedded::run,
        hint: "core uses core and alloc only, and 32-bit atomics; a size that is right goes into docs/embedding.md",
    },
    // With the server that the demo built.
    Step {
        name: "interop",
        run: |root| interop::run(root, &[]),
        hint: "cargo xtask interop CLIENT runs one; its log is named beside the case",
    },
];

/// All workspaces.
fn fmt(root: &Path) -> Result<(), String> {
    cargo(root, ["fmt", "--all", "--check"]).done()?;
    for manifest in OTHERS {
        cargo(root, ["fmt", "--manifest-path", manifest, "--check"]).done()?;
    }
    Ok(())
}

/// A crate that compiles only if nothing it reaches uses std.
fn no_std(root: &Path) -> Result<(), String> {
    let check = cargo(root, ["check", "--manifest-path", "tests/no_std/Cargo.toml", "--locked"]);
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(_) => check.done(),
        None => check.env("CARGO_TARGET_DIR", "target").done(),
    }
}

/// Licences, bans and sources of all workspaces.
fn deny(root: &Path) -> Result<(), String> {
    for manifest in ["Cargo.toml"].into_iter().chain(OTHERS) {
        let graph = ["deny", "--workspace", "--manifest-path", manifest, "--config", "deny.toml"];
        let checks = ["check", "--hide-inclusion-graph", "licenses", "bans", "sources"];
        cargo(root, graph.into_iter().chain(checks)).done()?;
    }
    Ok(())
}

/// Runs the steps chosen and prints what each took.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let Some(chosen) = choose(args)? else {
        STEPS.iter().for_each(|step| println!("{:<10} {}", step.name, step.hint));
        return Ok(());
    };
    let mut done: Vec<(&str, Duration)> = Vec::new();
    for step in chosen {
        println!("\n==> {}", step.name);
        let start = Instant::now();
        let result = (step.run)(root);
        done.push((step.name, start.elapsed()));
        if let Err(e) = result {
            table(&done);
            return Err(format!(
                "{} failed\n{e}\n\nwhat to do: {}\nthen: cargo xtask ci --from {}",
                step.name, step.hint, step.name
            ));
        }
        println!("<== {} in {:.1} s", step.name, start.elapsed().as_secs_f64());
    }
    table(&done);
    println!("everything holds");
    Ok(())
}

/// The steps that the arguments ask for; `None` for `--list`.
fn choose(args: &[String]) -> Result<Option<Vec<&'static Step>>, String> {
    let known = |name: &str| {
        STEPS
            .iter()
            .position(|s| s.name == name)
            .ok_or_else(|| format!("no step {name}: see cargo xtask ci --list"))
    };
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(Some(STEPS.iter().collect())),
        ["--list"] => Ok(None),
        ["--from", name] => Ok(Some(STEPS[known(name)?..].iter().collect())),
        ["--only", names] => {
            names.split(',').map(|n| Ok(&STEPS[known(n)?])).collect::<Result<_, _>>().map(Some)
        }
        _ => Err(format!("ci takes --list, --from STEP or --only STEP,STEP; got {args:?}")),
    }
}

fn table(done: &[(&str, Duration)]) {
    println!();
    for (name, took) in done {
        println!("{name:<10} {:>7.1} s", took.as_secs_f64());
    }
    let total: Duration = done.iter().map(|(_, took)| *took).sum();
    println!("{:<10} {:>7.1} s", "total", total.as_secs_f64());
}
