//! What happens, in its order.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::{ConversationId, FileId, Uin, UploadId};
use ntproto_core::rng::Rng;
use ntproto_core::time::Instant;
use ntproto_core::transfer::{Answer, Ask, AskId, Event, Fault as Why, Input, Output, download, upload};
use ntproto_hub::store::verify::verify;
use ntproto_web::config::WINDOW;
use ntproto_web::{self as web, CarrierId, ExchangeId, WebConfig};

use super::client::{Client, Exchange, Job};
use super::dialect;
use super::server::{Done, Server};
use super::wire::{Conn, Down, Up, Way, piece};
use crate::draw::{Draw, rng};
use crate::fault::{Fault, FaultSet, Plan};
use crate::ledger::Check;
use crate::schedule::{Schedule, Time};
use crate::stats::Stats;
use crate::trace::Trace;

/// A run of more events than this hangs.
const MAX_EVENTS: u64 = 2_000_000;
/// Outputs of a machine without an input in between.
const MAX_OUTPUTS: usize = 10_000;
/// Within so long after the faults every transfer is over: backoffs of a minute, and what was wrong may be found one
/// after the other.
const REST: u64 = 600_000;
/// So long after that the server has looked for what is to be removed.
const SWEPT: u64 = 200_000;
/// What nobody goes on with is removed after so long: more than any pause of a client, less than [`SWEPT`].
const LIFETIME: Duration = Duration::from_secs(120);
/// Accounts: two who share files, and a stranger.
const ACCOUNTS: usize = 3;

/// Where everybody comes from.
const HOME: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// What happens at an instant.
#[derive(Debug)]
enum Ev {
    ServerStart,
    ServerTimer { boot: u32 },
    Disk { boot: u32 },
    Done { boot: u32, done: Done },
    FileOp { boot: u32, op: ntproto_hub::store::OpId, what: web::FileOp },
    Up { conn: usize, exchange: ExchangeId, what: Up },
    Down { conn: usize, exchange: ExchangeId, what: Down },
    Broken { conn: usize },
    ClientStart { c: usize },
    ClientTimer { c: usize, life: u32 },
    Token { c: usize, life: u32 },
    Answered { c: usize, life: u32, ask: AskId, answer: Answer },
    Strike(Fault),
    Heal,
    DiskHasRoom,
    Rested,
    Swept,
}

/// A run.
pub(crate) struct World {
    schedule: Schedule<Ev>,
    rng: Rng,
    faults: FaultSet,
    trace: Trace,
    pub(crate) stats: Stats,
    server: Server,
    config: WebConfig,
    uins: Vec<Uin>,
    conns: Vec<Conn>,
    clients: Vec<Client>,
    /// Whose exchange it is.
    exchanges: BTreeMap<ExchangeId, (usize, usize, AskId)>,
    next: u64,
    /// What the server said last of an upload.
    said: BTreeMap<FileId, u64>,
    sources: BTreeMap<FileId, Bytes>,
    slow: bool,
    healed: bool,
    rested: bool,
    done: bool,
}

impl World {
    pub(crate) fn new(seed: u64, without: FaultSet, trace: Trace) -> Check<Self> {
        let mut rng = rng(seed, "files");
        let known = Fault::ALL.iter().copied().filter(|fault| fault.in_plan(Plan::Files));
        let faults = known
            .filter(|_| rng.chance(60))
            .filter(|fault| !without.contains(*fault))
            .fold(FaultSet::NONE, FaultSet::with);
        // Nobody gives up what a copy of the device goes on with.
        let faults = match faults.contains(Fault::Quit) && rng.chance(80) {
            true => faults.without(Fault::Supersede),
            false => faults,
        };
        let (server, uins) = Server::new(&mut rng, ACCOUNTS)?;
        Ok(Self {
            schedule: Schedule::new(),
            faults,
            trace,
            stats: Stats::default(),
            server,
            config: WebConfig { upload_lifetime: LIFETIME, ..WebConfig::default() },
            uins,
            conns: Vec::new(),
            clients: Vec::new(),
            exchanges: BTreeMap::new(),
            next: 0,
            said: BTreeMap::new(),
            sources: BTreeMap::new(),
            slow: false,
            healed: false,
            rested: false,
            done: false,
            rng,
        })
    }

    #[cfg(feature = "planted")]
    pub(crate) fn set_plant(&mut self, plant: Option<crate::plant::Plant>) {
        self.server.files.plant = plant;
    }

    pub(crate) const fn faults(&self) -> FaultSet {
        self.faults
    }

    pub(crate) const fn now(&self) -> Time {
        self.schedule.now()
    }

    pub(crate) fn finish(self) -> u64 {
        self.trace.finish()
    }

    fn has(&self, fault: Fault) -> bool {
        !self.healed && self.faults.contains(fault)
    }

    fn fired(&mut self, fault: Fault) {
        self.stats.fired = self.stats.fired.with(fault);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The clock of clients.
    fn instant(&self) -> Instant {
        Instant::from_micros(1 + self.now().0)
    }

    fn after(&mut self, low_us: u64, high_us: u64) -> Time {
        Time(self.now().0 + self.rng.skewed(low_us, high_us))
    }

    /// Runs it to its end.
    pub(crate) fn run(&mut self) -> Check {
        self.begin();
        while !self.done {
            let event = self.schedule.next().ok_or("nothing happens any more")?;
            self.stats.events += 1;
            if self.stats.events > MAX_EVENTS {
                return Err("it does not end".into());
            }
            self.trace.at(self.now());
            self.event(event)?;
        }
        self.stats.virtual_ms = self.now().0 / 1_000;
        Ok(())
    }

    fn begin(&mut self) {
        self.schedule.at(Time(0), Ev::ServerStart);
        let talk = ConversationId::direct(self.uins[0], self.uins[1]);
        for _ in 0..self.rng.between(2, 4) {
            let size = match self.rng.below(8) {
                0 => self.rng.below(2),
                1 => self.rng.between(2, 70_000),
                _ => self.rng.between(900_000, 3_600_000),
            };
            let mut source = vec![0; size as usize];
            self.rng.fill(&mut source);
            let source = Bytes::from(source);
            let sha256 = RUSTCRYPTO.sha256(&[&source]);
            let plan =
                upload::Plan { upload_id: UploadId(self.rng.array()), conversation: talk, size, sha256 };
            let start = Time(self.rng.between(0, 5_000_000));
            self.client(0, Job::Upload { plan, copy: false }, source.clone(), start);
            if self.has(Fault::Supersede) && self.rng.chance(60) {
                let start = Time(start.0 + self.rng.between(0, 4_000_000));
                self.client(0, Job::Upload { plan, copy: true }, source, start);
                self.fired(Fault::Supersede);
            }
        }
        let end = self.rng.between(15_000_000, 60_000_000);
        for fault in self.faults.iter() {
            for _ in 0..self.rng.between(1, 6) {
                let at = Time(self.rng.between(10_000, end));
                self.schedule.at(at, Ev::Strike(fault));
            }
        }
        self.schedule.at(Time(end), Ev::Heal);
    }

    fn client(&mut self, account: usize, job: Job, source: Bytes, at: Time) {
        self.clients.push(Client::new(self.uins[account], job, source));
        self.schedule.at(at, Ev::ClientStart { c: self.clients.len() - 1 });
    }

    fn event(&mut self, event: Ev) -> Check {
        match event {
            Ev::ServerStart => {
                if self.server.process.is_none() {
                    let now = self.now();
                    self.server.start(&mut self.rng, now, self.config)?;
                    self.serve()?;
                }
            }
            Ev::ServerTimer { boot } => {
                if let Some((web, now)) = self.process(boot) {
                    web.handle(now, web::Input::Timeout);
                    self.serve()?;
                }
            }
            Ev::Disk { boot } => self.disk(boot)?,
            Ev::FileOp { boot, op, what } if boot == self.server.boot && self.server.process.is_some() => {
                self.trace.add("file", &[op.0], &[]);
                let result = self.server.files.run(&mut self.rng, what);
                let at = self.after(50, 500);
                self.schedule.at(at, Ev::Done { boot, done: Done::File(op, result) });
            }
            Ev::FileOp { .. } => {}
            Ev::Done { boot, done } => {
                let Some((web, now)) = self.process(boot) else { return Ok(()) };
                match done {
                    Done::Store(results) => results
                        .into_iter()
                        .for_each(|(op, result)| web.handle(now, web::Input::StoreDone { op, result })),
                    Done::File(op, result) => web.handle(now, web::Input::FileDone { op, result }),
                    Done::Bearer(op, result) => web.handle(now, web::Input::Bearer { op, result }),
                }
                self.serve()?;
            }
            Ev::Up { conn, exchange, what } => self.up(conn, exchange, what)?,
            Ev::Down { conn, exchange, what } => self.down(conn, exchange, what)?,
            Ev::Broken { conn } => self.broken(conn)?,
            Ev::ClientStart { c } => self.start(c)?,
            Ev::ClientTimer { c, life } if self.clients[c].life == life => {
                self.clients[c].armed = None;
                let now = self.instant();
                self.clients[c].handle(now, Input::Timeout);
                self.step(c)?;
            }
            Ev::Token { c, life } if self.clients[c].life == life => {
                if self.server.process.is_none() {
                    // It signs in once the server is back.
                    let at = self.after(200_000, 2_000_000);
                    self.schedule.at(at, Ev::Token { c, life });
                    return Ok(());
                }
                self.log_in(c);
                let now = self.instant();
                self.clients[c].handle(now, Input::Token);
                self.step(c)?;
            }
            Ev::Answered { c, life, ask, answer } if self.clients[c].life == life => {
                self.answered(c, ask, answer);
                self.step(c)?;
            }
            Ev::ClientTimer { .. } | Ev::Token { .. } | Ev::Answered { .. } => {}
            Ev::Strike(fault) if !self.healed => self.strike(fault)?,
            Ev::Strike(_) => {}
            Ev::DiskHasRoom => self.server.files.full = false,
            Ev::Heal => self.heal()?,
            Ev::Rested if !self.rested => {
                let late = self.clients.iter().position(|client| client.ended.is_none());
                return Err(format!("transfer {late:?} is not over {} s after the faults", REST / 1_000));
            }
            Ev::Rested => {}
            Ev::Swept => self.swept()?,
        }
        Ok(())
    }

    fn process(&mut self, boot: u32) -> Option<(&mut web::Web, ntproto_core::time::Now)> {
        let time = self.now();
        let process = self.server.process.as_mut().filter(|_| boot == self.server.boot)?;
        let now = process.clock.now(time);
        Some((&mut process.web, now))
    }

    /// Lets the server say and do all it wants.
    fn serve(&mut self) -> Check {
        let boot = self.server.boot;
        for _ in 0..MAX_OUTPUTS {
            let Some((web, now)) = self.process(boot) else { return Ok(()) };
            match web.poll_output(now) {
                web::Output::Wait { at } => {
                    let Some(at) = at else { return Ok(()) };
                    if at <= now.mono {
                        return Err("the server waits for the past".into());
                    }
                    let Some(process) = &mut self.server.process else { return Ok(()) };
                    let when = process.clock.when(at);
                    if process.armed.is_none_or(|armed| when < armed || armed <= self.schedule.now()) {
                        process.armed = Some(when);
                        self.schedule.at(when, Ev::ServerTimer { boot });
                    }
                    return Ok(());
                }
                web::Output::Respond { exchange, head, end } => {
                    self.trace.add("answer", &[exchange.0, head.status().as_u16().into()], &[]);
                    self.respond(exchange, head, end)?;
                }
                web::Output::Body { exchange, data, end } => self.tell(exchange, Down::Data(data, end)),
                web::Output::Consumed { exchange, bytes } => self.tell(exchange, Down::Consumed(bytes)),
                web::Output::Reset { exchange } => self.tell(exchange, Down::Reset),
                web::Output::Store { op, txn } => {
                    let Some(process) = &mut self.server.process else { return Ok(()) };
                    process.jobs.push_back((op, txn));
                    if !std::mem::replace(&mut process.committing, true) {
                        let at = self.after(100, 2_000);
                        self.schedule.at(at, Ev::Disk { boot });
                    }
                }
                web::Output::File { op, what } => {
                    let most = if self.slow { 3_000_000 } else { 5_000 };
                    let at = self.after(50, most);
                    self.schedule.at(at, Ev::FileOp { boot, op, what });
                }
                web::Output::Bearer { op, shown } => {
                    let result = self.server.who(&shown);
                    let at = self.after(10, 2_000);
                    self.schedule.at(at, Ev::Done { boot, done: Done::Bearer(op, result) });
                }
                web::Output::Event(event) => self.trace.event(usize::MAX, &event),
            }
        }
        Err("the server never rests".into())
    }

    /// What is told to be stored is on the disk, and never becomes less.
    fn respond(&mut self, exchange: ExchangeId, head: Response<()>, end: bool) -> Check {
        let told = dialect::told(&head);
        if let (Some((_, c, ask)), Some((file, offset))) = (self.exchanges.get(&exchange), told) {
            let client = &self.clients[*c];
            let file = file.or_else(|| client.asks.get(ask).and_then(|e| dialect::file(&e.ask)));
            if let (Some(file), Job::Upload { .. }) = (file, client.job) {
                self.sources.entry(file).or_insert_with(|| client.source.clone());
                let source = self.sources[&file].clone();
                self.server.files.holds(file, &source, offset)?;
                // A refusal may have waited for the rest of its body; what it says was so when it was decided.
                let said = self.said.entry(file).or_default();
                if !head.status().is_success() {
                    // It is on the disk; that is all.
                } else if offset < *said {
                    return Err(format!("{file}: the offset fell from {said} to {offset}"));
                }
                *said = offset.max(*said);
            }
        }
        self.tell(exchange, Down::Head(Box::new(head), end));
        Ok(())
    }

    /// Puts something on its way to a client.
    fn tell(&mut self, exchange: ExchangeId, what: Down) {
        let Some((conn, ..)) = self.exchanges.get(&exchange) else { return };
        let (now, conn) = (self.now(), *conn);
        let faults = if self.healed { FaultSet::NONE } else { self.faults };
        let at = self.conns[conn].arrives(now, Way::Down, faults, &mut self.rng);
        self.schedule.at(at, Ev::Down { conn, exchange, what });
    }

    /// The store writes what waits, or brings to the disk what it wrote.
    fn disk(&mut self, boot: u32) -> Check {
        let Some(process) = self.server.process.as_mut().filter(|_| boot == self.server.boot) else {
            return Ok(());
        };
        if process.written.is_empty() {
            let jobs: Vec<_> = process.jobs.drain(..).collect();
            let txns: Vec<_> = jobs.iter().map(|(_, txn)| txn.clone()).collect();
            let results = self.server.store.write(&txns);
            process.written = jobs.into_iter().map(|(op, _)| op).zip(results).collect();
            let at = self.after(500, 8_000);
            self.schedule.at(at, Ev::Disk { boot });
            return Ok(());
        }
        let results = std::mem::take(&mut process.written);
        process.committing = !process.jobs.is_empty();
        if process.committing {
            let at = self.after(100, 2_000);
            self.schedule.at(at, Ev::Disk { boot });
        }
        if self.server.store.sync().is_err() {
            // The server must be started anew.
            return self.crash();
        }
        let at = self.after(10, 200);
        self.schedule.at(at, Ev::Done { boot, done: Done::Store(results) });
        Ok(())
    }

    /// Something reaches the server.
    fn up(&mut self, conn: usize, exchange: ExchangeId, what: Up) -> Check {
        let boot = self.conns[conn].boot;
        if self.server.process.is_none() || boot != self.server.boot {
            // Nobody is there any more; the client hears of it.
            let at = self.after(1_000, 100_000);
            self.schedule.at(at, Ev::Broken { conn });
            return Ok(());
        }
        let carrier = self.conns[conn].carrier;
        let open = self.conns[conn].exchanges.contains(&exchange);
        let input = match what {
            Up::Head(request, end) => {
                self.conns[conn].exchanges.push(exchange);
                web::Input::Head { exchange, carrier, remote: HOME, request: *request, end }
            }
            _ if !open => return Ok(()),
            Up::Data(data) => web::Input::Data { exchange, data },
            Up::End => web::Input::End { exchange },
            Up::Room => web::Input::Room { exchange },
            Up::Gone => {
                self.conns[conn].exchanges.retain(|e| *e != exchange);
                web::Input::Gone { exchange }
            }
        };
        if let Some((web, now)) = self.process(boot) {
            web.handle(now, input);
            self.serve()?;
        }
        Ok(())
    }

    /// Something reaches a client.
    fn down(&mut self, conn: usize, exchange: ExchangeId, what: Down) -> Check {
        let last = match &what {
            Down::Head(_, end) | Down::Data(_, end) => *end,
            Down::Reset => true,
            Down::Consumed(_) => false,
        };
        if last {
            self.conns[conn].exchanges.retain(|e| *e != exchange);
        }
        let Some(&(_, c, ask)) = self.exchanges.get(&exchange) else { return Ok(()) };
        if !self.conns[conn].open || self.clients[c].conn != Some(conn) {
            return Ok(());
        }
        let now = self.instant();
        let client = &mut self.clients[c];
        let Some(asked) = client.asks.get_mut(&ask).filter(|asked| asked.id == exchange) else {
            return Ok(());
        };
        match what {
            Down::Consumed(bytes) => {
                asked.credit += bytes;
                self.pump(c, ask);
            }
            Down::Reset => {
                let answer = asked
                    .head
                    .take()
                    .map_or(Answer::Fault(Why::Lost), |head| dialect::answer(&asked.ask, &head));
                // A range that was broken off is lost.
                let answer =
                    if matches!(asked.ask, Ask::Range { .. }) { Answer::Fault(Why::Lost) } else { answer };
                self.answered(c, ask, answer);
            }
            Down::Head(head, end) => {
                if let Job::Pry(file) = client.job {
                    if head.status().is_success() {
                        return Err(format!("{file} was given to a stranger: {}", head.status()));
                    }
                    self.over(c, Ok(()));
                    return Ok(());
                }
                let range = matches!(asked.ask, Ask::Range { .. }) && head.status().is_success();
                if range {
                    let answer = dialect::answer(&asked.ask, &head);
                    asked.head = Some(*head);
                    client.handle(now, Input::Answer(ask, answer));
                } else if end {
                    let answer = dialect::answer(&asked.ask, &head);
                    self.answered(c, ask, answer);
                } else {
                    asked.head = Some(*head);
                }
            }
            Down::Data(data, end) => {
                self.send(conn, exchange, Up::Room);
                let client = &mut self.clients[c];
                let Some(asked) = client.asks.get_mut(&ask) else { return Ok(()) };
                if let (Ask::Range { offset, .. }, Some(StatusCode::PARTIAL_CONTENT | StatusCode::OK)) =
                    (&asked.ask, asked.head.as_ref().map(Response::status))
                {
                    let at = *offset as usize + asked.written;
                    asked.written += data.len();
                    client.write(at, &data);
                    client.handle(now, Input::Moved(ask, data.len() as u64));
                    if end {
                        client.asks.remove(&ask);
                    }
                } else if end && let Some(head) = asked.head.take() {
                    let answer = dialect::answer(&asked.ask, &head);
                    self.answered(c, ask, answer);
                }
            }
        }
        self.step(c)
    }

    /// A request was answered: it is over.
    fn answered(&mut self, c: usize, ask: AskId, answer: Answer) {
        if let Job::Pry(_) = self.clients[c].job {
            // It learnt nothing.
            return self.over(c, Ok(()));
        }
        let now = self.instant();
        let client = &mut self.clients[c];
        client.breaks += u64::from(matches!(answer, Answer::Fault(_)));
        if let Some(asked) = client.asks.remove(&ask)
            && !asked.rest.is_empty()
            && let Some(conn) = client.conn
        {
            // What is left of its body is not sent.
            self.send(conn, asked.id, Up::Gone);
        }
        self.trace.event(c, &answer);
        self.clients[c].handle(now, Input::Answer(ask, answer));
    }

    /// Puts something on its way to the server.
    fn send(&mut self, conn: usize, exchange: ExchangeId, what: Up) {
        let now = self.now();
        let faults = if self.healed { FaultSet::NONE } else { self.faults };
        let at = self.conns[conn].arrives(now, Way::Up, faults, &mut self.rng);
        self.schedule.at(at, Ev::Up { conn, exchange, what });
    }

    /// Sends of a body what may be sent.
    fn pump(&mut self, c: usize, ask: AskId) {
        let now = self.instant();
        loop {
            let faults = if self.healed { FaultSet::NONE } else { self.faults };
            let size = piece(faults, &mut self.rng);
            let client = &mut self.clients[c];
            let (Some(conn), Some(asked)) = (client.conn, client.asks.get_mut(&ask)) else { return };
            let size = size.min(asked.credit).min(asked.rest.len());
            if size == 0 {
                return;
            }
            let from = asked.rest.start;
            asked.rest.start += size;
            asked.credit -= size;
            let (exchange, whole) = (asked.id, asked.rest.is_empty());
            let data = client.source.slice(from..from + size);
            client.sent += size as u64;
            client.handle(now, Input::Moved(ask, size as u64));
            self.stats.bytes += size as u64;
            self.send(conn, exchange, Up::Data(data));
            if whole {
                self.send(conn, exchange, Up::End);
            }
        }
    }

    /// A client learns that its connection is none.
    fn broken(&mut self, conn: usize) -> Check {
        if !std::mem::replace(&mut self.conns[conn].open, false) {
            return Ok(());
        }
        let c = self.conns[conn].client;
        if self.clients[c].conn != Some(conn) {
            return Ok(());
        }
        self.clients[c].conn = None;
        let asks: Vec<_> = self.clients[c].asks.keys().copied().collect();
        for ask in asks {
            self.answered(c, ask, Answer::Fault(Why::Lost));
        }
        self.step(c)
    }

    fn start(&mut self, c: usize) -> Check {
        if self.clients[c].is_up() || self.clients[c].ended.is_some() {
            return Ok(());
        }
        let rng = Rng::new(self.rng.array());
        self.clients[c].start(rng)?;
        if self.server.process.is_some() {
            self.log_in(c);
        }
        if let Job::Pry(file) = self.clients[c].job {
            let ask = Ask::Range { file, offset: 0, len: 10, etag: None };
            self.ask(c, AskId(0), ask);
        }
        self.step(c)
    }

    fn log_in(&mut self, c: usize) {
        let uin = self.clients[c].uin;
        let bearer = self.server.log_in(&mut self.rng, uin);
        self.clients[c].bearer = Some(bearer);
    }

    /// Lets a transfer say all it wants.
    fn step(&mut self, c: usize) -> Check {
        let now = self.instant();
        for _ in 0..MAX_OUTPUTS {
            let life = self.clients[c].life;
            let Some(output) = self.clients[c].poll(now) else { return Ok(()) };
            match output {
                Output::Ask(id, Ask::Verify) => {
                    self.clients[c].save();
                    let hash = RUSTCRYPTO.sha256(&[&self.clients[c].bytes]);
                    let at = self.after(1_000, 50_000);
                    self.schedule.at(at, Ev::Answered { c, life, ask: id, answer: Answer::Hash(hash) });
                }
                Output::Ask(id, ask) => self.ask(c, id, ask),
                Output::Drop(id) => {
                    let client = &mut self.clients[c];
                    client.breaks += 1;
                    if let (Some(asked), Some(conn)) = (client.asks.remove(&id), client.conn) {
                        self.send(conn, asked.id, Up::Gone);
                    }
                }
                Output::Token => {
                    self.clients[c].breaks += 1;
                    let at = self.after(10_000, 500_000);
                    self.schedule.at(at, Ev::Token { c, life });
                }
                Output::Save => self.clients[c].save(),
                Output::Event(event) => {
                    self.trace.event(c, &event);
                    if let Event::Ended(result) = event {
                        return self.ended(c, result);
                    }
                }
                Output::Wait(at, _) => {
                    let Some(at) = at else { return Ok(()) };
                    if at <= now {
                        return Err(format!("transfer {c} waits for the past"));
                    }
                    let when = Time(at.as_micros() - 1);
                    if self.clients[c].armed.is_none_or(|armed| when < armed || armed <= self.now()) {
                        self.clients[c].armed = Some(when);
                        self.schedule.at(when, Ev::ClientTimer { c, life });
                    }
                    return Ok(());
                }
            }
        }
        Err(format!("transfer {c} never rests"))
    }

    /// Asks the server.
    fn ask(&mut self, c: usize, id: AskId, ask: Ask) {
        let life = self.clients[c].life;
        let unreachable = self.server.process.is_none() || (self.has(Fault::Partition) && self.rng.chance(5));
        if self.clients[c].conn.is_none() && unreachable {
            let at = self.after(1_000, 3_000_000);
            let answer = Answer::Fault(Why::Lost);
            self.schedule.at(at, Ev::Answered { c, life, ask: id, answer });
            return;
        }
        let conn = match self.clients[c].conn {
            Some(conn) => conn,
            None => {
                let carrier = CarrierId(self.number());
                self.conns.push(Conn::new(carrier, c, self.server.boot, self.now()));
                self.stats.connections += 1;
                *self.clients[c].conn.insert(self.conns.len() - 1)
            }
        };
        let exchange = ExchangeId(self.number());
        let client = &mut self.clients[c];
        let plan = match client.job {
            Job::Upload { plan, .. } => Some(plan),
            _ => None,
        };
        let request = dialect::request(&ask, plan.as_ref(), client.bearer.as_ref());
        let rest = match &ask {
            Ask::Chunk { offset, len, .. } => *offset as usize..(*offset + *len) as usize,
            _ => 0..0,
        };
        let end = rest.is_empty();
        let asked = Exchange { id: exchange, ask, rest, credit: WINDOW, head: None, written: 0 };
        client.asks.insert(id, asked);
        self.exchanges.insert(exchange, (conn, c, id));
        self.send(conn, exchange, Up::Head(Box::new(request), end));
        self.pump(c, id);
    }

    /// A transfer is over.
    fn ended(&mut self, c: usize, result: Result<(), ntproto_core::transfer::Failure>) -> Check {
        let client = &self.clients[c];
        match (&client.job, &result) {
            (Job::Upload { plan, copy }, Ok(())) => {
                let file = client.file().ok_or("an upload ended well and has no file")?;
                let source = client.source.clone();
                self.server.files.holds(file, &source, plan.size)?;
                if !self.faults.contains(Fault::Supersede) {
                    client.costs()?;
                }
                self.stats.uploads += 1;
                if !copy {
                    let plan = download::Plan { file, size: plan.size, sha256: plan.sha256, unit: 1 };
                    let at = self.after(10_000, 3_000_000);
                    self.client(1, Job::Download(plan), source.clone(), at);
                    self.client(2, Job::Pry(file), source, at);
                }
            }
            (Job::Download(_), Ok(())) => {
                if client.bytes[..] != client.source[..] {
                    return Err("a download is not what was uploaded".into());
                }
                self.stats.downloads += 1;
            }
            (Job::Upload { copy: true, .. }, _) => {}
            (Job::Upload { .. }, Err(_)) if client.cancelled => {}
            (Job::Download(_), Err(_)) if self.any_cancelled() => {}
            (job, result) => return Err(format!("{job:?} ended with {result:?}")),
        }
        self.over(c, result);
        Ok(())
    }

    fn any_cancelled(&self) -> bool {
        self.clients.iter().any(|client| client.cancelled)
    }

    fn over(&mut self, c: usize, result: Result<(), ntproto_core::transfer::Failure>) {
        self.clients[c].ended = Some(result);
        self.quiet();
    }

    /// Whether all is over, after the faults.
    fn quiet(&mut self) {
        if self.healed && !self.rested && self.clients.iter().all(|client| client.ended.is_some()) {
            self.rested = true;
            let at = self.now().plus_ms(SWEPT);
            self.schedule.at(at, Ev::Swept);
        }
    }

    fn crash(&mut self) -> Check {
        let keep = self.rng.chance(50);
        self.stats.server_crashes += 1;
        self.server.crash(&mut self.rng, keep);
        let at = self.after(100_000, 3_000_000);
        self.schedule.at(at, Ev::ServerStart);
        for conn in 0..self.conns.len() {
            if self.conns[conn].open {
                // Some learn it from the next thing they send.
                if self.rng.chance(70) {
                    let at = self.after(1_000, 500_000);
                    self.schedule.at(at, Ev::Broken { conn });
                }
                self.conns[conn].exchanges.clear();
            }
        }
        Ok(())
    }

    /// A connection breaks: either side learns it by itself.
    fn reset(&mut self, conn: usize, client_learns: bool) {
        for exchange in std::mem::take(&mut self.conns[conn].exchanges) {
            // What was on its way to the server before that may still arrive; afterwards the exchange is none.
            let boot = self.conns[conn].boot;
            if let Some((web, now)) = self.process(boot) {
                web.handle(now, web::Input::Gone { exchange });
            }
        }
        if client_learns {
            let at = self.after(1_000, 2_000_000);
            self.schedule.at(at, Ev::Broken { conn });
        }
    }

    fn strike(&mut self, fault: Fault) -> Check {
        let open: Vec<usize> = (0..self.conns.len()).filter(|conn| self.conns[*conn].open).collect();
        let up: Vec<usize> = (0..self.clients.len())
            .filter(|c| self.clients[*c].is_up() && self.clients[*c].ended.is_none())
            .collect();
        self.trace.add("strike", &[fault as u64], &[]);
        match fault {
            Fault::Delay | Fault::Chunks | Fault::Partition => self.fired(fault),
            Fault::Supersede => {}
            Fault::Stall if !open.is_empty() => {
                let (conn, now) = (*self.rng.pick(&open), self.now());
                self.conns[conn].stall(now, &mut self.rng);
                self.fired(fault);
            }
            Fault::Reset | Fault::HalfOpen if !open.is_empty() => {
                let conn = *self.rng.pick(&open);
                self.reset(conn, fault == Fault::Reset);
                self.fired(fault);
                self.serve()?;
            }
            Fault::ServerCrash if self.server.process.is_some() => {
                self.fired(fault);
                self.crash()?;
            }
            Fault::SyncFails if self.server.process.is_some() => {
                self.fired(fault);
                match self.rng.chance(50) {
                    true => self.server.files.fail_next_sync = true,
                    false => self.server.store.fail_next_sync(),
                }
            }
            Fault::DiskFull => {
                self.fired(fault);
                self.server.files.full = true;
                let at = self.after(100_000, 5_000_000);
                self.schedule.at(at, Ev::DiskHasRoom);
            }
            Fault::SlowDisk => {
                self.fired(fault);
                self.slow = !self.slow;
            }
            Fault::ShortTickets => {
                self.fired(fault);
                self.server.log_out();
            }
            Fault::ClientCrash if !up.is_empty() => {
                self.fired(fault);
                let c = *self.rng.pick(&up);
                self.stats.client_crashes += 1;
                self.fail(c);
                let at = self.after(50_000, 5_000_000);
                self.schedule.at(at, Ev::ClientStart { c });
            }
            Fault::Quit if !up.is_empty() => {
                let ours = |c: &&usize| matches!(self.clients[**c].job, Job::Upload { copy: false, .. });
                let ours = up.iter().find(ours).copied();
                if let Some(c) = ours.filter(|_| !self.faults.contains(Fault::Supersede)) {
                    self.fired(fault);
                    self.clients[c].cancel();
                    self.step(c)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A client's power fails.
    fn fail(&mut self, c: usize) {
        if let Some(conn) = self.clients[c].conn {
            self.conns[conn].open = false;
            let learns = self.rng.chance(70);
            if learns {
                self.reset(conn, false);
            }
        }
        self.clients[c].crash();
    }

    /// The faults end.
    fn heal(&mut self) -> Check {
        (self.healed, self.slow) = (true, false);
        self.server.files.full = false;
        self.server.files.fail_next_sync = false;
        for c in 0..self.clients.len() {
            let client = &self.clients[c];
            let pries = matches!(client.job, Job::Pry(_)) && client.life > 0;
            if client.ended.is_none() && (client.is_copy() || pries) {
                self.fail(c);
                self.clients[c].life += 1;
                self.clients[c].ended = Some(Ok(()));
            }
        }
        self.schedule.at(self.now(), Ev::ServerStart);
        let at = self.now().plus_ms(REST);
        self.schedule.at(at, Ev::Rested);
        self.quiet();
        self.serve()
    }

    /// Nothing is left behind.
    fn swept(&mut self) -> Check {
        if self.clients.iter().any(|client| client.ended.is_none()) {
            return Err("a transfer began after all were over".into());
        }
        let (parts, contents) = self.server.files.counts();
        if parts > 0 {
            return Err(format!("{parts} partial files were left behind"));
        }
        let whole = self.clients.iter().filter(|client| {
            matches!((&client.job, &client.ended), (Job::Upload { copy: false, .. }, Some(Ok(()))))
        });
        // One that was called off may have been whole.
        let most = whole.count() + self.clients.iter().filter(|client| client.cancelled).count();
        if contents > most {
            return Err(format!("{contents} contents for {most} files"));
        }
        verify(self.server.store.tables(), &mut |_| true).map_err(|e| format!("the store: {e}"))?;
        let open = self.server.process.as_ref().map_or(0, |process| process.web.exchanges());
        if open > 0 {
            return Err(format!("{open} exchanges never ended"));
        }
        self.done = true;
        Ok(())
    }
}
