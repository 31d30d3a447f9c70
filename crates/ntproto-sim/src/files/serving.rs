//! The server's side: what its machine wants, what reaches it, and what it may tell.

use http::Response;
use ntproto_core::time::Now;
use ntproto_web::{self as web, ExchangeId};

use super::client::Job;
use super::dialect;
use super::server::Done;
use super::wire::{Down, Up, Way};
use super::world::{Ev, HOME, MAX_OUTPUTS, World};
use crate::fault::FaultSet;
use crate::ledger::Check;

impl World {
    pub(super) fn process(&mut self, boot: u32) -> Option<(&mut web::Web, Now)> {
        let time = self.now();
        let process = self.server.process.as_mut().filter(|_| boot == self.server.boot)?;
        let now = process.clock.now(time);
        Some((&mut process.web, now))
    }

    /// Lets the server say and do all it wants.
    pub(super) fn serve(&mut self) -> Check {
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
                // Its clients don't wait to hear it.
                web::Output::Continue { .. } => {}
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
    pub(super) fn respond(&mut self, exchange: ExchangeId, head: Response<()>, end: bool) -> Check {
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
    pub(super) fn tell(&mut self, exchange: ExchangeId, what: Down) {
        let Some((conn, ..)) = self.exchanges.get(&exchange) else { return };
        let (now, conn) = (self.now(), *conn);
        let faults = if self.healed { FaultSet::NONE } else { self.faults };
        let at = self.conns[conn].arrives(now, Way::Down, faults, &mut self.rng);
        self.schedule.at(at, Ev::Down { conn, exchange, what });
    }

    /// The store writes what waits, or brings to the disk what it wrote.
    pub(super) fn disk(&mut self, boot: u32) -> Check {
        let Some(process) = self.server.process.as_mut().filter(|_| boot == self.server.boot) else {
            return Ok(());
        };
        if process.written.is_empty() {
            let jobs: Vec<_> = process.jobs.drain(..).collect();
            let txns: Vec<_> = jobs.iter().map(|(_, txn)| txn.clone()).collect();
            #[cfg(feature = "planted")]
            let (asked, txns) =
                (txns.clone(), txns.iter().map(|txn| self.server.planted(txn)).collect::<Vec<_>>());
            let results = self.server.store.write(&txns);
            #[cfg(feature = "planted")]
            let results =
                asked.iter().zip(results).map(|(txn, result)| super::server::Server::pretended(txn, result));
            let Some(process) = self.server.process.as_mut() else { return Ok(()) };
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
    pub(super) fn up(&mut self, conn: usize, exchange: ExchangeId, what: Up) -> Check {
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
}
