//! The clients' side: what transfers want, what reaches them, and how they end.

use http::{Response, StatusCode};
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_core::transfer::{Answer, Ask, AskId, Event, Failure, Fault as Why, Input, Output, download};
use ntproto_web::config::WINDOW;
use ntproto_web::{CarrierId, ExchangeId};

use super::client::{Exchange, Job};
use super::dialect;
use super::wire::{Conn, Down, Up, Way, piece};
use super::world::{Ev, MAX_OUTPUTS, SWEPT, World};
use crate::draw::Draw as _;
use crate::fault::{Fault, FaultSet};
use crate::ledger::Check;
use crate::schedule::Time;

impl World {
    /// Something reaches a client.
    pub(super) fn down(&mut self, conn: usize, exchange: ExchangeId, what: Down) -> Check {
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
    pub(super) fn answered(&mut self, c: usize, ask: AskId, answer: Answer) {
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
    pub(super) fn send(&mut self, conn: usize, exchange: ExchangeId, what: Up) {
        let now = self.now();
        let faults = if self.healed { FaultSet::NONE } else { self.faults };
        let at = self.conns[conn].arrives(now, Way::Up, faults, &mut self.rng);
        self.schedule.at(at, Ev::Up { conn, exchange, what });
    }

    /// Sends of a body what may be sent.
    pub(super) fn pump(&mut self, c: usize, ask: AskId) {
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
    pub(super) fn broken(&mut self, conn: usize) -> Check {
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

    pub(super) fn start(&mut self, c: usize) -> Check {
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

    pub(super) fn log_in(&mut self, c: usize) {
        let uin = self.clients[c].uin;
        let bearer = self.server.log_in(&mut self.rng, uin);
        self.clients[c].bearer = Some(bearer);
    }

    /// Lets a transfer say all it wants.
    pub(super) fn step(&mut self, c: usize) -> Check {
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
    pub(super) fn ask(&mut self, c: usize, id: AskId, ask: Ask) {
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
        // Something on the way changed a byte.
        let wrong = !self.healed && exchange.0 % 7 == 3;
        let client = &mut self.clients[c];
        let plan = match client.job {
            Job::Upload { plan, .. } => Some(plan),
            _ => None,
        };
        let request = dialect::request(&ask, plan.as_ref(), client.bearer.as_ref());
        let request = dialect::checked(request, &ask, plan.as_ref(), &client.source, wrong);
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
    pub(super) fn ended(&mut self, c: usize, result: Result<(), Failure>) -> Check {
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

    pub(super) fn any_cancelled(&self) -> bool {
        self.clients.iter().any(|client| client.cancelled)
    }

    pub(super) fn over(&mut self, c: usize, result: Result<(), Failure>) {
        self.clients[c].ended = Some(result);
        self.quiet();
    }

    /// Whether all is over, after the faults.
    pub(super) fn quiet(&mut self) {
        if self.healed && !self.rested && self.clients.iter().all(|client| client.ended.is_some()) {
            self.rested = true;
            let at = self.now().plus_ms(SWEPT);
            self.schedule.at(at, Ev::Swept);
        }
    }
}
