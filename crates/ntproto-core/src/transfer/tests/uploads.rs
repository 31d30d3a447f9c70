use super::upload::{Plan, Upload};
use super::*;

fn plan(size: u64) -> Plan {
    let conversation = ConversationId::direct(Uin(10001), Uin(10002));
    Plan { upload_id: UploadId([7; 16]), conversation, size, sha256: HASH }
}

fn new(size: u64) -> Upload {
    Upload::new(plan(size), Rng::new([1; 32]))
}

const FILE: FileId = FileId([3; 16]);

/// An upload whose place is made: what it asks next are chunks.
fn placed(size: u64) -> (Upload, Vec<(AskId, Ask)>) {
    let mut upload = new(size);
    let made = asks(&drain(&mut upload, now()));
    assert_eq!(made[0].1, Ask::Create);
    upload.handle(now(), Input::Answer(made[0].0, Answer::Created { file: FILE, offset: 0, done: None }));
    let outputs = drain(&mut upload, now());
    assert!(outputs.contains(&Output::Save));
    let asked = asks(&outputs);
    (upload, asked)
}

fn fault(upload: &mut Upload, id: AskId, fault: Fault) -> Vec<Output> {
    upload.handle(now(), Input::Answer(id, Answer::Fault(fault)));
    drain(upload, now())
}

#[test]
fn several_chunks_are_under_way_and_no_more_than_one_break_may_cost() {
    let (mut upload, asked) = placed(20_000_000);
    assert_eq!(asked.len(), MAX_FLIGHTS);
    for (n, (_, ask)) in asked.iter().enumerate() {
        let offset = n as u64 * MIN_CHUNK;
        assert_eq!(*ask, Ask::Chunk { file: FILE, offset, len: MIN_CHUNK });
    }
    // The first one is there: there is room for what a quick path takes.
    upload.handle(now(), Input::Moved(asked[0].0, MIN_CHUNK));
    upload.handle(now(), Input::Answer(asked[0].0, Answer::Stored { offset: MIN_CHUNK, done: None }));
    let outputs = drain(&mut upload, now());
    let progress = Progress { confirmed: MIN_CHUNK, moving: 0, total: 20_000_000, again: 0 };
    assert_eq!(outputs[0], Output::Event(Event::Progress(progress)));
    let bytes: u64 = 4 * MIN_CHUNK + asks(&outputs).iter().map(|(_, ask)| len(ask)).sum::<u64>();
    assert!(bytes <= MAX_CHUNK);
}

fn len(ask: &Ask) -> u64 {
    if let Ask::Chunk { len, .. } = ask { *len } else { 0 }
}

#[test]
fn an_empty_file_is_a_chunk_of_nothing() {
    let (mut upload, asked) = placed(0);
    assert_eq!(asked.iter().map(|(_, ask)| len(ask)).collect::<Vec<_>>(), [0]);
    upload.handle(now(), Input::Answer(asked[0].0, Answer::Stored { offset: 0, done: Some(HASH) }));
    assert_eq!(ended(&drain(&mut upload, now())), Some(Ok(())));
}

#[test]
fn a_server_that_still_hashes_is_asked_again_later() {
    let (mut upload, asked) = placed(5);
    upload.handle(now(), Input::Answer(asked[0].0, Answer::Stored { offset: 5, done: None }));
    let outputs = drain(&mut upload, now());
    let Some(Output::Wait(Some(at), WaitReason::Pause)) = outputs.last() else { panic!("{outputs:?}") };
    assert!(*at >= now() + SETTLE);
    let asked = asks(&drain(&mut upload, *at));
    assert_eq!(asked[0].1, Ask::Offset(FILE));
    upload.handle(*at, Input::Answer(asked[0].0, Answer::Stored { offset: 5, done: Some(HASH) }));
    assert_eq!(ended(&drain(&mut upload, *at)), Some(Ok(())));
}

#[test]
fn a_token_that_died_is_replaced_and_a_third_new_one_refused_is_the_end() {
    let (mut upload, asked) = placed(9_000_000);
    let mut outputs = fault(&mut upload, asked[0].0, Fault::Unauthorized);
    for _ in 0..3 {
        assert!(outputs.contains(&Output::Token), "{outputs:?}");
        assert_eq!(outputs.last(), Some(&Output::Wait(None, WaitReason::Token)));
        upload.handle(now(), Input::Token);
        let asked = asks(&drain(&mut upload, now()));
        assert_eq!(asked[0].1, Ask::Offset(FILE));
        outputs = fault(&mut upload, asked[0].0, Fault::Unauthorized);
    }
    assert_eq!(ended(&outputs), Some(Err(Failure::Unauthorized)));
    assert_eq!(drain(&mut upload, now()), [Output::Wait(None, WaitReason::Over)]);
}

/// Tokens of sessions that are short, or whose connections are, die one after the other without being wrong.
#[test]
fn tokens_that_were_taken_or_had_to_wait_do_not_count_as_refused() {
    let (mut upload, mut asked) = placed(9_000_000);
    let mut at = now();
    for round in 0..MAX_TRIES / 2 - 1 {
        let answer = |fault| Input::Answer(asked[0].0, Answer::Fault(fault));
        upload.handle(at, answer(Fault::Unauthorized));
        assert!(drain(&mut upload, at).contains(&Output::Token), "round {round}");
        upload.handle(at, Input::Token);
        let looks = asks(&drain(&mut upload, at));
        if round % 2 == 0 {
            // Taken, but it brings nothing on.
            upload.handle(at, Input::Answer(looks[0].0, Answer::Stored { offset: 0, done: None }));
        } else {
            upload.handle(at, Input::Answer(looks[0].0, Answer::Fault(Fault::Lost)));
            let outputs = drain(&mut upload, at);
            let Some(Output::Wait(Some(pause), WaitReason::Pause)) = outputs.last() else {
                panic!("{outputs:?}")
            };
            at = *pause;
        }
        asked = asks(&drain(&mut upload, at));
    }
}

#[test]
fn what_is_gone_begins_anew_once_under_the_same_id() {
    let (mut upload, asked) = placed(9_000_000);
    let outputs = fault(&mut upload, asked[1].0, Fault::Gone);
    let dropped = outputs.iter().filter(|o| matches!(o, Output::Drop(_))).count();
    assert_eq!(dropped, asked.len());
    let again = asks(&outputs);
    assert_eq!(again[0].1, Ask::Create);
    assert_eq!(ended(&fault(&mut upload, again[0].0, Fault::Gone)), Some(Err(Failure::Gone)));
}

#[test]
fn another_hash_is_sent_again_once() {
    let (mut upload, asked) = placed(5);
    upload.handle(now(), Input::Answer(asked[0].0, Answer::Stored { offset: 5, done: Some([0; 32]) }));
    let again = asks(&drain(&mut upload, now()));
    assert_eq!(again[0].1, Ask::Create);
    upload.handle(now(), Input::Answer(again[0].0, Answer::Created { file: FILE, offset: 6, done: None }));
    assert_eq!(ended(&drain(&mut upload, now())), Some(Err(Failure::Mismatch)));
}

#[test]
fn some_refusals_are_final_and_others_are_waited_out() {
    for (why, failure) in
        [(Fault::Quota, Failure::Quota), (Fault::Refused("X".into()), Failure::Refused("X".into()))]
    {
        let (mut upload, asked) = placed(5);
        assert_eq!(ended(&fault(&mut upload, asked[0].0, why)), Some(Err(failure)));
    }
    let (mut upload, asked) = placed(5);
    let wait = Duration::from_secs(100);
    let outputs = fault(&mut upload, asked[0].0, Fault::Busy(wait));
    assert_eq!(outputs.last(), Some(&Output::Wait(Some(now() + wait), WaitReason::Pause)));
}

#[test]
fn nobody_is_asked_for_ever() {
    let (mut upload, asked) = placed(5);
    let (mut at, mut id, mut asked_for) = (now(), asked[0].0, 0);
    let result = loop {
        upload.handle(at, Input::Answer(id, Answer::Fault(Fault::Lost)));
        let mut outputs = drain(&mut upload, at);
        if let Some(result) = ended(&outputs) {
            break result;
        }
        // A full jitter may be none: then it was asked at once.
        if let Some(Output::Wait(Some(until), WaitReason::Pause)) = outputs.last() {
            at = *until;
            outputs = drain(&mut upload, at);
        }
        id = asks(&outputs)[0].0;
        asked_for += 1;
    };
    assert_eq!((result, asked_for), (Err(Failure::Unreachable), MAX_TRIES));
}

#[test]
fn silence_is_a_break() {
    let (mut upload, asked) = placed(5);
    let until = now() + QUIET;
    assert_eq!(drain(&mut upload, now()), [Output::Wait(Some(until), WaitReason::Answers)]);
    upload.handle(until, Input::Timeout);
    assert!(drain(&mut upload, until).contains(&Output::Drop(asked[0].0)));
}

#[test]
fn who_gives_up_says_so_to_the_server() {
    let (mut upload, asked) = placed(5);
    upload.cancel();
    upload.cancel();
    let outputs = drain(&mut upload, now());
    assert_eq!(outputs[0], Output::Drop(asked[0].0));
    let last = asks(&outputs);
    assert_eq!(last[0].1, Ask::Delete(FILE));
    upload.handle(now(), Input::Answer(last[0].0, Answer::Deleted));
    assert_eq!(ended(&drain(&mut upload, now())), Some(Err(Failure::Cancelled)));
    let mut unplaced = new(5);
    unplaced.cancel();
    assert_eq!(ended(&drain(&mut unplaced, now())), Some(Err(Failure::Cancelled)));
}

#[test]
fn a_state_that_is_none_is_no_upload() {
    let state = new(5).state();
    assert_eq!(Upload::resume(&state, Rng::new([0; 32])).unwrap().plan(), &plan(5));
    for broken in [
        ntproto_proto::store::UploadState { sha256: Bytes::new(), ..state.clone() },
        ntproto_proto::store::UploadState { upload_id: Bytes::new(), ..state.clone() },
        ntproto_proto::store::UploadState { conversation: Bytes::new(), ..state },
    ] {
        assert!(Upload::resume(&broken, Rng::new([0; 32])).is_none());
    }
}

use bytes::Bytes;

/// A server and the way to it.
struct World {
    now: Instant,
    rng: Rng,
    source: Vec<u8>,
    /// What there is of each file; what of it survives a kill.
    files: BTreeMap<FileId, (Vec<u8>, usize)>,
    by_upload: BTreeMap<UploadId, FileId>,
    next_file: u8,
    token: bool,
    /// Asked and not answered, in their order, with the bytes of a chunk that have arrived.
    under_way: Vec<(AskId, Ask, usize)>,
    received: usize,
    breaks: usize,
    restarts: usize,
}

impl World {
    fn content(&self) -> Option<&Vec<u8>> {
        self.by_upload.values().next().map(|file| &self.files[file].0)
    }

    /// What the server says of what it has.
    fn stored(&self, file: FileId) -> Answer {
        let Some((bytes, _)) = self.files.get(&file) else { return Answer::Fault(Fault::Gone) };
        let done =
            (bytes.len() == self.source.len()).then(|| if *bytes == self.source { HASH } else { [0; 32] });
        Answer::Stored { offset: bytes.len() as u64, done }
    }

    /// Some bytes of the first chunk that is not wholly there yet arrive.
    fn arrive(&mut self, upload: &mut Upload) {
        let Some((id, ask, arrived)) =
            self.under_way.iter_mut().find(|(_, ask, arrived)| (*arrived as u64) < len(ask))
        else {
            return;
        };
        let Ask::Chunk { file, offset, len } = *ask else { return };
        let Some((bytes, synced)) = self.files.get_mut(&file) else { return };
        if bytes.len() as u64 != offset + *arrived as u64 {
            return; // It waits for its turn, or will be told of a conflict.
        }
        let more = (self.rng.below(700_000) as usize + 1).min(len as usize - *arrived);
        bytes.extend_from_slice(&self.source[bytes.len()..][..more]);
        *arrived += more;
        *synced =
            if *arrived == len as usize { bytes.len() } else { (bytes.len() / SYNC * SYNC).max(*synced) };
        self.received += more;
        upload.handle(self.now, Input::Moved(*id, more as u64));
    }

    /// One ask is answered as it should be, if it can be.
    fn answer(&mut self, upload: &mut Upload, at: usize) {
        let Some((id, ask, arrived)) = self.under_way.get(at).cloned() else { return };
        let answer = match ask {
            _ if !self.token => Answer::Fault(Fault::Unauthorized),
            Ask::Create => {
                let next = &mut self.next_file;
                let file = *self.by_upload.entry(upload.plan().upload_id).or_insert_with(|| {
                    *next += 1;
                    FileId([*next; 16])
                });
                self.files.entry(file).or_default();
                let Answer::Stored { offset, done } = self.stored(file) else { panic!() };
                Answer::Created { file, offset, done }
            }
            Ask::Offset(file) => self.stored(file),
            Ask::Chunk { file, offset, len } => match self.files.get(&file) {
                None => Answer::Fault(Fault::Gone),
                Some((bytes, _)) if arrived as u64 == len => {
                    // Answers of earlier requests say what those brought.
                    let done = (bytes.len() as u64 == offset + len && bytes.len() == self.source.len())
                        .then_some(if *bytes == self.source { HASH } else { [0; 32] });
                    Answer::Stored { offset: offset + len, done }
                }
                Some((bytes, _)) if bytes.len() as u64 != offset + arrived as u64 && at == 0 => {
                    Answer::Fault(Fault::Conflict)
                }
                Some(_) => return,
            },
            _ => return,
        };
        self.under_way.remove(at);
        upload.handle(self.now, Input::Answer(id, answer));
    }

    /// Something goes wrong.
    fn strike(&mut self, upload: &mut Upload, saved: &ntproto_proto::store::UploadState) {
        let first = self.under_way.first().map(|(id, ..)| *id);
        let tell = |world: &mut Self, upload: &mut Upload, answer: Answer| {
            world.breaks += 1;
            if let Some(id) = first {
                upload.handle(world.now, Input::Answer(id, answer));
            }
        };
        match self.rng.below(10) {
            // The connection breaks.
            0 | 1 => tell(self, upload, Answer::Fault(Fault::Lost)),
            // The server is killed: what was not synced is gone, and so is the session.
            2 | 3 => {
                for (bytes, synced) in self.files.values_mut() {
                    bytes.truncate(*synced);
                }
                self.token = self.rng.below(2) == 0;
                tell(self, upload, Answer::Fault(Fault::Lost));
            }
            // The client is killed, and comes back with what it saved.
            4 | 5 => {
                self.breaks += 1;
                self.under_way.clear();
                *upload = Upload::resume(saved, self.rng.fork()).unwrap();
            }
            // An answer of long ago, or of nobody.
            6 => {
                let id = AskId(self.rng.below(50));
                if self.under_way.iter().all(|(other, ..)| *other != id) {
                    upload.handle(
                        self.now,
                        Input::Answer(id, Answer::Stored { offset: 3, done: Some([0; 32]) }),
                    );
                }
            }
            // A wrong offset.
            7 => {
                let offset = self.rng.below(self.source.len() as u64 + 10);
                if self
                    .under_way
                    .iter()
                    .any(|(_, ask, _)| matches!(ask, Ask::Chunk { offset: o, len, .. } if o + len != offset))
                {
                    tell(self, upload, Answer::Stored { offset, done: None });
                }
            }
            // The file is forgotten, once.
            8 if self.restarts == 0 => {
                self.restarts += 1;
                self.files.clear();
                self.by_upload.clear();
            }
            _ => tell(self, upload, Answer::Fault(Fault::Busy(Duration::from_secs(3)))),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever breaks, however often: the file is what it was, and a break costs a chunk.
    #[test]
    fn bytes_arrive_as_they_are(size in 0..12_000_000usize, seed: [u8; 32], strikes in 0..14usize) {
        let source = source(size);
        let mut upload = Upload::new(plan(size as u64), Rng::new(seed));
        let mut saved = upload.state();
        let mut world = World {
            now: now(), rng: Rng::new(seed), source, files: BTreeMap::new(), by_upload: BTreeMap::new(),
            next_file: 0, token: true, under_way: Vec::new(), received: 0, breaks: 0, restarts: 0,
        };
        let mut left = strikes;
        let mut steps = 0;
        let result = loop {
            steps += 1;
            prop_assert!(steps < 20_000, "it does not come to an end");
            let outputs = drain(&mut upload, world.now);
            for output in &outputs {
                match output {
                    Output::Ask(id, ask) => world.under_way.push((*id, ask.clone(), 0)),
                    Output::Drop(id) => world.under_way.retain(|(other, ..)| other != id),
                    Output::Token => world.token = true,
                    Output::Save => saved = upload.state(),
                    Output::Event(_) | Output::Wait(..) => {}
                }
            }
            if let Some(result) = ended(&outputs) {
                break result;
            }
            let bytes: u64 = world.under_way.iter().map(|(_, ask, _)| len(ask)).sum();
            prop_assert!(bytes <= MAX_CHUNK && world.under_way.len() <= MAX_FLIGHTS);
            match outputs.last() {
                Some(Output::Wait(None, WaitReason::Token)) => upload.handle(world.now, Input::Token),
                Some(Output::Wait(Some(at), WaitReason::Pause)) => world.now = *at,
                _ if left > 0 && world.rng.below(8) == 0 => {
                    left -= 1;
                    world.strike(&mut upload, &saved);
                }
                _ => {
                    world.now = world.now + Duration::from_millis(world.rng.below(400));
                    world.arrive(&mut upload);
                    // Mostly in order; not always.
                    let at = if world.rng.below(4) == 0 { 1 } else { 0 };
                    world.answer(&mut upload, at);
                }
            }
        };
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(world.content(), Some(&world.source));
        let again = world.received - size;
        let forgotten = world.restarts * size;
        prop_assert!(again <= world.breaks * MAX_CHUNK as usize + forgotten, "{again} again in {} breaks", world.breaks);
    }
}
