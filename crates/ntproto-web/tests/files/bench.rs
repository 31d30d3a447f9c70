//! The machine, a store, a disk and clients on one desk.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use ntproto_core::crypto::secret::Secret;
use ntproto_core::ids::{ConversationId, DeviceId};
use ntproto_core::session::bearer::Bearer;
use ntproto_core::time::{Now, UnixMillis};
use ntproto_hub::store::memory::MemoryStore;
use ntproto_hub::store::txn::{DeviceInfo, EnrolVia, NewDevice};
use ntproto_hub::store::verify::verify;
use ntproto_hub::store::{Outcome, Store, StoreError, Txn};
use ntproto_hub::{ConnId, Who};
use ntproto_web::config::WINDOW;
use ntproto_web::text::base64url;
use ntproto_web::{
    CarrierId, ContentId, ExchangeId, FileError, FileId, FileOp, FileOutcome, Input, OpId, Output, Web,
    WebConfig, WebEvent,
};
use sha2::{Digest as _, Sha256};

pub const START: u64 = 1_700_000_000_000;

/// A file that is being written: as it is, and as a power cut would leave it.
#[derive(Clone, Default)]
struct Partial {
    data: Vec<u8>,
    synced: Vec<u8>,
}

/// A disk for files.
#[derive(Default)]
pub struct Disk {
    partials: BTreeMap<FileId, Partial>,
    pub contents: BTreeMap<ContentId, Vec<u8>>,
    /// Bytes of partial files it takes, if there is an end.
    pub capacity: Option<usize>,
    pub fail_sync: bool,
    /// Partial files up to this one can't be removed.
    pub stuck: Option<FileId>,
    pub ops: usize,
}

impl Disk {
    pub fn used(&self) -> usize {
        self.partials.values().map(|partial| partial.data.len()).sum()
    }

    pub fn partials(&self) -> usize {
        self.partials.len()
    }

    /// What was confirmed is lost all the same.
    pub fn lose(&mut self) {
        self.partials.clear();
    }

    pub fn ids(&self) -> Vec<FileId> {
        self.partials.keys().copied().collect()
    }

    pub fn run(&mut self, op: FileOp) -> Result<FileOutcome, FileError> {
        self.ops += 1;
        match op {
            FileOp::Write { file, offset, data } => {
                let bytes: usize = data.iter().map(Bytes::len).sum();
                let offset = usize::try_from(offset).unwrap();
                let before = self.partials.get(&file).map_or(0, |partial| partial.data.len());
                if offset > before {
                    return Err(FileError::NotFound);
                }
                let grows = (offset + bytes).saturating_sub(before);
                if self.capacity.is_some_and(|capacity| self.used() + grows > capacity) {
                    return Err(FileError::Full);
                }
                let partial = self.partials.entry(file).or_default();
                partial.data.resize(partial.data.len().max(offset + bytes), 0);
                let mut at = offset;
                for piece in data {
                    partial.data[at..at + piece.len()].copy_from_slice(&piece);
                    at += piece.len();
                }
            }
            FileOp::Sync { file } if std::mem::take(&mut self.fail_sync) => {
                // What it could not make durable is lost, as kernels do it.
                let partial = self.partials.entry(file).or_default();
                partial.data = partial.synced.clone();
                return Err(FileError::Io);
            }
            FileOp::Sync { file } => {
                let partial = self.partials.get_mut(&file).ok_or(FileError::NotFound)?;
                partial.synced = partial.data.clone();
            }
            FileOp::Hash { file, length } => {
                let empty = Partial::default();
                let partial = self.partials.get(&file).unwrap_or(&empty);
                let length = usize::try_from(length).unwrap();
                let data = partial.synced.get(..length).ok_or(FileError::NotFound)?;
                return Ok(FileOutcome::Hashed(Sha256::digest(data).into()));
            }
            FileOp::Keep { file, content, length } => {
                let empty = Partial::default();
                let partial = self.partials.get(&file).unwrap_or(&empty);
                let data = partial.synced[..usize::try_from(length).unwrap()].to_vec();
                assert_eq!(
                    <[u8; 32]>::from(Sha256::digest(&data)),
                    content.0,
                    "a content is what it is called"
                );
                self.contents.insert(content, data);
            }
            FileOp::Read { content, offset, length } => {
                let data = self.contents.get(&content).ok_or(FileError::NotFound)?;
                let offset = usize::try_from(offset).unwrap();
                return Ok(FileOutcome::Data(Bytes::copy_from_slice(&data[offset..offset + length])));
            }
            FileOp::Cut { file, length } => {
                let length = usize::try_from(length).unwrap();
                if let Some(partial) = self.partials.get_mut(&file) {
                    partial.data.truncate(length);
                    partial.synced.truncate(length);
                }
            }
            FileOp::Discard { file } if self.stuck.is_some_and(|stuck| file <= stuck) => {
                return Err(FileError::Io);
            }
            FileOp::Discard { file } => drop(self.partials.remove(&file)),
            FileOp::Delete { content } => drop(self.contents.remove(&content)),
        }
        Ok(FileOutcome::Done)
    }

    pub fn crash(&mut self) {
        for partial in self.partials.values_mut() {
            partial.data = partial.synced.clone();
        }
    }
}

/// What an exchange was answered.
#[derive(Default, Debug)]
pub struct Got {
    pub head: Option<Response<()>>,
    pub body: Vec<u8>,
    pub ended: bool,
    pub reset: bool,
    /// Bytes that were given back.
    pub consumed: usize,
    pub given: usize,
    /// It was said that its body is wanted.
    pub wanted: bool,
    pieces: usize,
}

impl Got {
    #[track_caller]
    pub fn status(&self) -> u16 {
        self.head.as_ref().expect("an answer").status().as_u16()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.as_ref()?.headers().get(name)?.to_str().ok()
    }

    #[track_caller]
    pub fn offset(&self) -> u64 {
        self.header("upload-offset").expect("an offset").parse().unwrap()
    }

    #[track_caller]
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let text = String::from_utf8(self.body.clone()).unwrap();
        let (_, rest) = text.split_once("\"code\":\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }
}

pub struct Bench {
    pub web: Web,
    pub store: MemoryStore,
    pub disk: Disk,
    pub now: Now,
    config: WebConfig,
    pub people: Vec<DeviceInfo>,
    pub got: BTreeMap<ExchangeId, Got>,
    /// While set, work on files waits here.
    pub hold: bool,
    pub held: VecDeque<(OpId, FileOp)>,
    /// While set, transactions wait here.
    pub hold_store: bool,
    pub held_store: VecDeque<(OpId, Txn)>,
    /// Work that is done, and was not told yet.
    late: Vec<(OpId, Result<FileOutcome, FileError>)>,
    /// While set, nobody reads bodies of answers.
    pub deaf: bool,
    pub events: Vec<WebEvent>,
    last: u64,
    starts: u8,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(WebConfig::default())
    }

    pub fn with(config: WebConfig) -> Self {
        let now = Now { mono: ntproto_core::time::Instant::from_micros(1_000), unix: UnixMillis(START) };
        let mut store = MemoryStore::new();
        store.commit(&[Txn::Boot { wall: now.unix, epoch: [1; 16] }]);
        let enrol = |n: u8| {
            let device = NewDevice {
                id: DeviceId([n; 16]),
                signing_key: [n; 32],
                static_key: [n ^ 0xff; 32],
                name: "device".into(),
            };
            Txn::Enrol { via: EnrolVia::Open, device, now: now.unix }
        };
        let people = store
            .commit(&[enrol(1), enrol(2), enrol(3)])
            .into_iter()
            .map(|answer| match answer {
                Ok(Outcome::Enrolled(device)) => device,
                other => panic!("{other:?}"),
            })
            .collect();
        let people: Vec<DeviceInfo> = people;
        let via = EnrolVia::Link {
            uin: people[0].uin,
            device_id: people[0].id,
            nonce: [4; 16],
            expires: UnixMillis(START + 1),
        };
        let second = NewDevice {
            id: DeviceId([4; 16]),
            signing_key: [4; 32],
            static_key: [0xfb; 32],
            name: "another".into(),
        };
        let second = store.commit(&[Txn::Enrol { via, device: second, now: now.unix }]).pop();
        let Some(Ok(Outcome::Enrolled(second))) = second else { panic!("a link adds a device") };
        let people = people.into_iter().chain([second]).collect();
        let mut bench = Self {
            web: Web::new(config, [1; 32]),
            store,
            disk: Disk::default(),
            now,
            config,
            people,
            got: BTreeMap::new(),
            hold: false,
            held: VecDeque::new(),
            hold_store: false,
            held_store: VecDeque::new(),
            late: Vec::new(),
            deaf: false,
            events: Vec::new(),
            last: 0,
            starts: 1,
        };
        bench.web.handle(now, Input::Ready(true));
        bench.run();
        bench
    }

    /// The server dies, and starts again on what is durable.
    pub fn crash(&mut self) {
        self.disk.crash();
        self.held.clear();
        self.hold_store = false;
        self.held_store.clear();
        self.late.clear();
        self.starts += 1;
        self.web = Web::new(self.config, [self.starts; 32]);
        for got in self.got.values_mut() {
            got.reset = true;
        }
        self.web.handle(self.now, Input::Ready(true));
        self.run();
    }

    pub fn conversation(&self) -> ConversationId {
        ConversationId::direct(self.people[0].uin, self.people[1].uin)
    }

    /// What one of the people shows.
    pub fn token(person: usize) -> String {
        let bearer = Bearer { session_id: [person as u8; 16], token: Secret::new([9; 32]) };
        format!("Bearer {}", bearer.text().as_str())
    }

    fn who(&self, shown: &Bearer) -> Option<Who> {
        // The fourth is a second device of the first.
        let person = self.people.get(usize::from(shown.session_id[0]))?;
        let conn = ConnId(u64::from(shown.session_id[0]));
        Some(Who { uin: person.uin, device: person.id, conn })
    }

    /// Lets everything settle.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            match self.web.poll_output(self.now) {
                Output::Wait { .. } => return,
                output => self.output(output),
            }
        }
        panic!("it never waits");
    }

    fn output(&mut self, output: Output) {
        let now = self.now;
        match output {
            Output::Respond { exchange, head, end } => {
                let got = self.got.entry(exchange).or_default();
                assert!(got.head.is_none(), "an exchange has one answer");
                got.ended = end;
                got.head = Some(head);
            }
            Output::Body { exchange, data, end } => {
                let got = self.got.get_mut(&exchange).expect("a head comes first");
                assert!(!got.ended && !data.is_empty());
                got.body.extend_from_slice(&data);
                got.ended = end;
                got.pieces += 1;
                if !end && !self.deaf {
                    self.web.handle(now, Input::Room { exchange });
                }
            }
            Output::Continue { exchange } => {
                let got = self.got.entry(exchange).or_default();
                assert!(
                    !got.wanted && got.given == 0 && got.head.is_none(),
                    "said once, and before all else"
                );
                got.wanted = true;
            }
            Output::Consumed { exchange, bytes } => {
                let got = self.got.entry(exchange).or_default();
                got.consumed += bytes;
                assert!(got.consumed <= got.given, "more was given back than was given");
            }
            Output::Reset { exchange } => self.got.entry(exchange).or_default().reset = true,
            Output::Store { op, txn } if self.hold_store => self.held_store.push_back((op, txn)),
            Output::Store { op, txn } => {
                let result = self.store.commit(&[txn]).pop().expect("one answer");
                self.web.handle(now, Input::StoreDone { op, result });
            }
            Output::File { op, what } if self.hold => self.held.push_back((op, what)),
            Output::File { op, what } => {
                let result = self.disk.run(what);
                self.web.handle(now, Input::FileDone { op, result });
            }
            Output::Bearer { op, shown } => {
                let result = self.who(&shown);
                self.web.handle(now, Input::Bearer { op, result });
            }
            Output::Event(event) => self.events.push(event),
            Output::Wait { .. } => unreachable!(),
        }
    }

    pub fn ready(&mut self, ready: bool) {
        self.web.handle(self.now, Input::Ready(ready));
        self.run();
    }

    /// Does the work on files that was held.
    pub fn release(&mut self) {
        self.hold = false;
        while let Some((op, what)) = self.held.pop_front() {
            let result = self.disk.run(what);
            self.web.handle(self.now, Input::FileDone { op, result });
            self.run();
        }
        self.tell_late();
    }

    /// Does the transactions that were held.
    pub fn release_store(&mut self) {
        self.hold_store = false;
        while let Some((op, txn)) = self.held_store.pop_front() {
            let result = self.store.commit(&[txn]).pop().expect("one answer");
            self.web.handle(self.now, Input::StoreDone { op, result });
            self.run();
        }
    }

    /// The store says no to what waits first.
    pub fn refuse(&mut self, error: StoreError) {
        let (op, _) = self.held_store.pop_front().expect("something waits");
        self.web.handle(self.now, Input::StoreDone { op, result: Err(error) });
        self.run();
    }

    fn tell_late(&mut self) {
        for (op, result) in std::mem::take(&mut self.late) {
            self.web.handle(self.now, Input::FileDone { op, result });
            self.run();
        }
    }

    /// Does one piece of it; that it is done is told after the next one.
    pub fn release_late(&mut self) {
        if let Some((op, what)) = self.held.pop_front() {
            let result = self.disk.run(what);
            self.late.push((op, result));
        }
    }

    /// Does one piece of it.
    pub fn release_one(&mut self) -> bool {
        let Some((op, what)) = self.held.pop_front() else {
            self.tell_late();
            return false;
        };
        let result = self.disk.run(what);
        self.web.handle(self.now, Input::FileDone { op, result });
        self.run();
        self.tell_late();
        true
    }

    /// A request begins: of the person, on the carrier.
    pub fn head(
        &mut self,
        person: usize,
        carrier: u64,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        end: bool,
    ) -> ExchangeId {
        self.last += 1;
        let exchange = ExchangeId(self.last);
        let mut request = Request::builder().method(method).uri(target);
        if person < 10 {
            request = request.header("authorization", Self::token(person));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        self.got.insert(exchange, Got::default());
        let remote = "192.0.2.1:4711".parse().unwrap();
        let carrier = CarrierId(carrier);
        self.web.handle(self.now, Input::Head { exchange, carrier, remote, request, end });
        self.run();
        exchange
    }

    /// A piece of a body, as far as the machine takes it. Answers how much that was.
    pub fn data(&mut self, exchange: ExchangeId, data: &[u8]) -> usize {
        let mut at = 0;
        while at < data.len() {
            let got = self.got.get_mut(&exchange).unwrap();
            let room = WINDOW - (got.given - got.consumed);
            if room == 0 || got.reset || got.ended {
                break;
            }
            let piece = &data[at..(at + room.min(16 * 1024)).min(data.len())];
            got.given += piece.len();
            at += piece.len();
            let data = Bytes::copy_from_slice(piece);
            self.web.handle(self.now, Input::Data { exchange, data });
            self.run();
        }
        assert!(self.web.held_bytes() <= 2 * WINDOW * self.web.exchanges().max(1));
        at
    }

    pub fn end(&mut self, exchange: ExchangeId) {
        self.web.handle(self.now, Input::End { exchange });
        self.run();
    }

    pub fn gone(&mut self, exchange: ExchangeId) {
        self.web.handle(self.now, Input::Gone { exchange });
        self.run();
    }

    pub fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.now.unix = self.now.unix + time;
        self.web.handle(self.now, Input::Timeout);
        self.run();
    }

    /// A whole request on a connection of its own.
    pub fn ask(
        &mut self,
        person: usize,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Got {
        let carrier = 1_000 + self.last;
        self.ask_on(person, carrier, method, target, headers, body)
    }

    /// A whole request.
    pub fn ask_on(
        &mut self,
        person: usize,
        carrier: u64,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Got {
        let exchange = self.head(person, carrier, method, target, headers, body.is_empty());
        if !body.is_empty() {
            self.data(exchange, body);
            self.end(exchange);
        }
        self.got.remove(&exchange).unwrap()
    }

    /// Begins an upload of the first person's, to be shared with the second.
    pub fn create(&mut self, headers: &[(&str, &str)]) -> Got {
        let target = format!("/v2/files?conversation={}", base64url(&self.conversation().0));
        self.ask(0, "POST", &target, headers, b"")
    }

    /// The same with a length; answers where it is.
    #[track_caller]
    pub fn upload(&mut self, length: usize) -> String {
        let made = self.create(&[("upload-length", &length.to_string())]);
        assert_eq!(made.status(), 201);
        made.header("location").unwrap().to_owned()
    }

    /// The whole file in one chunk.
    #[track_caller]
    pub fn file(&mut self, data: &[u8]) -> String {
        let at = self.upload(data.len());
        let range = range(0, data.len(), None);
        let got = self.ask(0, "PATCH", &at, &[("content-range", &range)], data);
        assert_eq!((got.status(), got.header("upload-complete")), (204, Some("?1")));
        at
    }

    #[track_caller]
    pub fn offset(&mut self, at: &str) -> u64 {
        self.ask(0, "HEAD", at, &[], b"").offset()
    }

    /// The store's records fit each other, and nothing lies on the disk that the store does not know.
    #[track_caller]
    pub fn check(&mut self) {
        let verified = verify(self.store.tables(), &mut |_| true).unwrap();
        assert!(verified.complete && verified.faults.is_empty(), "{:?}", verified.faults);
    }

    /// Whatever was ended is removed.
    pub fn sweep(&mut self) {
        for _ in 0..3 {
            self.pass(ntproto_web::config::SWEEP_TIME);
        }
    }
}

pub fn range(start: usize, end: usize, total: Option<usize>) -> String {
    let total = total.map_or("*".to_owned(), |total| total.to_string());
    format!("bytes {start}-{}/{total}", end - 1)
}

/// Bytes that are not all the same.
pub fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        })
        .collect()
}
