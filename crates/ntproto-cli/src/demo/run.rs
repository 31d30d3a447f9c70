//! The parent: starts the processes, kills them, waits for the end, compares.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use super::back::Back;
use super::ledger;
use super::plan::Plan;
use super::process::{OwnServer, Process, ask};
use super::proxy::Proxy;
use super::report::{Kill, Ledgers, Report};
use super::worker::PROFILE;
use crate::exit::Failure;
use crate::session::{self, LinkArgs, Transport};

/// How long a killed process stays away, so that the others notice.
pub(super) const AWAY: Duration = Duration::from_millis(250);
/// How long duplicates may still come when all is delivered.
const SETTLE: Duration = Duration::from_millis(500);
/// How long a worker may take to say goodbye.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);
/// How long UDP is cut: QUIC notices, and the clients change over.
const CUT: Duration = Duration::from_secs(8);
/// How often the children are looked at.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// Progress lines that may wait; a worker that finds it full waits.
const MAX_LINES: usize = 256;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Who sends what to whom.
    pub(crate) plan: Plan,
    /// Messages of a client on their way at once.
    pub(crate) window: usize,
    /// How often the server is killed.
    pub(crate) server_kills: usize,
    /// How often a client is killed.
    pub(crate) client_kills: usize,
    /// How often UDP is cut.
    pub(crate) udp_cuts: usize,
    /// How clients reach the server, and what drives them and it.
    pub(crate) link: LinkArgs,
    /// All must be done in this time.
    pub(crate) timeout: Duration,
}

/// Whom to kill, once so many messages are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Server,
    Client(usize),
    Udp,
}

/// The kills, evenly spread over the messages: first, and clients between the server's.
fn schedule(setup: &Setup) -> VecDeque<(u64, Target)> {
    let total = setup.plan.total();
    let at = |numerator: usize, denominator: usize| total * numerator as u64 / denominator as u64;
    let server = (0..setup.server_kills).map(|k| (at(k + 1, setup.server_kills + 1), Target::Server));
    let client = (0..setup.client_kills)
        .map(|k| (at(2 * k + 1, 2 * setup.client_kills + 1), Target::Client(k % setup.plan.clients)));
    let udp = (0..setup.udp_cuts).map(|k| (at(2 * k + 1, 2 * setup.udp_cuts + 1), Target::Udp));
    let mut all: Vec<_> = server.chain(client).chain(udp).collect();
    all.sort_unstable();
    all.into()
}

/// A client process.
struct Client {
    home: PathBuf,
    process: Option<Process>,
    /// Rises with every start: lines of a former life are told apart.
    life: u32,
    acked: u64,
    received: u64,
}

/// A worker's line.
enum Line {
    Progress { client: usize, life: u32, acked: u64, received: u64 },
    Online(String),
}

impl Line {
    fn parse(text: &str, client: usize, life: u32) -> Option<Self> {
        let (first, second) = text.split_once(' ')?;
        if first == "online" {
            return Some(Self::Online(second.to_owned()));
        }
        Some(Self::Progress { client, life, acked: first.parse().ok()?, received: second.parse().ok()? })
    }
}

/// The run.
pub(crate) struct Demo {
    setup: Setup,
    server: OwnServer,
    clients: Vec<Client>,
    uins: String,
    lines: (mpsc::Sender<Line>, mpsc::Receiver<Line>),
    kills: Vec<Kill>,
    proxy: Option<Proxy>,
    /// Until when UDP is cut.
    cut_until: Option<Instant>,
    /// Sessions by transport.
    sessions: BTreeMap<String, u64>,
    bar: ProgressBar,
}

impl Demo {
    /// Runs it all in `dir`. On `Err` the children are gone, too.
    pub(crate) async fn run(setup: Setup, dir: &Path, bar: ProgressBar) -> Result<Report, Failure> {
        let server = OwnServer::start(dir, setup.link.runtime).await?;
        let proxy = if setup.udp_cuts > 0 { Some(Proxy::start(server.address())?) } else { None };
        tell(&bar, &format!("server on {} (process {})", server.address(), server.id()));
        let homes: Vec<PathBuf> = (0..setup.plan.clients).map(|i| dir.join(format!("client-{i}"))).collect();
        let connect = server.connect_through(proxy.as_ref().map(Proxy::address))?;
        let uins = register(&server, connect, &homes, setup.link).await?;
        tell(&bar, &format!("{} accounts registered: {uins}", homes.len()));
        let client = |home| Client { home, process: None, life: 0, acked: 0, received: 0 };
        let mut demo = Self {
            setup,
            server,
            clients: homes.into_iter().map(client).collect(),
            uins,
            lines: mpsc::channel(MAX_LINES),
            kills: Vec::new(),
            proxy,
            cut_until: None,
            sessions: BTreeMap::new(),
            bar,
        };
        demo.bar.set_length(setup.plan.total());
        demo.bar.set_style(style());
        for client in 0..demo.clients.len() {
            demo.start_client(client)?;
        }
        let done = tokio::time::timeout(setup.timeout, demo.play()).await;
        let done = done.unwrap_or_else(|_| {
            tell(&demo.bar, "the time is over");
            Ok(())
        });
        if done.is_ok() {
            tokio::time::sleep(SETTLE).await;
        }
        for client in &mut demo.clients {
            if let Some(process) = &mut client.process {
                process.finish(GOODBYE).await;
            }
        }
        let back = match &done {
            // Round trips are QUIC's to save.
            Ok(()) if demo.setup.link.transport != Transport::Tcp => Some(demo.come_back().await),
            Ok(()) | Err(_) => None,
        };
        demo.server.kill().await;
        demo.bar.finish_and_clear();
        done?;
        Ok(Report { back: back.transpose()?, ..demo.compare()? })
    }

    /// The first client comes back to messages of the second one.
    async fn come_back(&self) -> Result<Back, Failure> {
        if let Some(proxy) = &self.proxy {
            proxy.cut_udp(false);
        }
        let [sleeper, sender] = [0, 1].map(|index| &self.clients[index].home);
        Back::measure(self.server.address(), sleeper, sender, self.setup.link.runtime).await
    }

    fn start_client(&mut self, index: usize) -> Result<(), Failure> {
        let Setup { plan, window, link, .. } = self.setup;
        let client = &mut self.clients[index];
        client.life += 1;
        let (home, log) = (client.home.display().to_string(), client.home.join("worker.log"));
        let numbers = [index.to_string(), plan.each.to_string(), plan.size.to_string(), window.to_string()];
        let [index_text, each, size, window] = numbers.each_ref().map(String::as_str);
        let args = [
            "demo-worker",
            "--home",
            &home,
            "--index",
            index_text,
            "--uins",
            &self.uins,
            "--each",
            each,
            "--size",
            size,
            "--window",
            window,
            "--transport",
            link.transport.name(),
            "--runtime",
            link.runtime.name(),
        ];
        let (process, mut lines) = Process::start(&args, &log)?;
        client.process = Some(process);
        let (life, sender) = (client.life, self.lines.0.clone());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let Some(line) = Line::parse(&line, index, life) else { continue };
                if sender.send(line).await.is_err() {
                    break;
                }
            }
        });
        Ok(())
    }

    /// Lets the clients send, and kills, until all is delivered.
    async fn play(&mut self) -> Result<(), Failure> {
        let mut schedule = schedule(&self.setup);
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                Some(line) = self.lines.1.recv() => self.heard(line),
                _ = look.tick() => self.look()?,
            }
            let acked: u64 = self.clients.iter().map(|c| c.acked).sum();
            let received: u64 = self.clients.iter().map(|c| c.received).sum();
            self.bar.set_position(acked);
            if acked >= self.setup.plan.total() && received >= self.setup.plan.total() {
                return Ok(());
            }
            if let Some((_, target)) = schedule.pop_front_if(|(at, _)| *at <= acked) {
                self.kill(target).await?;
            }
        }
    }

    fn heard(&mut self, line: Line) {
        match line {
            Line::Progress { client, life, acked, received } => {
                let client = &mut self.clients[client];
                if client.life == life {
                    (client.acked, client.received) = (acked, received);
                }
            }
            Line::Online(transport) => *self.sessions.entry(transport).or_default() += 1,
        }
    }

    /// A child that ended by itself ends the demo. UDP comes back when its time is over.
    fn look(&mut self) -> Result<(), Failure> {
        if self.cut_until.is_some_and(|until| until <= Instant::now())
            && let Some(proxy) = &self.proxy
        {
            self.cut_until = None;
            proxy.cut_udp(false);
            tell(&self.bar, "UDP is back");
        }
        if let Some(failure) = self.server.failure() {
            return Err(failure);
        }
        for (index, client) in self.clients.iter_mut().enumerate() {
            let Some(process) = &mut client.process else { continue };
            if let Some(status) = process.ended() {
                let words = process.last_words();
                return Err(Failure::failed(format!("client {index} ended ({status}): {words}")));
            }
        }
        Ok(())
    }

    async fn kill(&mut self, target: Target) -> Result<(), Failure> {
        match target {
            Target::Server => {
                self.kills.push(Kill::Server(session::now_us()));
                let id = self.server.id();
                self.server.kill().await;
                self.bar.set_message("server killed");
                tell(&self.bar, &format!("SIGKILL to the server ({id})"));
                tokio::time::sleep(AWAY).await;
                self.server.restart().await?;
                tell(&self.bar, &format!("server is back (process {})", self.server.id()));
            }
            Target::Client(index) => {
                self.kills.push(Kill::Client(index, session::now_us()));
                if let Some(mut process) = self.clients[index].process.take() {
                    tell(&self.bar, &format!("SIGKILL to client {index} ({})", process.id()));
                    process.kill().await;
                }
                tokio::time::sleep(AWAY).await;
                self.start_client(index)?;
            }
            Target::Udp => {
                self.kills.push(Kill::Udp(session::now_us()));
                if let Some(proxy) = &self.proxy {
                    proxy.cut_udp(true);
                    self.cut_until = Some(Instant::now() + CUT);
                    tell(&self.bar, "UDP is cut");
                }
            }
        }
        self.bar.set_message("");
        Ok(())
    }

    fn compare(&self) -> Result<Report, Failure> {
        let read = |client: &Client| -> std::io::Result<Ledgers> {
            Ok(Ledgers {
                sent: ledger::read(&client.home.join("sent.log"))?,
                received: ledger::read(&client.home.join("inbox.log"))?,
            })
        };
        let ledgers: Result<Vec<_>, _> = self.clients.iter().map(read).collect();
        let ledgers = ledgers.map_err(|e| Failure::failed(format!("a ledger can't be read: {e}")))?;
        let mut report = Report::compare(&self.setup.plan, &ledgers, &self.kills);
        report.link(self.setup.link, &self.sessions);
        Ok(report)
    }
}

/// Registers all clients, as people would: the first with the server's invitation, the others with one of the
/// first's. Returns their accounts.
async fn register(
    server: &OwnServer,
    connect: String,
    homes: &[PathBuf],
    link: LinkArgs,
) -> Result<String, Failure> {
    let invitation = server.invitation.clone();
    let invitation = invitation.ok_or_else(|| Failure::failed("the new server printed no invitation"))?;
    let mut uins = vec![enrol(connect.clone(), homes[0].clone(), invitation, link).await?];
    let (home, uses) = (homes[0].display().to_string(), (homes.len() - 1).to_string());
    let mut args = vec!["invite", "--uses", &uses, "--home", &home, "--profile", PROFILE, "--json"];
    args.extend(["--transport", link.transport.name(), "--runtime", link.runtime.name()]);
    let answer = ask(&args).await?;
    let code = answer["invitation"].as_str().unwrap_or_default();
    let others: Vec<_> = homes[1..]
        .iter()
        .map(|home| tokio::spawn(enrol(connect.clone(), home.clone(), code.to_owned(), link)))
        .collect();
    for other in others {
        uins.push(other.await.map_err(|e| Failure::failed(format!("registering: {e}")))??);
    }
    let uins: Vec<String> = uins.iter().map(u64::to_string).collect();
    Ok(uins.join(","))
}

async fn enrol(connect: String, home: PathBuf, invitation: String, link: LinkArgs) -> Result<u64, Failure> {
    let home = home.display().to_string();
    let args = [
        "register",
        "--connect",
        &connect,
        "--invitation",
        &invitation,
        "--home",
        &home,
        "--profile",
        PROFILE,
        "--timeout",
        "30",
        "--json",
        "--transport",
        link.transport.name(),
        "--runtime",
        link.runtime.name(),
    ];
    let answer = ask(&args).await?;
    answer["uin"].as_u64().ok_or_else(|| Failure::failed("`ntp register` printed no account"))
}

pub(super) fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_bar} {human_pos}/{human_len} acknowledged {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Says something above the bar; nothing where there is no terminal.
pub(super) fn tell(bar: &ProgressBar, text: &str) {
    bar.println(format!("  {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_spread_and_never_after_the_last_message() {
        let plan = Plan { clients: 3, each: 100, size: 10 };
        let timeout = Duration::from_secs(1);
        let setup = Setup {
            plan,
            window: 1,
            server_kills: 2,
            client_kills: 4,
            udp_cuts: 0,
            link: LinkArgs::default(),
            timeout,
        };
        let schedule = schedule(&setup);
        let want = [
            (33, Target::Client(0)),
            (100, Target::Server),
            (100, Target::Client(1)),
            (166, Target::Client(2)),
            (200, Target::Server),
            (233, Target::Client(0)),
        ];
        assert_eq!(schedule, want);
    }
}
