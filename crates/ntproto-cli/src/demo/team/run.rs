//! The parent: the server, the workers, the orders, the kills, the comparison.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::check::World;
use super::plan::Plan;
use super::report::Report;
use super::state::{Device, Line, Order};
use crate::demo::process::{OwnServer, Process, ask};
use crate::demo::run::{AWAY, GOODBYE, LOOK, style, tell};
use crate::demo::worker::PROFILE;
use crate::exit::Failure;
use crate::session::LinkArgs;

/// How long what is on its way may take to be the same everywhere, once nobody says anything any more.
const CONVERGE: Duration = Duration::from_secs(60);
/// How long between two looks at it.
const AGAIN: Duration = Duration::from_secs(2);
/// Lines of workers that may wait.
const MAX_LINES: usize = 256;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Who does what.
    pub(crate) plan: Plan,
    /// Processes the devices live in.
    pub(crate) workers: usize,
    /// How often the server is killed.
    pub(crate) server_kills: usize,
    /// How clients reach the server, and what drives them and it.
    pub(crate) link: LinkArgs,
    /// All must be done in this time.
    pub(crate) timeout: Duration,
}

/// A worker process.
struct Worker {
    process: Process,
    acked: u64,
    done: bool,
}

/// A line, and which worker's.
type Said = (usize, Line);

/// The run.
pub(crate) struct Team {
    setup: Setup,
    dir: PathBuf,
    server: OwnServer,
    workers: Vec<Worker>,
    /// Each with its worker.
    lines: (mpsc::Sender<Said>, mpsc::Receiver<Said>),
    bar: ProgressBar,
    kills: usize,
    uins: Vec<u64>,
    groups: Vec<u64>,
    tried: (u64, u64),
    shown: Vec<PathBuf>,
}

impl Team {
    /// Runs it all in `dir`. On `Err` the children are gone, too.
    pub(crate) async fn run(setup: Setup, dir: &Path, bar: ProgressBar) -> Result<Report, Failure> {
        let fanout = setup.plan.fanout().to_string();
        let data = dir.join("server").display().to_string();
        let invitation = ask(&["invite", "--admin", "--may-invite", "--data-dir", &data, "--json"]).await?;
        let invitation = invitation["invitation"].as_str().unwrap_or_default().to_owned();
        let server = OwnServer::start_with(dir, setup.link.runtime, &["--group-fanout", &fanout]).await?;
        tell(&bar, &format!("server on {} (process {})", server.address(), server.id()));
        let mut team = Self {
            setup,
            dir: dir.to_owned(),
            server,
            workers: Vec::new(),
            lines: mpsc::channel(MAX_LINES),
            bar,
            kills: 0,
            uins: vec![0; setup.plan.users],
            groups: vec![0; setup.plan.groups().len()],
            tried: (0, 0),
            shown: Vec::new(),
        };
        for at in 0..setup.workers {
            team.start(at)?;
        }
        let played = tokio::time::timeout(setup.timeout, team.play(&invitation)).await;
        let played = played.unwrap_or_else(|_| Err(Failure::failed("the time is over; see --timeout")));
        for worker in &mut team.workers {
            worker.process.finish(GOODBYE).await;
        }
        let store = match &played {
            Ok(()) => team.verify().await,
            Err(_) => Err(String::new()),
        };
        team.server.kill().await;
        team.bar.finish_and_clear();
        played?;
        team.report(&store)
    }

    fn start(&mut self, at: usize) -> Result<(), Failure> {
        let Setup { plan, workers, link, .. } = self.setup;
        let numbers = [plan.users as u64, plan.devices as u64, plan.entries, at as u64, workers as u64];
        let numbers = numbers.map(|n| n.to_string());
        let (dir, connect) = (self.dir.display().to_string(), self.server.connect.clone());
        let mut args = vec!["demo-team", "--dir", &dir, "--connect", &connect];
        let names = ["--users", "--devices", "--entries", "--worker", "--workers"];
        args.extend(names.iter().zip(&numbers).flat_map(|(name, number)| [*name, number]));
        args.extend(["--transport", link.transport.name(), "--runtime", link.runtime.name()]);
        let (process, mut lines) = Process::start(&args, &self.dir.join(format!("worker-{at}.log")))?;
        let sender = self.lines.0.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(line) = serde_json::from_str(&line) else { continue };
                if sender.send((at, line)).await.is_err() {
                    break;
                }
            }
        });
        self.workers.push(Worker { process, acked: 0, done: false });
        Ok(())
    }

    /// Gives an order to all workers and waits until all have done it; kills the server meanwhile, when it is time.
    async fn order(&mut self, order: &Order, name: &str, kills: usize) -> Result<(), Failure> {
        tell(&self.bar, name);
        let line = serde_json::to_string(order).map_err(|e| Failure::failed(format!("an order: {e}")))?;
        for worker in &mut self.workers {
            worker.done = false;
            worker.process.say(&line).await?;
        }
        let total = self.setup.plan.steps() * self.setup.plan.devices as u64;
        let mut killed = 0;
        let mut look = tokio::time::interval(LOOK);
        while self.workers.iter().any(|worker| !worker.done) {
            tokio::select! {
                Some((at, line)) = self.lines.1.recv() => self.hear(at, line),
                _ = look.tick() => self.look()?,
            }
            let acked: u64 = self.workers.iter().map(|worker| worker.acked).sum();
            self.bar.set_position(acked);
            if killed < kills && acked >= total * (killed as u64 + 1) / (kills as u64 + 1) {
                killed += 1;
                self.kill().await?;
            }
        }
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), Failure> {
        let id = self.server.id();
        self.server.kill().await;
        self.kills += 1;
        tell(&self.bar, &format!("SIGKILL to the server ({id})"));
        tokio::time::sleep(AWAY).await;
        self.server.restart().await?;
        tell(&self.bar, &format!("server is back (process {})", self.server.id()));
        Ok(())
    }

    fn hear(&mut self, at: usize, line: Line) {
        match line {
            Line::Done => self.workers[at].done = true,
            Line::Progress { acked, .. } => self.workers[at].acked = acked,
            Line::Users(users) => users.into_iter().for_each(|(user, uin)| self.uins[user] = uin),
            Line::Groups(groups) => groups.into_iter().for_each(|(n, id)| self.groups[n] = id),
            Line::Tried { tried, refused } => {
                self.tried = (self.tried.0 + tried, self.tried.1 + refused);
            }
            Line::Shown(file) => self.shown.push(file.into()),
        }
    }

    /// A child that ended by itself ends the demo.
    fn look(&mut self) -> Result<(), Failure> {
        if let Some(failure) = self.server.failure() {
            return Err(failure);
        }
        for (at, worker) in self.workers.iter_mut().enumerate() {
            if let Some(status) = worker.process.ended() {
                let words = worker.process.last_words();
                return Err(Failure::failed(format!("worker {at} ended ({status}): {words}")));
            }
        }
        Ok(())
    }

    async fn play(&mut self, invitation: &str) -> Result<(), Failure> {
        self.bar.set_length(self.setup.plan.steps() * self.setup.plan.devices as u64);
        self.bar.set_style(style());
        let invitation = self.enrol(invitation).await?;
        let Setup { plan, .. } = self.setup;
        let name = format!("{} users get in on {} devices", plan.users, plan.devices);
        self.order(&Order::Enrol { invitation }, &name, 0).await?;
        let uins = self.uins.clone();
        self.order(&Order::Meet { uins }, "they ask to be friends, and make groups", 0).await?;
        let groups = self.groups.clone();
        self.order(&Order::Settle { groups }, "they accept, and make admins", 0).await?;
        let kills = self.setup.server_kills;
        self.order(&Order::Talk, "they talk", kills).await?;
        self.order(&Order::End, "they read, and say whether they are there", 0).await?;
        self.order(&Order::Intrude, "some try what is not allowed", 0).await?;
        let until = Instant::now() + CONVERGE;
        loop {
            self.shown.clear();
            self.order(&Order::Show, "everybody says what they hold", 0).await?;
            // The store is verified afterwards; what is broken for good is not waited for.
            let settled = self.world(&Ok((0, 0)), |world| {
                world.check().iter().all(|promise| promise.broken == 0 || !promise.settles)
            })?;
            if settled || Instant::now() >= until {
                return Ok(());
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Team {
    /// The operator's own account, an administrator's and no part of the team: it lets the others in.
    async fn enrol(&self, invitation: &str) -> Result<String, Failure> {
        let home = self.operator().display().to_string();
        let link = self.setup.link;
        let link = ["--transport", link.transport.name(), "--runtime", link.runtime.name()];
        let at = ["--home", &home, "--profile", PROFILE, "--json", "--timeout", "30"];
        let how = ["register", "--connect", &self.server.connect, "--invitation", invitation];
        ask(&[&how[..], &at, &link].concat()).await?;
        let users = self.setup.plan.users.to_string();
        let answer = ask(&[&["invite", "--uses", &users][..], &at, &link].concat()).await?;
        let code = answer["invitation"].as_str().map(str::to_owned);
        code.ok_or_else(|| Failure::failed("`ntp invite` printed no invitation"))
    }

    fn operator(&self) -> PathBuf {
        self.dir.join("operator")
    }

    /// Records of the server's store that were read, and faults found; or why they were not read.
    async fn verify(&self) -> Result<(u64, u64), String> {
        tell(&self.bar, "the store is verified");
        let home = self.operator().display().to_string();
        let link = self.setup.link;
        let args = ["admin", "verify", "--home", &home, "--profile", PROFILE, "--json", "--timeout", "30"];
        let link = ["--transport", link.transport.name(), "--runtime", link.runtime.name()];
        let answer = ask(&[&args[..], &link].concat()).await.map_err(|e| e.to_string())?;
        let faults = answer["faults"].as_array().map_or(0, |faults| faults.len() as u64);
        let records = answer["records"].as_u64();
        records.map(|records| (records, faults)).ok_or_else(|| "`ntp admin verify` printed no records".into())
    }

    /// Looks at what all devices say.
    fn world<T>(
        &self,
        store: &Result<(u64, u64), String>,
        look: impl FnOnce(&World<'_>) -> T,
    ) -> Result<T, Failure> {
        let mut devices: Vec<Device> = Vec::new();
        for file in &self.shown {
            let failed = |e: &dyn std::fmt::Display| Failure::failed(format!("{}: {e}", file.display()));
            let text = std::fs::read(file).map_err(|e| failed(&e))?;
            devices.extend(serde_json::from_slice::<Vec<Device>>(&text).map_err(|e| failed(&e))?);
        }
        devices.sort_by_key(|device| (device.user, device.index));
        let (plan, uins, groups, tried) = (&self.setup.plan, &self.uins, &self.groups, self.tried);
        Ok(look(&World { plan, uins, groups, devices: &devices, tried, store }))
    }

    fn report(&self, store: &Result<(u64, u64), String>) -> Result<Report, Failure> {
        let report = self.world(store, |world| Report::of(world.devices, world.check()))?;
        let Setup { plan, workers, .. } = self.setup;
        Ok(Report {
            users: plan.users,
            processes: workers,
            groups: self.groups.len(),
            fanout: plan.fanout(),
            server_kills: self.kills,
            ..report
        })
    }
}
