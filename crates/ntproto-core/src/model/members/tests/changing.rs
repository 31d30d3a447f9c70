//! A group that changes while it is read: its slots move as a server's do, its changes are kept for a while only, answers are late, lost, refused.

use super::*;
use crate::time::Instant;
use alloc::collections::BTreeMap;
use core::time::Duration;
use ntproto_proto::v2::{Group, GroupChangesResponse, GroupDelta, GroupMembersResponse};

/// The group as its server has it.
#[derive(Default)]
struct Server {
    version: u64,
    slots: Vec<Member>,
    log: Vec<GroupChange>,
    /// How many changes are kept.
    keeps: usize,
    /// The true list of every version.
    truth: BTreeMap<u64, Vec<Member>>,
}

#[derive(Clone, Debug)]
enum Turn {
    Add(u64),
    Remove(usize),
    Update(usize),
    Profile,
}

impl Server {
    fn new(members: u64, keeps: usize) -> Self {
        let mut server = Self { keeps, ..Self::default() };
        server.slots = (0..members).map(|uin| member(uin * 2, "")).collect();
        server.truth.insert(0, server.sorted());
        server
    }

    fn sorted(&self) -> Vec<Member> {
        let mut all = self.slots.clone();
        all.sort_by_key(|member| member.uin);
        all
    }

    fn log(&mut self, kind: GroupChangeKind, member: Option<Member>) {
        self.version += 1;
        let group = (kind == GroupChangeKind::Group).then(Group::default);
        self.log.push(GroupChange { version: self.version, kind: kind.into(), member, group });
        if self.log.len() > self.keeps {
            self.log.remove(0);
        }
        // A move of slots is a version of its own: between the two the list is what it was.
        self.truth.insert(self.version, self.sorted());
    }

    fn turn(&mut self, turn: &Turn) {
        match *turn {
            Turn::Add(uin) => {
                if self.slots.iter().all(|m| m.uin != uin) {
                    self.slots.push(member(uin, "new"));
                    self.log(GroupChangeKind::Add, Some(member(uin, "new")));
                }
            }
            Turn::Remove(n) if !self.slots.is_empty() => {
                let n = n % self.slots.len();
                let gone = self.slots.swap_remove(n);
                self.log(GroupChangeKind::Remove, Some(member(gone.uin, "")));
                if let Some(moved) = self.slots.get(n).cloned() {
                    self.log(GroupChangeKind::Update, Some(moved));
                }
            }
            Turn::Update(n) if !self.slots.is_empty() => {
                let n = n % self.slots.len();
                self.slots[n].nick += "x";
                let member = self.slots[n].clone();
                self.log(GroupChangeKind::Update, Some(member));
            }
            Turn::Profile => self.log(GroupChangeKind::Group, None),
            Turn::Remove(_) | Turn::Update(_) => {}
        }
    }

    fn answer(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Page { page, size } => {
                let all = self.slots.chunks(size as usize).nth(page as usize).unwrap_or_default();
                let count = self.slots.len() as u32;
                Answer::Page(
                    page,
                    GroupMembersResponse { members: all.to_vec(), version: self.version, count },
                )
            }
            Ask::Changes { since, limit } => {
                let limit = limit.min(5) as usize;
                let oldest = self.log.first().map_or(self.version, |change| change.version - 1);
                if since < oldest {
                    let version = self.version;
                    return Answer::Changes(GroupChangesResponse {
                        too_old: true,
                        version,
                        ..Default::default()
                    });
                }
                let all: Vec<_> = self.log.iter().filter(|change| change.version > since).cloned().collect();
                let has_more = all.len() > limit;
                let changes: Vec<_> = all.into_iter().take(limit).collect();
                Answer::Changes(GroupChangesResponse {
                    changes,
                    version: self.version,
                    has_more,
                    too_old: false,
                })
            }
        }
    }

    fn delta(&self, from: u64) -> GroupDelta {
        let changes = self.log.iter().filter(|change| change.version > from).cloned().collect();
        GroupDelta { group: 1, from_version: from, version: self.version, changes }
    }
}

#[derive(Clone, Debug)]
enum Answer {
    Page(u32, GroupMembersResponse),
    Changes(GroupChangesResponse),
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        3 => (0..80u64).prop_map(Turn::Add),
        3 => any::<usize>().prop_map(Turn::Remove),
        2 => any::<usize>().prop_map(Turn::Update),
        1 => Just(Turn::Profile),
    ]
}

/// What happens between the server and who reads.
#[derive(Clone, Debug)]
enum Op {
    Turn(Turn),
    /// The server answers one of what it was asked, ...
    Serve(usize),
    /// ... or refuses it.
    Refuse(usize, u64),
    /// One of its answers arrives.
    Arrive(usize),
    /// A push arrives, of what changed since the last one; or gets lost.
    Push(bool),
    Wait(u64),
    Break,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => turn().prop_map(Op::Turn),
        6 => any::<usize>().prop_map(Op::Serve),
        2 => (any::<usize>(), 0..2_000u64).prop_map(|(n, ms)| Op::Refuse(n, ms)),
        6 => any::<usize>().prop_map(Op::Arrive),
        3 => prop::bool::weighted(0.7).prop_map(Op::Push),
        2 => (0..1_500u64).prop_map(Op::Wait),
        1 => Just(Op::Break),
    ]
}

fn later(now: Instant, ms: u64) -> Instant {
    now + Duration::from_millis(ms)
}

proptest! {
    /// However the group changes and its answers come, what is read is what was true at the version it says.
    //= proof: groups-4
    #[test]
    fn what_is_read_is_true(members in 0..60u64, keeps in 10..200usize, size in 1..8u32, ops in prop::collection::vec(op(), 0..250)) {
        let mut server = Server::new(members, keeps);
        let mut fetch = Fetch::new(size);
        let (mut now, mut asked, mut answers) = (Instant::ORIGIN, Vec::new(), Vec::new());
        let mut done = None;
        // In the end everything is answered, and nothing changes any more.
        let end = (0..2_000).flat_map(|_| [Op::Serve(0), Op::Arrive(0), Op::Wait(500)]);
        for op in ops.into_iter().chain(end) {
            while let Some(ask) = fetch.poll(now) {
                asked.push(ask);
            }
            prop_assert!(fetch.window() >= 1 && fetch.window() <= MAX_CONCURRENCY);
            prop_assert!(asked.len() + answers.len() <= MAX_CONCURRENCY);
            match op {
                Op::Turn(turn) => server.turn(&turn),
                Op::Serve(n) if !asked.is_empty() => answers.push(server.answer(asked.swap_remove(n % asked.len()))),
                Op::Refuse(n, ms) if !asked.is_empty() => {
                    let before = fetch.window();
                    fetch.refused(now, asked.swap_remove(n % asked.len()), Duration::from_millis(ms));
                    prop_assert_eq!(fetch.window(), (before / 2).max(1));
                    prop_assert!(ms == 0 || fetch.poll(now).is_none());
                }
                Op::Arrive(n) if !answers.is_empty() => {
                    match answers.swap_remove(n % answers.len()) {
                        Answer::Page(page, answer) => fetch.page(page, answer).unwrap(),
                        Answer::Changes(answer) => match fetch.changes(answer) {
                            Ok(Some(snapshot)) => {
                                done = Some(snapshot);
                                break;
                            }
                            Ok(None) => {}
                            Err(fault) => {
                                prop_assert_eq!(fault, Fault::Restless);
                                return Ok(());
                            }
                        },
                    }
                }
                Op::Wait(ms) => now = later(now, ms),
                Op::Break => {
                    fetch.disconnected();
                    asked.clear();
                    answers.clear();
                }
                _ => {}
            }
        }
        let done = done.expect("it comes to an end");
        prop_assert_eq!(&server.truth[&done.version], &done.members);
    }

    /// Whatever is lost, a listener ends with the list of the last version it heard of; and what it told leads there.
    //= proof: groups-3
    #[test]
    fn a_listener_catches_up(members in 0..30u64, keeps in 3..100usize, size in 1..8u32, ops in prop::collection::vec(op(), 0..200)) {
        let mut server = Server::new(members, keeps);
        let mut listener = Listener::new(server.sorted(), 0, size);
        let mut mirror = server.sorted();
        let (mut now, mut asked, mut answers, mut pushed) = (Instant::ORIGIN, Vec::new(), Vec::new(), 0);
        let end = (0..1_000).flat_map(|n| {
            // A connection that comes back tells the version; a fetch that gave up is tried again by it.
            let hear = if n % 50 == 0 { Op::Break } else { Op::Wait(500) };
            [hear, Op::Serve(0), Op::Arrive(0)]
        });
        for op in ops.into_iter().chain(end) {
            while let Some(ask) = listener.poll(now) {
                asked.push(ask);
            }
            prop_assert!(asked.len() + answers.len() <= MAX_CONCURRENCY);
            let told = match op {
                Op::Turn(turn) => {
                    server.turn(&turn);
                    None
                }
                Op::Serve(n) if !asked.is_empty() => {
                    answers.push(server.answer(asked.swap_remove(n % asked.len())));
                    None
                }
                Op::Refuse(n, ms) if !asked.is_empty() => {
                    listener.refused(now, asked.swap_remove(n % asked.len()), Duration::from_millis(ms));
                    None
                }
                Op::Arrive(n) if !answers.is_empty() => match answers.swap_remove(n % answers.len()) {
                    Answer::Page(page, answer) => {
                        listener.page(page, answer).unwrap();
                        None
                    }
                    Answer::Changes(answer) => listener.changes(answer).unwrap_or_else(|fault| {
                        assert_eq!(fault, Fault::Restless);
                        None
                    }),
                },
                Op::Push(arrives) => {
                    let kept = server.log.first().is_none_or(|change| change.version <= pushed + 1);
                    let delta = server.delta(pushed);
                    pushed = server.version;
                    (arrives && kept).then(|| listener.delta(delta)).flatten()
                }
                Op::Wait(ms) => {
                    now = later(now, ms);
                    None
                }
                Op::Break => {
                    listener.disconnected();
                    asked.clear();
                    answers.clear();
                    listener.hear(server.version);
                    None
                }
                _ => None,
            };
            if let Some(told) = told {
                prop_assert_eq!(told.version, listener.version());
                mirror = apply(&mirror, told.changes);
            }
            prop_assert_eq!(&mirror[..], listener.members());
            prop_assert_eq!(&server.truth[&listener.version()][..], listener.members());
        }
        prop_assert!(listener.is_current());
        prop_assert_eq!(listener.version(), server.version);
    }
}

#[test]
fn refusals_halve_and_answers_add_one() {
    let mut fetch = Fetch::new(1);
    let now = Instant::ORIGIN;
    let first = fetch.poll(now).unwrap();
    assert_eq!((first, fetch.poll(now)), (Ask::Page { page: 0, size: 1 }, None));
    let page = |n| GroupMembersResponse { members: vec![member(n, "")], version: 1, count: 100 };
    fetch.page(0, page(0)).unwrap();
    let mut asked: Vec<_> = core::iter::from_fn(|| fetch.poll(now)).collect();
    assert_eq!(asked.len(), MAX_CONCURRENCY);
    fetch.refused(now, asked.pop().unwrap(), Duration::from_secs(1));
    assert_eq!((fetch.window(), fetch.next_timer()), (5, Some(later(now, 1_000))));
    // Nine are still on their way: nothing is asked until fewer are than the window allows, and the second has passed.
    let now = later(now, 1_000);
    for n in 1..=3 {
        assert_eq!(fetch.poll(now), None);
        let Ask::Page { page: which, .. } = asked.remove(0) else { panic!() };
        fetch.page(which, page(n)).unwrap();
    }
    assert_eq!(fetch.window(), 8);
    assert_eq!(fetch.poll(now), Some(Ask::Page { page: 10, size: 1 }), "the refused one first");
}

#[test]
fn what_no_server_sends_ends_it() {
    let now = Instant::ORIGIN;
    let start = || {
        let mut fetch = Fetch::new(1);
        fetch.poll(now).unwrap();
        fetch
    };
    let page = |members: usize, count| GroupMembersResponse {
        members: vec![member(1, ""); members],
        version: 9,
        count,
    };
    assert_eq!(start().page(0, page(2, 2)), Err(Fault::TooMany));
    assert_eq!(start().page(0, page(1, MAX_MEMBERS as u32 + 1)), Err(Fault::TooMany));
    assert_eq!(start().page(7, page(2, 2)), Ok(()), "what was not asked is not looked at");

    let answered = || {
        let mut fetch = start();
        fetch.page(0, page(1, 1)).unwrap();
        assert_eq!(fetch.poll(now), Some(Ask::Changes { since: 9, limit: 1_000 }));
        fetch
    };
    let changes = |versions: &[u64], version, has_more| GroupChangesResponse {
        changes: versions.iter().map(|&version| GroupChange { version, ..Default::default() }).collect(),
        version,
        has_more,
        too_old: false,
    };
    assert_eq!(answered().changes(changes(&[11], 11, false)), Err(Fault::Versions));
    assert_eq!(answered().changes(changes(&[10], 11, false)), Err(Fault::Versions));
    assert_eq!(answered().changes(changes(&[], 8, false)), Err(Fault::Versions));
    assert_eq!(answered().changes(changes(&[], 9, true)), Err(Fault::Versions));
    assert!(answered().changes(changes(&[10], 10, false)).unwrap().is_some());
    let too_old = GroupChangesResponse { too_old: true, ..Default::default() };
    let mut fetch = answered();
    for n in 0..4 {
        assert_eq!(fetch.changes(too_old.clone()), if n < 3 { Ok(None) } else { Err(Fault::Restless) });
        if n < 3 {
            fetch.poll(now).unwrap();
            fetch.page(0, page(1, 1)).unwrap();
            fetch.poll(now).unwrap();
        }
    }
}
