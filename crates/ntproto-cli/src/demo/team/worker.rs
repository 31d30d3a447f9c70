//! A process of many devices: `ntp demo-team`. It takes orders, a line each, and ends with its standard input.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_core::time::UnixMillis;
use ntproto_sdk::{ConnectString, EnrolCode, Profile};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::device::{Answer, Counters, Job, Live, Names, Ordered, Part};
use super::plan::Plan;
use super::state::{Device, Line, Order};
use crate::demo::worker::PROFILE;
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::{self, LinkArgs, ProfileArgs, Session};

/// How often the parent hears of progress.
const TICK: Duration = Duration::from_millis(100);
/// How long a device may take to get in.
const ENROL: Duration = Duration::from_secs(60);
/// Users that get in at once.
const AT_ONCE: usize = 4;
/// How long a code for a further device is good for, in milliseconds.
const LINK_MS: u64 = 600_000;
/// Orders that may wait: the parent gives one at a time.
const MAX_ORDERS: usize = 4;

/// Some of the devices of `ntp demo --scenario team`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the profiles are.
    #[arg(long)]
    dir: PathBuf,
    /// The server's connect string.
    #[arg(long)]
    connect: String,
    /// Users.
    #[arg(long)]
    users: usize,
    /// Devices in all.
    #[arg(long)]
    devices: usize,
    /// Entries in all.
    #[arg(long)]
    entries: u64,
    /// Which worker it is.
    #[arg(long)]
    worker: usize,
    /// Of how many: every user belongs to one.
    #[arg(long)]
    workers: usize,
    #[command(flatten)]
    link: LinkArgs,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Outcome {
    session::block_on(async {
        let plan = Plan { users: args.users, devices: args.devices, entries: args.entries };
        let connect: ConnectString = args.connect.parse().map_err(|e| Failure::usage(format!("{e}")))?;
        let mut worker = Worker {
            args,
            plan,
            connect,
            counters: Arc::default(),
            names: Names::default(),
            orders: BTreeMap::new(),
            running: JoinSet::new(),
        };
        worker.serve().await?;
        Ok(Code::Ok)
    })
}

/// A user's first device is where it is found; `ntp admin` uses it.
pub(crate) fn home(dir: &Path, user: usize, device: usize) -> PathBuf {
    dir.join(format!("user-{user}-{device}"))
}

struct Worker<'a> {
    args: &'a Args,
    plan: Plan,
    connect: ConnectString,
    counters: Arc<Counters>,
    names: Names,
    /// By user and device.
    orders: BTreeMap<(usize, usize), mpsc::Sender<Ordered>>,
    running: JoinSet<Result<(), Failure>>,
}

impl Worker<'_> {
    async fn serve(&mut self) -> Result<(), Failure> {
        let mut lines = lines_of_stdin()?;
        let mut tick = tokio::time::interval(TICK);
        let mut told = None;
        // What an order comes to, while progress is told and devices are looked after.
        let (done, mut results) = mpsc::channel::<Result<Vec<Line>, Failure>>(1);
        loop {
            tokio::select! {
                line = lines.recv() => {
                    let Some(line) = line else { break };
                    let order: Order = serde_json::from_str(&line)
                        .map_err(|e| Failure::failed(format!("an order makes no sense: {e}")))?;
                    if let Order::Enrol { invitation } = &order {
                        let users = self.enrol(invitation).await?;
                        say(&Line::Users(users))?;
                        say(&Line::Done)?;
                        continue;
                    }
                    self.order(order, done.clone());
                }
                Some(result) = results.recv() => {
                    for line in result? {
                        say(&line)?;
                    }
                    say(&Line::Done)?;
                }
                Some(ended) = self.running.join_next(), if !self.running.is_empty() => {
                    ended.map_err(|e| Failure::failed(format!("a device: {e}")))??;
                }
                _ = tick.tick() => {
                    let counts = [&self.counters.acked, &self.counters.told];
                    let now = counts.map(|count| count.load(Ordering::Relaxed));
                    if told != Some(now) {
                        told = Some(now);
                        say(&Line::Progress { acked: now[0], told: now[1] })?;
                    }
                }
            }
        }
        self.orders.clear();
        while let Some(ended) = self.running.join_next().await {
            ended.map_err(|e| Failure::failed(format!("a device: {e}")))??;
        }
        Ok(())
    }

    /// Hands an order to all devices.
    fn order(&mut self, order: Order, done: mpsc::Sender<Result<Vec<Line>, Failure>>) {
        let job = match order {
            Order::Enrol { .. } => return,
            Order::Meet { uins } => {
                self.names.uins = uins.into();
                Job::Meet
            }
            Order::Settle { groups } => {
                self.names.groups = groups.into();
                Job::Settle
            }
            Order::Talk => Job::Talk,
            Order::End => Job::End,
            Order::Intrude => Job::Intrude,
            Order::Show => Job::Show,
        };
        let mut answers = Vec::new();
        for orders in self.orders.values() {
            let (answer, answered) = oneshot::channel();
            // A device that is gone answers nothing.
            let _ = orders.try_send((job.clone(), self.names.clone(), answer));
            answers.push(answered);
        }
        let file = self.args.dir.join(format!("shown-{}.json", self.args.worker));
        tokio::spawn(async move {
            let _ = done.send(gather(answers, &file).await).await;
        });
    }

    /// Makes the accounts of this worker's users, and their devices.
    async fn enrol(&mut self, invitation: &str) -> Result<Vec<(usize, u64)>, Failure> {
        let code: EnrolCode =
            invitation.parse().map_err(|e| Failure::failed(format!("the invitation: {e}")))?;
        let mine: Vec<usize> =
            (0..self.plan.users).filter(|user| user % self.args.workers == self.args.worker).collect();
        let mut users = Vec::new();
        for some in mine.chunks(AT_ONCE) {
            let mut entering = JoinSet::new();
            for user in some.iter().copied() {
                let (plan, dir, link) = (self.plan, self.args.dir.clone(), self.args.link);
                let (connect, code) = (self.connect.clone(), code.clone());
                entering.spawn(async move {
                    let mut sessions: Vec<(Part, Session)> = Vec::new();
                    for index in 0..plan.devices_of(user) {
                        let part = Part { plan, user, index, home: home(&dir, user, index), link };
                        let code = match sessions.first() {
                            Some((_, first)) => {
                                let expires = UnixMillis(session::now().0 + LINK_MS);
                                first.client.link_device(expires, session::entropy()?)?
                            }
                            None => code.clone(),
                        };
                        let session = enter(&part, &connect, code).await?;
                        sessions.push((part, session));
                    }
                    Ok::<_, Failure>((user, sessions))
                });
            }
            while let Some(entered) = entering.join_next().await {
                let (user, sessions) = entered.map_err(|e| Failure::failed(format!("enrolling: {e}")))??;
                let uin = sessions.first().and_then(|(_, first)| first.client.identity()).map(|me| me.uin.0);
                users.push((user, uin.ok_or_else(|| Failure::failed("a user has no account"))?));
                for (part, session) in sessions {
                    let (orders, taken) = mpsc::channel(MAX_ORDERS);
                    self.orders.insert((user, part.index), orders);
                    self.running.spawn(Live::new(part, session, Arc::clone(&self.counters))?.run(taken));
                }
            }
        }
        Ok(users)
    }
}

/// A new device with a profile of its own.
async fn enter(part: &Part, connect: &ConnectString, code: EnrolCode) -> Result<Session, Failure> {
    let mut rng = Rng::new(session::entropy()?);
    let keys = DeviceKeys::generate(&mut rng, &RUSTCRYPTO);
    let dir = ProfileArgs::new(PROFILE, part.home.clone(), part.link).dir()?;
    let profile = Profile::create(&dir, connect.clone(), keys, Some(code))?;
    let options = profile.options(session::now())?;
    let mut session = Session::start(profile, options, part.link).await?;
    session.online(ENROL).await?;
    session.profile.forget_enrol()?;
    Ok(session)
}

/// What all devices answer, as lines for the parent.
async fn gather(
    answers: Vec<oneshot::Receiver<Result<Answer, Failure>>>,
    file: &Path,
) -> Result<Vec<Line>, Failure> {
    let (mut groups, mut tried, mut shown) = (Vec::new(), (0, 0), Vec::<Device>::new());
    for answer in answers {
        let answer = answer.await.map_err(|_| Failure::failed("a device is gone"))??;
        groups.extend(answer.groups);
        tried = (tried.0 + answer.tried.0, tried.1 + answer.tried.1);
        shown.extend(answer.shown.map(|device| *device));
    }
    let mut lines = Vec::new();
    if !groups.is_empty() {
        lines.push(Line::Groups(groups));
    }
    if tried.0 > 0 {
        lines.push(Line::Tried { tried: tried.0, refused: tried.1 });
    }
    if !shown.is_empty() {
        let text = serde_json::to_vec(&shown).map_err(|e| Failure::failed(format!("a state: {e}")))?;
        std::fs::write(file, text).map_err(|e| Failure::failed(format!("{}: {e}", file.display())))?;
        lines.push(Line::Shown(file.display().to_string()));
    }
    Ok(lines)
}

fn say(line: &Line) -> Result<(), Failure> {
    Ok(output::json_line(line)?)
}

/// The lines of standard input, until the parent closes it or is gone.
fn lines_of_stdin() -> Result<mpsc::Receiver<String>, Failure> {
    let (tell, told) = mpsc::channel(MAX_ORDERS);
    let watch = move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if tell.blocking_send(line).is_err() {
                break;
            }
        }
    };
    let thread = std::thread::Builder::new().name("ntp-stdin".into()).spawn(watch);
    thread.map(|_| told).map_err(|e| Failure::failed(format!("the system gives no thread: {e}")))
}
