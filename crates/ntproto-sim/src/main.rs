//! Runs seeds on every core and prints what they amounted to.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use ntproto_sim::{FaultSet, Options, Plan, Run, Simulator, Table};

/// Every so many seeds one is run a second time: both must be the same run.
const TWICE_EVERY: u64 = 16;
/// With fewer seeds than this, chance alone leaves a class under its fifth.
const ENOUGH_SEEDS: u64 = 300;

const HELP: &str = "\
Runs the system in a simulator, a whole run from each seed.

Usage: ntproto-sim [--seeds N] [--from S] [--plan streams|quic|files] [--threads N]
       ntproto-sim --seed S [--trace] [--plan streams|quic|files]

  --seeds N        run so many seeds (100)
  --from S         the first of them (1)
  --seed S         run this one, twice, and say what it did
  --trace          with --seed: print everything that happens
  --plan P         streams: clients and hub over byte streams; quic: over real QUIC and TLS;
  --without A,B    leave these classes of faults out
  --threads N      run on so many threads (all)
  --no-shrink      do not look for the fewest faults that make a seed fail
";

struct Arguments {
    seeds: u64,
    from: u64,
    one: Option<u64>,
    threads: usize,
    shrink: bool,
    options: Options,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut a = Arguments {
        seeds: 100,
        from: 1,
        one: None,
        threads,
        shrink: true,
        options: Options::new(Plan::Streams),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
        match word.as_str() {
            "--seeds" => a.seeds = number(value()?)?,
            "--from" => a.from = number(value()?)?,
            "--seed" => a.one = Some(number(value()?)?),
            "--threads" => a.threads = number(value()?)?.max(1) as usize,
            "--trace" => a.options.trace = true,
            "--no-shrink" => a.shrink = false,
            "--without" => a.options.without = FaultSet::parse(&value()?)?,
            "--plan" => {
                let name = value()?;
                a.options.plan = Plan::parse(&name).ok_or_else(|| format!("no plan is named {name:?}"))?;
            }
            "--help" | "-h" => return Ok(None),
            other => return Err(format!("what is {other:?}?")),
        }
    }
    Ok(Some(a))
}

fn main() -> ExitCode {
    let a = match parse(std::env::args().skip(1)) {
        Ok(Some(a)) => a,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("{e}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    // A panic is caught and told as what a seed found.
    std::panic::set_hook(Box::new(|_| {}));
    match a.one {
        Some(seed) => one(seed, &a),
        None => many(&a),
    }
}

/// One seed, twice.
fn one(seed: u64, a: &Arguments) -> ExitCode {
    let mut simulator = Simulator::new();
    let run = simulator.run(seed, &a.options);
    let again = simulator.run(seed, &Options { trace: false, ..a.options });
    println!("on: {}\nstruck: {}\n{:?}\nhash {:016x}", run.faults, run.stats.fired, run.stats, run.hash);
    if run != again {
        println!("the same seed gave another run: hash {:016x}", again.hash);
        return ExitCode::FAILURE;
    }
    if let Some(known) = run.known {
        println!("ended early: {known}");
    }
    match &run.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
    }
}

/// What a thread found.
struct Found {
    run: Run,
    /// The second run of the same seed was another one.
    differs: bool,
}

fn many(a: &Arguments) -> ExitCode {
    let began = Instant::now();
    let next = AtomicU64::new(a.from);
    let failed = AtomicBool::new(false);
    let (found, finds) = mpsc::channel::<Found>();
    let mut table = Table::default();
    let tables = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..a.threads)
            .map(|_| {
                let found = found.clone();
                let (next, failed) = (&next, &failed);
                scope.spawn(move || worker(a, next, failed, &found))
            })
            .collect();
        drop(found);
        workers.into_iter().map(|w| w.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    tables.iter().for_each(|t| table.merge(t));
    print!("plan {}\n{}", a.options.plan, table.show(a.options.plan, began.elapsed()));
    let mut wrong = false;
    for Found { run, differs } in finds.try_iter() {
        wrong = true;
        tell(a, &run, differs);
    }
    if a.seeds >= ENOUGH_SEEDS && !wrong {
        for fault in table.too_rare(a.options.plan, a.options.without) {
            println!("{fault} struck in fewer than a fifth of the seeds");
            wrong = true;
        }
        if a.options.plan != Plan::Files && table.fewest_messages() < 100 {
            println!("a seed stored only {} messages", table.fewest_messages());
            wrong = true;
        }
    }
    if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn worker(a: &Arguments, next: &AtomicU64, failed: &AtomicBool, found: &mpsc::Sender<Found>) -> Table {
    let mut simulator = Simulator::new();
    let mut table = Table::default();
    let mut failures = 0;
    while failures < 5 {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= a.from + a.seeds {
            break;
        }
        let run = simulator.run(seed, &a.options);
        match run.known {
            None => table.add(&run.stats),
            Some(_) => table.abandon(),
        }
        let differs = seed.is_multiple_of(TWICE_EVERY) && simulator.run(seed, &a.options) != run;
        if run.violation.is_some() || differs {
            failures += 1;
            failed.store(true, Ordering::Relaxed);
            let _ = found.send(Found { run, differs });
        }
    }
    table
}

/// Says what a seed found, and how to see it again.
fn tell(a: &Arguments, run: &Run, differs: bool) {
    let what = match (&run.violation, differs) {
        (Some(violation), _) => violation.to_string(),
        (None, _) => "run twice, it gave two runs".into(),
    };
    println!("\nseed {} FAILED {what}", run.seed);
    let without = if a.shrink && run.violation.is_some() { shrink(a, run) } else { a.options.without };
    let leave_out = if without == FaultSet::NONE { String::new() } else { format!(" --without {without}") };
    println!(
        "replay: cargo run --profile sim -p ntproto-sim -- --plan {} --seed {} --trace{leave_out}",
        a.options.plan, run.seed
    );
}

/// The largest set of classes, tried one by one, without which the seed still fails.
fn shrink(a: &Arguments, run: &Run) -> FaultSet {
    let mut simulator = Simulator::new();
    let mut without = a.options.without;
    for fault in run.faults.iter() {
        let options = Options { without: without.with(fault), ..a.options };
        if simulator.run(run.seed, &options).violation.is_some() {
            without = options.without;
        }
    }
    without
}
