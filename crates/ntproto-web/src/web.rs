//! The machine: exchanges come, are looked at, answered, and end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use ntproto_core::ids::{FileId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::session::bearer::Bearer;
use ntproto_core::time::{Instant, Now, earliest};
use ntproto_hub::store::OpId;
use ntproto_hub::store::file::FileAsk;
use ntproto_hub::{Networks, Who};

use crate::answer::Answer;
use crate::api::{CarrierId, ExchangeId, Input, Output, WebEvent};
use crate::config::{DRAIN_BYTES, DRAIN_TIME, TASKS_PER_EXCHANGE, WINDOW, WebConfig};
use crate::cors::{self, Origins};
use crate::dialect::{self, Dialect};
use crate::exchange::{Exchange, State};
use crate::handshake::Bootstrap;
use crate::pieces::join;
use crate::plan::{Append, Plan, one};
use crate::problem::{Code, Problem};
use crate::routes::{Route, method_name};
use crate::sweep::Sweep;
use crate::tasks::Task;
use crate::upload::{After, Fate, First, Upload};

/// The status noted of an exchange whose client was gone before the answer.
const CLIENT_GONE: u16 = 499;
/// The status noted of an answer that began and was broken off: its file can't be read, or its client does not read.
const BROKEN_OFF: u16 = 500;

/// What a server says over HTTP. See the [crate](crate).
pub struct Web {
    pub(crate) config: WebConfig,
    pub(crate) ready: bool,
    bootstrap: Option<Box<Bootstrap>>,
    origins: Origins,
    strangers: Networks,
    /// Tokens that were nobody's.
    guesses: Networks,
    pub(crate) exchanges: BTreeMap<ExchangeId, Exchange>,
    timers: BTreeSet<(Instant, ExchangeId)>,
    /// Whose each is, the store has said.
    pub(crate) uploads: BTreeMap<FileId, Upload>,
    /// Those that somebody claims.
    pub(crate) firsts: BTreeMap<(FileId, Uin), First>,
    /// Bytes on their way to the disk.
    pub(crate) in_writes: usize,
    pub(crate) tasks: BTreeMap<OpId, Task>,
    pub(crate) last_op: u64,
    pub(crate) sweep: Sweep,
    /// Numbers of files come of it.
    pub(crate) rng: Rng,
    pub(crate) out: VecDeque<Output>,
}

impl Web {
    /// A machine that is not [ready](Input::Ready) yet. `seed` comes from the operating system, but in tests.
    #[must_use]
    pub fn new(config: WebConfig, seed: [u8; 32]) -> Self {
        Self {
            config,
            ready: false,
            bootstrap: None,
            origins: Origins::default(),
            strangers: Networks::new(config.strangers),
            guesses: Networks::new(config.strangers),
            exchanges: BTreeMap::new(),
            timers: BTreeSet::new(),
            uploads: BTreeMap::new(),
            firsts: BTreeMap::new(),
            in_writes: 0,
            tasks: BTreeMap::new(),
            last_op: 0,
            sweep: Sweep::default(),
            rng: Rng::new(seed),
            out: VecDeque::new(),
        }
    }

    /// Pages of these origins may read its answers; of others only those of clients that are no browsers can.
    #[must_use]
    pub fn with_origins(self, origins: Origins) -> Self {
        Self { origins, ..self }
    }

    /// Takes what the host brings. Never fails. `now.unix` is server time, as the hub tells it.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Head { exchange, carrier, remote, request, end } => {
                self.head(now, exchange, carrier, remote, &request, end);
            }
            Input::Data { exchange, data } => self.data(now, exchange, data),
            Input::End { exchange } => self.end(now, exchange),
            Input::Gone { exchange } => self.gone(now, exchange),
            Input::Bootstrap(bootstrap) => self.bootstrap = Some(bootstrap),
            Input::Ready(ready) => {
                self.ready = ready;
                self.sweep_soon(now);
            }
            Input::Room { exchange } => self.room(now, exchange),
            Input::StoreDone { op, result } => self.store_done(now, op, result),
            Input::FileDone { op, result } => self.file_done(now, op, result),
            Input::Bearer { op, result } => self.bearer_done(now, op, result),
            Input::Timeout => self.tick(now),
        }
    }

    /// What it wants next.
    pub fn poll_output(&mut self, now: Now) -> Output {
        if self.wait().is_some_and(|at| at <= now.mono) {
            self.tick(now);
        }
        match self.out.pop_front() {
            Some(output) => output,
            None => Output::Wait { at: self.wait() },
        }
    }

    fn wait(&self) -> Option<Instant> {
        earliest(self.timers.first().map(|(at, _)| *at), self.sweep.at)
    }

    /// Uploads that requests work on.
    #[must_use]
    pub fn uploads(&self) -> usize {
        self.uploads.len()
    }

    /// Bytes of requests' bodies that it holds, or that are on their way to the disk.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.exchanges.values().map(|exchange| exchange.owed).sum()
    }

    /// Bytes on their way to the disk, those of clients that left with them.
    #[must_use]
    pub const fn writing_bytes(&self) -> usize {
        self.in_writes
    }

    /// What it waits for, and what waits in it, in all: bounded by [`WebConfig::max_exchanges`], whatever clients do.
    #[must_use]
    pub fn pending(&self) -> usize {
        let at_uploads = self.uploads.values().map(|upload| 1 + upload.waiting.len() + upload.after.len());
        let firsts = self.firsts.values().map(|first| 1 + first.later.len());
        self.tasks.len() + at_uploads.chain(firsts).sum::<usize>()
    }

    /// There is no room for another exchange. What left clients leave behind counts, until it is done.
    fn is_crowded(&self) -> bool {
        let most = self.config.max_exchanges;
        self.exchanges.len() >= most
            || self.tasks.len() >= most.saturating_mul(TASKS_PER_EXCHANGE)
            || self.in_writes >= most.saturating_mul(WINDOW)
    }

    /// Exchanges there are.
    #[must_use]
    pub fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    fn head(
        &mut self,
        now: Now,
        id: ExchangeId,
        carrier: CarrierId,
        remote: SocketAddr,
        request: &Request<()>,
        end: bool,
    ) {
        if self.exchanges.contains_key(&id) {
            return;
        }
        let crowded = self.is_crowded();
        let route = Route::of(request);
        let known = route.unwrap_or(Route::None);
        let mut exchange = Exchange::new(now, carrier, remote.ip(), known, request, end);
        exchange.origin = self.origins.of(request);
        let preflight = cors::preflight(request).filter(|_| exchange.origin.is_some());
        self.exchanges.insert(id, exchange);
        // A token counts where it is looked at.
        let files = matches!(known, Route::Files | Route::File(_));
        let token = files && shown(request.headers()).is_some();
        let late = match known {
            Route::Health | Route::Ready => Ok(()),
            _ if token => match self.guesses.wait(now.mono, remote.ip()) {
                Duration::ZERO => Ok(()),
                wait => Err(wait),
            },
            _ => self.strangers.take(now.mono, remote.ip()),
        };
        if let Err(wait) = late {
            //= spec: bootstrap-12
            //= spec: bootstrap-17
            let seconds = (wait.as_secs() + 1).to_string();
            let answer = Answer::from(Problem::new(Code::TooManyRequests)).set(header::RETRY_AFTER, &seconds);
            // Its body is not read: that would cost more than the answer.
            return self.respond(now, id, answer);
        }
        if let Some(answer) = preflight {
            return self.finish(now, id, answer);
        }
        let answer = match route {
            _ if crowded => {
                // It is not read: that would take room too.
                return self.respond(now, id, Problem::new(Code::Unavailable).into());
            }
            Err(code) => Problem::new(code).into(),
            Ok(route @ (Route::Files | Route::File(_))) => return self.files(now, id, route, request, end),
            Ok(route) => self.simple(now, route, remote, request),
        };
        self.finish(now, id, answer);
    }

    /// What needs nobody's answer.
    fn simple(&mut self, now: Now, route: Route, remote: SocketAddr, request: &Request<()>) -> Answer {
        let plain = "text/plain; charset=utf-8";
        match (route, method_name(request.method())) {
            (Route::Health, "GET" | "HEAD") => Answer::new(StatusCode::OK).text(plain, "ok\n"),
            (Route::Ready, "GET" | "HEAD") if self.ready => {
                Answer::new(StatusCode::OK).text(plain, "ready\n")
            }
            (Route::Ready, "GET" | "HEAD") => Problem::new(Code::Unavailable).into(),
            (Route::Handshake, "GET" | "HEAD") => match &self.bootstrap {
                Some(bootstrap) => bootstrap.respond(&mut self.rng, now.unix, remote.ip(), request),
                None => Problem::new(Code::Unavailable).into(),
            },
            (Route::Health | Route::Ready | Route::Handshake, _) => {
                Answer::from(Problem::new(Code::Method)).set(header::ALLOW, route.allow())
            }
            _ => Problem::new(Code::NotFound).into(),
        }
    }

    /// Uploads and files: whom does the request act for?
    fn files(&mut self, now: Now, id: ExchangeId, route: Route, request: &Request<()>, end: bool) {
        let headers = request.headers();
        let dialect = match Dialect::of(headers) {
            Ok(dialect) => dialect,
            Err(problem) => return self.fail(now, id, problem),
        };
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.dialect = dialect;
        }
        let plan = match dialect::ask(route, dialect, request, end, &self.config) {
            Ok(plan) => plan,
            Err(answer) => return self.finish(now, id, *answer),
        };
        match shown(headers) {
            Some(shown) => self.ask_who(shown, id, plan),
            None => self.fail(now, id, Code::Unauthorized.into()),
        }
    }

    /// The hub has said whom a request acts for.
    pub(crate) fn authorized(&mut self, now: Now, id: ExchangeId, who: Option<Who>, plan: Plan) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        //= spec: files-1
        let Some(who) = who else {
            // Counted apart from other strangers, since who is in must get by those. Some that were asked for at once may go beyond.
            let _ = self.guesses.take(now.mono, exchange.from);
            // A server that ends has sent sessions away whose tokens are good at the next one.
            let code = if self.ready { Code::Unauthorized } else { Code::Unavailable };
            return self.fail(now, id, code.into());
        };
        self.act(now, id, who, plan);
    }

    /// Does what a request wants, for whoever asked.
    pub(crate) fn act(&mut self, now: Now, id: ExchangeId, who: Who, plan: Plan) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let carrier = exchange.carrier;
        let own = |web: &Self, file| {
            let first = web.firsts.contains_key(&(file, who.uin));
            first || web.uploads.get(&file).is_some_and(|upload| upload.who.uin == who.uin)
        };
        match plan {
            Plan::Create(create) => self.create(now, id, who, *create),
            Plan::Append(append) => self.arrive(now, id, who, append),
            Plan::Status(file, wanted) => {
                if let Some(exchange) = self.exchanges.get_mut(&id) {
                    exchange.wanted = Some(wanted);
                }
                if own(self, file) {
                    return self.after(now, file, who, carrier, After::Status(id), None);
                }
                self.ask_store(now, who, FileAsk::Find { file }, Task::Status(id, who, file));
            }
            Plan::Delete(file) if own(self, file) => {
                self.after(now, file, who, carrier, After::Delete(id), None);
            }
            Plan::Delete(file) => self.ask_store(now, who, FileAsk::Delete { file }, Task::Delete(id, file)),
            Plan::Get(file, wanted) => {
                self.ask_store(now, who, FileAsk::Find { file }, Task::Get(id, wanted))
            }
        }
    }

    fn data(&mut self, now: Now, id: ExchangeId, data: Bytes) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.received += data.len() as u64;
        exchange.asks_first = false;
        exchange.owed += data.len();
        exchange.held_bytes += data.len();
        join(&mut exchange.held, data);
        if exchange.owed > 2 * WINDOW {
            // The host brings more than it may.
            self.out.push_back(Output::Reset { exchange: id });
            return self.gone(now, id);
        }
        self.taken(now, id);
    }

    fn end(&mut self, now: Now, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.whole = true;
        self.taken(now, id);
    }

    /// More of a body is there.
    fn taken(&mut self, now: Now, id: ExchangeId) {
        match self.exchanges.get(&id).map(|exchange| &exchange.state) {
            Some(State::Uploading(file)) => {
                let file = *file;
                self.body(id);
                self.pump(now, file);
            }
            Some(State::Draining { .. }) => self.drain(now, id),
            _ => {}
        }
    }

    fn gone(&mut self, now: Now, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        match exchange.state {
            State::Uploading(file) => {
                let upload = self.uploads.get_mut(&file);
                if let Some(writer) = upload.and_then(|upload| upload.writer.as_mut())
                    && writer.exchange == id
                {
                    writer.fate.get_or_insert(Fate::Gone);
                }
                self.forget(now, id, CLIENT_GONE);
                self.pump(now, file);
            }
            State::Waiting(file) => {
                self.give_up(now, id, file, false);
                self.forget(now, id, CLIENT_GONE);
            }
            State::Sending { status, .. } => self.forget(now, id, status),
            State::New | State::Draining { .. } => self.forget(now, id, CLIENT_GONE),
        }
    }

    /// Refuses, as the request's dialect does.
    pub(crate) fn fail(&mut self, now: Now, id: ExchangeId, problem: Problem) {
        if let Some(answer) = self.refusal(id, problem) {
            self.finish(now, id, answer);
        }
    }

    /// Refuses bytes of an upload that is complete, once it is known whether there are any.
    pub(crate) fn fail_complete(&mut self, now: Now, id: ExchangeId, problem: Problem, append: &Append) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let (code, if_empty) = append.after_the_end();
        let may_be_empty = exchange.received == 0 && code != if_empty;
        if may_be_empty && exchange.whole {
            return self.fail(now, id, Problem { code: if_empty, ..problem });
        }
        let other = self.refusal(id, Problem { code: if_empty, ..problem.clone() });
        self.fail(now, id, Problem { code, ..problem });
        // Whoever asked first had something to send, and has its answer.
        if may_be_empty
            && let Some(exchange) = self.exchanges.get_mut(&id)
            && let State::Draining { if_empty, .. } = &mut exchange.state
        {
            *if_empty = other.map(Box::new);
        }
    }

    /// How a request's dialect refuses it.
    fn refusal(&self, id: ExchangeId, problem: Problem) -> Option<Answer> {
        let exchange = self.exchanges.get(&id)?;
        let mut answer = exchange.dialect.problem(problem, &self.config);
        if let Some((file, _)) = exchange.created {
            answer.put(header::LOCATION, &dialect::location(file));
        }
        Some(answer)
    }

    /// It is so, and there is nothing to say of it.
    pub(crate) fn done(&mut self, now: Now, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.get(&id) {
            let answer = exchange.dialect.dress(Answer::new(StatusCode::NO_CONTENT));
            self.finish(now, id, answer);
        }
    }

    /// Answers, once the body is out of the way.
    pub(crate) fn finish(&mut self, now: Now, id: ExchangeId, answer: Answer) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        //= spec: files-10
        if exchange.whole || exchange.asks_first {
            exchange.held.clear();
            return self.respond(now, id, answer);
        }
        exchange.state = State::Draining { answer: Box::new(answer), if_empty: None, drained: 0 };
        self.set_deadline(id, Some(now.mono + DRAIN_TIME));
        self.drain(now, id);
    }

    /// Reads what nobody wants, as long as that is not too much.
    fn drain(&mut self, now: Now, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let State::Draining { drained, .. } = &mut exchange.state else { return };
        *drained += exchange.held_bytes as u64;
        let enough = *drained >= DRAIN_BYTES || exchange.whole;
        let bytes = exchange.drop_held();
        self.consumed(id, bytes);
        if enough {
            self.drained(now, id);
        }
    }

    fn drained(&mut self, now: Now, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        if let State::Draining { answer, if_empty, .. } = core::mem::replace(&mut exchange.state, State::New)
        {
            let empty = exchange.whole && exchange.received == 0;
            self.respond(now, id, *if_empty.filter(|_| empty).unwrap_or(answer));
        }
    }

    /// Answers at once.
    fn respond(&mut self, now: Now, id: ExchangeId, answer: Answer) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let body = if exchange.head_only { Bytes::new() } else { answer.body.clone() };
        exchange.sent += body.len() as u64;
        self.begin_answer(id, &answer, body.is_empty());
        if !body.is_empty() {
            self.out.push_back(Output::Body { exchange: id, data: body, end: true });
        }
        self.over(now, id, answer.status.as_u16());
    }

    /// The head of an answer goes out.
    pub(crate) fn begin_answer(&mut self, id: ExchangeId, answer: &Answer, end: bool) {
        let mut head = answer.head();
        if let Some(origin) = self.exchanges.get(&id).and_then(|exchange| exchange.origin.as_ref()) {
            cors::grant(&mut head, origin);
        }
        self.out.push_back(Output::Respond { exchange: id, head, end });
    }

    /// The answer is out.
    pub(crate) fn over(&mut self, now: Now, id: ExchangeId, status: u16) {
        if self.exchanges.get(&id).is_some_and(|exchange| !exchange.whole) {
            self.out.push_back(Output::Reset { exchange: id });
        }
        self.forget(now, id, status);
    }

    /// The answer can't be finished.
    pub(crate) fn break_off(&mut self, now: Now, id: ExchangeId) {
        self.out.push_back(Output::Reset { exchange: id });
        self.forget(now, id, BROKEN_OFF);
    }

    /// An exchange is over.
    fn forget(&mut self, now: Now, id: ExchangeId, status: u16) {
        self.set_deadline(id, None);
        let Some(exchange) = self.exchanges.remove(&id) else { return };
        self.out.push_back(Output::Event(WebEvent::Done {
            exchange: id,
            route: exchange.route.name(),
            method: exchange.method,
            status,
            took: now.mono.saturating_since(exchange.started),
            received: exchange.received,
            sent: exchange.sent,
        }));
    }

    pub(crate) fn set_deadline(&mut self, id: ExchangeId, at: Option<Instant>) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        if let Some(old) = core::mem::replace(&mut exchange.deadline, at) {
            self.timers.remove(&(old, id));
        }
        if let Some(new) = at {
            self.timers.insert((new, id));
        }
    }

    fn tick(&mut self, now: Now) {
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now.mono
        {
            self.set_deadline(id, None);
            match self.exchanges.get(&id).map(|exchange| &exchange.state) {
                Some(State::Draining { .. }) => self.drained(now, id),
                Some(State::Uploading(file)) => {
                    let file = *file;
                    self.look_at_pace(now, id, file);
                }
                Some(State::Waiting(file)) => {
                    let file = *file;
                    self.give_up(now, id, file, true);
                }
                Some(State::Sending { .. }) => self.break_off(now, id),
                Some(State::New) | None => {}
            }
        }
        self.look_for_doomed(now);
    }
}

/// What a request shows to act for a session.
fn shown(headers: &HeaderMap) -> Option<Bearer> {
    let (scheme, token) = one(headers, "authorization").ok().flatten()?.split_once(' ')?;
    let bearer = scheme.eq_ignore_ascii_case("bearer");
    bearer.then(|| Bearer::read(token.trim_start().as_bytes())).flatten()
}
