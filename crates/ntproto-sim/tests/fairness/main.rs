//! A noisy conversation delays no quiet one: the bound of docs/simulator.md, in virtual time, and that it is broken
//! where fairness is missing.
#![allow(clippy::unwrap_used)]

mod desk;

use std::time::Duration;

use bytes::Bytes;
use desk::{BATCH, Circumstances, Desk};
use ntproto_core::client::LANE_WINDOW;
use ntproto_core::ids::ConversationId;
use ntproto_core::rng::Rng;
use ntproto_hub::{HubConfig, Rate};

/// Runs of the test.
const SEEDS: u64 = 10;
/// Noisy messages that each noisy device has in its outbox from the start.
const BACKLOG: usize = 2_000;
/// Quiet words of each quiet chat.
const WORDS: u64 = 10;
/// When the noise begins: everybody is connected by then.
const NOISE_AT: u64 = 1_000_000;
/// Between two words.
const EVERY: u64 = 120_000;
/// Commits a quiet word may have to wait for: the one that runs, two of what the noisy conversation may send at once,
/// and its own.
const COMMITS: u64 = 4;
/// Bytes on the wire that a message takes beside its body, at most.
const OVERHEAD: usize = 160;
/// Noisy devices: two of each of two accounts.
const NOISY: usize = 4;
/// A friend of one of them, who is not in their group.
const FRIEND: usize = 4;
/// Two who have nothing to do with it.
const PAIR: [usize; 2] = [5, 6];
/// Two who are in the noisy group, and chat with each other.
const MEMBERS: [usize; 2] = [7, 8];

/// What is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// Order is kept over all that a device sends: its quiet words stand in the line of its noisy ones.
    OneLine,
    /// Anybody may send what they like.
    NoLimits,
}

/// The worst latency of the words of a pair beside the noise, of a noisy device's own quiet chat, and of two who read
/// the noise.
struct Worst {
    pair: u64,
    same: u64,
    members: u64,
}

fn circumstances(seed: u64) -> Circumstances {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut rng = Rng::new(bytes);
    let mut between = |low: u64, high: u64| low + rng.below(high - low + 1);
    Circumstances {
        delay: between(1_000, 60_000),
        bandwidth: between(1_000, 20_000),
        device_disk: between(100, 5_000),
        commit: between(2_000, 25_000),
        body: between(16, 2_048) as usize,
    }
}

/// The noisy group may send two commits of messages at once, and then a quarter of what the disk takes, and no more
/// than half of what its members' links carry.
fn limits(at: &Circumstances) -> HubConfig {
    let by_disk = BATCH as u64 * 1_000_000 / at.commit / 4;
    let by_link = at.bandwidth * 1_000 / (at.body + OVERHEAD) as u64 / 2;
    let rate = Rate::per_second(2 * BATCH as u32, u32::try_from(by_disk.min(by_link)).unwrap());
    HubConfig { conversation_messages: Some(rate), ..HubConfig::default() }
}

fn run(at: Circumstances, planted: Planted) -> Worst {
    let config = match planted {
        Planted::NoLimits => {
            HubConfig { conversation_messages: None, device_messages: None, ..HubConfig::default() }
        }
        Planted::Nothing | Planted::OneLine => limits(&at),
    };
    let mut desk = Desk::new(at, config, &[NOISY / 2, NOISY / 2, 1, 1, 1, 1, 1]);
    let noise = desk.group(&[0, NOISY - 1, MEMBERS[0], MEMBERS[1]]);
    let talk = |desk: &Desk, a, b| ConversationId::direct(desk.uin(a), desk.uin(b));
    let chats = [PAIR, [0, FRIEND], MEMBERS].map(|[from, to]| (from, to, talk(&desk, from, to)));
    for d in 0..NOISY {
        for n in 0..BACKLOG {
            let mut body = format!("{d} {n} ").into_bytes();
            body.resize(at.body.max(body.len()), b'!');
            desk.say(NOISE_AT, d, noise, body.into());
        }
    }
    let mut words: [Vec<(Bytes, usize)>; 3] = Default::default();
    for n in 0..WORDS {
        let when = NOISE_AT + 10_000 + n * EVERY;
        for (words, (from, to, talk)) in words.iter_mut().zip(chats) {
            let word = Bytes::from(format!("quietly, {from} {n}"));
            let one_line = planted == Planted::OneLine && to == FRIEND;
            let (talk, to) = if one_line { (noise, MEMBERS[0]) } else { (talk, to) };
            words.push((word.clone(), to));
            desk.say(when, from, talk, word);
        }
    }
    let end = NOISE_AT + WORDS * EVERY + 1_000_000;
    desk.run_until(end);
    assert!(desk.stored > 200, "{} messages are no noise", desk.stored);
    let worst = |words: &[(Bytes, usize)]| {
        let took = words.iter().map(|(word, receiver)| {
            desk.heard
                .iter()
                .find(|(d, body, _)| d == receiver && body == word)
                .map_or(end, |(.., took)| *took)
        });
        took.max().unwrap()
    };
    let [pair, same, members] = words.map(|words| worst(&words));
    Worst { pair, same, members }
}

/// The links and disks on the way, and the commits it may have to wait for.
fn bound_of_pair(at: &Circumstances) -> u64 {
    let word = (256 * 1_000_u64).div_ceil(at.bandwidth);
    2 * (at.device_disk + at.delay + word) + COMMITS * at.commit
}

/// The same, behind what its own device has under way.
fn bound_of_same(at: &Circumstances) -> u64 {
    let window = LANE_WINDOW * (at.body + OVERHEAD);
    bound_of_pair(at) + (window as u64 * 1_000).div_ceil(at.bandwidth)
}

/// The same, behind what a commit or two brings them of the noise, and the writes that it costs them.
fn bound_of_members(at: &Circumstances) -> u64 {
    let noise = 2 * BATCH * (at.body + OVERHEAD);
    bound_of_pair(at) + (noise as u64 * 1_000).div_ceil(at.bandwidth) + 2 * at.device_disk
}

fn ms(us: u64) -> Duration {
    Duration::from_micros(us)
}

#[test]
fn a_noisy_conversation_delays_no_quiet_one() {
    for seed in 1..=SEEDS {
        let at = circumstances(seed);
        let worst = run(at, Planted::Nothing);
        let (pair, same, members) = (bound_of_pair(&at), bound_of_same(&at), bound_of_members(&at));
        println!("seed {seed:>2}, worst word of bound:");
        for (who, took, bound) in [
            ("a pair", worst.pair, pair),
            ("the same device", worst.same, same),
            ("members", worst.members, members),
        ] {
            println!("    {who:<16} {:>8.1?} of {:>8.1?}", ms(took), ms(bound));
            assert!(took <= bound, "seed {seed}, {who}: {:?} > {:?} with {at:?}", ms(took), ms(bound));
        }
    }
}

/// The bound holds by what is built for it: without lanes, and without limits, it is broken in every such run.
#[test]
fn without_fairness_the_bound_is_broken() {
    for seed in 1..=4 {
        // A disk that the noise can keep busy.
        let at = Circumstances {
            delay: 2_000,
            bandwidth: 20_000,
            commit: 20_000,
            body: 64,
            ..circumstances(seed)
        };
        assert!(run(at, Planted::Nothing).pair <= bound_of_pair(&at));
        let (line, limits) = (run(at, Planted::OneLine), run(at, Planted::NoLimits));
        println!("seed {seed}: in one line {:?}, without limits {:?}", ms(line.same), ms(limits.pair));
        assert!(line.same > 2 * bound_of_same(&at), "in one line: {:?}", ms(line.same));
        assert!(limits.pair > 2 * bound_of_pair(&at), "without limits: {:?}", ms(limits.pair));
    }
}
