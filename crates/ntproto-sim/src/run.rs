//! One run from one seed.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::crypto::Watch;
use crate::draw::rng;
use crate::fault::{FaultSet, Plan};
use crate::files;
use crate::ledger::Check;
use crate::quic::{Link, Sessions, Tls};
use crate::scenario::Scenario;
use crate::stats::Stats;
use crate::trace::Trace;
use crate::world::World;

/// How to run seeds.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which machines.
    pub plan: Plan,
    /// Classes that are left out.
    pub without: FaultSet,
    /// Print what happens.
    pub trace: bool,
    /// A bug to find.
    #[cfg(feature = "planted")]
    pub plant: Option<crate::plant::Plant>,
}

impl Options {
    /// Everything on.
    #[must_use]
    pub const fn new(plan: Plan) -> Self {
        Self {
            plan,
            without: FaultSet::NONE,
            trace: false,
            #[cfg(feature = "planted")]
            plant: None,
        }
    }
}

/// Something that must hold did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, by the virtual clock, in microseconds.
    pub at: u64,
    /// What.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}.{:06} s: {}", self.at / 1_000_000, self.at % 1_000_000, self.what)
    }
}

impl std::error::Error for Violation {}

/// Failed debug assertions of others that are known: what they say, and where it is told. They are on here;
/// release builds go on without a word.
const KNOWN: [(&str, &str); 1] = [("peer_completed_address_validation", "quinn issue 2658")];

/// What a run amounted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// Classes that were on.
    pub faults: FaultSet,
    /// Equal for equal runs.
    pub hash: u64,
    /// Numbers.
    pub stats: Stats,
    /// What went wrong, if anything did.
    pub violation: Option<Violation>,
    /// A fault of others that is known ended it early, and where to read of it.
    pub known: Option<&'static str>,
}

impl Run {
    /// Nothing could be run.
    fn broken(seed: u64, faults: FaultSet, what: String) -> Self {
        let violation = Some(Violation { at: 0, what });
        Self { seed, faults, hash: 0, stats: Stats::default(), violation, known: None }
    }
}

/// Runs seeds, one after the other.
///
/// Checked in every run: what is acknowledged is durable, and is delivered to every device of both
/// members, once for each device and idempotency key, in the order of the conversation, whose
/// numbers have no gap; what is called failed is stored nowhere; what is opened is what was sealed,
/// and no key sees a nonce twice; nobody comes in with a ticket that is expired, revoked or another
/// device's; an altered frame ends its connection; each connection ends once, each client stops once;
/// no machine writes where it must not, waits for the past or never waits; nothing panics.
///
/// ```
/// use ntproto_sim::{Options, Plan, Simulator};
/// let run = Simulator::new().run(1, &Options::new(Plan::Streams));
/// assert_eq!(run.violation, None);
/// assert!(run.stats.messages >= 100);
/// ```
pub struct Simulator {
    provider: &'static Watch,
    tls: Option<Tls>,
    base: Instant,
}

impl Default for Simulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Simulator {
    /// A simulator. It keeps a few hundred bytes for as long as the program runs: make one a thread.
    #[must_use]
    pub fn new() -> Self {
        Self { provider: Watch::leak(), tls: None, base: Instant::now() }
    }

    /// The network that a plan needs beside byte streams.
    fn link(&mut self, seed: u64, plan: Plan) -> Check<Option<Link>> {
        if plan == Plan::Streams {
            return Ok(None);
        }
        let tls = match &self.tls {
            Some(tls) => tls.clone(),
            None => self.tls.insert(Tls::leak()?).clone(),
        };
        tls.reset(rng(seed, "tls"));
        Ok(Some(Link::new(tls, Sessions::draw(&mut rng(seed, "sessions")), self.base)))
    }

    /// Runs a seed. The same seed and options give the same run, byte for byte.
    pub fn run(&mut self, seed: u64, options: &Options) -> Run {
        if options.plan == Plan::Files {
            return files(seed, options);
        }
        let scenario = Scenario::draw(seed, options.plan, options.without);
        let faults = scenario.faults;
        let link = match self.link(seed, options.plan) {
            Ok(link) => link,
            Err(what) => return Run::broken(seed, faults, what),
        };
        let mut world = World::new(seed, scenario, self.provider, Trace::new(options.trace), link);
        #[cfg(feature = "planted")]
        world.set_plant(options.plant);
        let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
        let at = world.now().0;
        let (what, known) = verdict(ended);
        Run {
            seed,
            faults,
            stats: world.stats,
            hash: world.trace.finish(),
            violation: what.map(|what| Violation { at, what }),
            known,
        }
    }
}

/// A run of the plan `files`.
fn files(seed: u64, options: &Options) -> Run {
    let mut world = match files::World::new(seed, options.without, Trace::new(options.trace)) {
        Ok(world) => world,
        Err(what) => return Run::broken(seed, FaultSet::NONE, what),
    };
    #[cfg(feature = "planted")]
    world.set_plant(options.plant);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let (at, faults, stats) = (world.now().0, world.faults(), world.stats);
    let (what, known) = verdict(ended);
    let violation = what.map(|what| Violation { at, what });
    Run { seed, faults, stats, hash: world.finish(), violation, known }
}

/// What went wrong, and whether it is known of others.
fn verdict(ended: std::thread::Result<Check>) -> (Option<String>, Option<&'static str>) {
    match ended {
        Ok(Ok(())) => (None, None),
        Ok(Err(what)) => (Some(what), None),
        Err(panic) => {
            let text = panic_text(&*panic);
            match KNOWN.iter().find(|(known, _)| text.contains(known)) {
                Some((_, told)) => (None, Some(*told)),
                None => (Some(format!("panic: {text}")), None),
            }
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "without words",
    }
}
