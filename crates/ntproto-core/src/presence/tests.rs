use super::*;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write as _;
use proptest::prelude::*;

const PHONE: DeviceId = DeviceId([1; 16]);
const DESK: DeviceId = DeviceId([2; 16]);
const NOW: UnixMillis = UnixMillis(1_000_000);

fn record(phone: State, desk: State) -> Record {
    let entry = |device, state| (device, Entry { state, lease_until: NOW + LEASE });
    let devices = [entry(PHONE, phone), entry(DESK, desk)];
    Record::from_parts(100, devices.into_iter().filter(|(_, entry)| entry.state != State::Offline)).unwrap()
}

/// What may happen to a record; the phone does it.
type Stimulus = (&'static str, fn(&mut Record) -> Result<Change, Refused>);

const STIMULI: [Stimulus; 7] = [
    ("set Online", |r| r.set(NOW, PHONE, State::Online, r.version(), LEASE)),
    ("set Away", |r| r.set(NOW, PHONE, State::Away, r.version(), LEASE)),
    ("set Offline", |r| r.set(NOW, PHONE, State::Offline, r.version(), LEASE)),
    ("set Online, version old", |r| r.set(NOW, PHONE, State::Online, 99, LEASE)),
    ("lease over", |r| Ok(r.expire(NOW + LEASE))),
    ("lease long over", |r| Ok(r.expire(NOW + LEASE + LEASE))),
    ("lease over, set Online", |r| r.set(NOW + LEASE, PHONE, State::Online, r.version(), LEASE)),
];

//= proof: presence-1, presence-2
#[test]
fn the_table_and_the_graph() {
    let mut table = String::new();
    let mut edges: BTreeMap<(State, State), BTreeSet<&str>> = BTreeMap::new();
    for phone in State::ALL {
        for desk in State::ALL {
            if (phone, desk) == (State::Online, State::Online) {
                continue;
            }
            writeln!(table, "phone {phone:?}, desk {desk:?}").unwrap();
            for (stimulus, apply) in STIMULI {
                let mut r = record(phone, desk);
                let row = match apply(&mut r) {
                    Err(why) => {
                        assert_eq!(r, record(phone, desk), "refused, and nothing changed");
                        format!("{why:?}")
                    }
                    Ok(change) => {
                        for edge in &change.edges {
                            let how = match stimulus {
                                "lease long over" | "lease over, set Online" => continue,
                                _ if edge.device != PHONE
                                    && change.announce.is_none()
                                    && r.state(PHONE) == State::Online =>
                                {
                                    "another goes Online"
                                }
                                _ => stimulus,
                            };
                            edges.entry((edge.from, edge.from.next())).or_default().insert(how);
                        }
                        let told = change.announce.map_or_else(String::new, |to| format!(", told: {to:?}"));
                        let (phone, desk) = (r.state(PHONE), r.state(DESK));
                        format!("phone {phone:?}, desk {desk:?}, version +{}{told}", r.version() - 100)
                    }
                };
                writeln!(table, "  {stimulus:<24} → {row}").unwrap();
            }
        }
    }
    insta::assert_snapshot!("table", table);
    let mut graph = String::from("digraph presence {\n  node [shape=box]\n");
    for ((from, to), how) in edges {
        let how = how.into_iter().collect::<alloc::vec::Vec<_>>().join("\\n");
        writeln!(graph, "  {from:?} -> {to:?} [label=\"{how}\"]").unwrap();
    }
    insta::assert_snapshot!("graph", graph + "}");
}

#[test]
fn an_unrenewed_device_is_away_then_gone() {
    let mut r = Record::default();
    r.set(NOW, PHONE, State::Online, 0, LEASE).unwrap();
    let end = NOW + LEASE;
    assert_eq!(r.next_expiry(), Some(end));
    assert_eq!((r.overall(UnixMillis(end.0 - 1)), r.overall(end)), (State::Online, State::Away));
    // Nobody has noticed yet: what was told is still Online, and when somebody does, the end is told.
    assert_eq!(r.announced(), State::Online);
    assert_eq!(r.clone().expire(end).announce, Some(State::Away));
    assert!(!r.renew(end, PHONE, LEASE), "what ran out is not brought back");
    let change = r.expire(end + LEASE);
    assert_eq!((change.edges.len(), change.announce, r.version()), (2, Some(State::Offline), 3));
    assert_eq!((r.devices().len(), r.next_expiry()), (0, None));
}

#[test]
fn renewals_make_no_version_and_no_lease_shorter() {
    let mut r = record(State::Online, State::Away);
    assert!(r.renew(NOW + Duration::from_secs(30), PHONE, LEASE));
    assert!(r.renew(NOW + Duration::from_secs(20), PHONE, LEASE));
    assert_eq!(r.devices.get(&PHONE).unwrap().lease_until, NOW + Duration::from_secs(120));
    assert!(!r.renew(NOW, DeviceId([3; 16]), LEASE));
    assert_eq!(r.version(), 100);
}

#[test]
fn a_record_holds_so_many_devices() {
    let mut r = Record::default();
    for n in 0..MAX_DEVICES as u8 {
        r.set(NOW, DeviceId([n; 16]), State::Online, r.version(), LEASE).unwrap();
    }
    let one_more = DeviceId([99; 16]);
    assert_eq!(r.set(NOW, one_more, State::Online, r.version(), LEASE), Err(Refused::TooMany));
    // Those who are in it may still do what they like, and what ran out makes room.
    r.set(NOW, DeviceId([0; 16]), State::Online, r.version(), LEASE).unwrap();
    r.set(NOW + LEASE + LEASE, one_more, State::Online, r.version(), LEASE).unwrap();
    assert_eq!(r.devices().len(), 1);
}

#[test]
fn what_can_not_be_is_not_read() {
    let entry = |n, state| (DeviceId([n; 16]), Entry { state, lease_until: NOW });
    let bad = |version, devices: &[_]| Record::from_parts(version, devices.iter().copied()).is_err();
    assert!(bad(1, &[entry(1, State::Online), entry(2, State::Online)]));
    assert!(bad(1, &[entry(1, State::Offline)]));
    assert!(bad(1, &[entry(1, State::Away), entry(1, State::Away)]));
    assert!(bad(u64::MAX, &[]));
    assert!(Record::from_parts(1, (0..=MAX_DEVICES as u8).map(|n| entry(n, State::Away))).is_err());
    assert!(Record::from_parts(1, (0..MAX_DEVICES as u8).map(|n| entry(n, State::Away))).is_ok());
}

#[test]
fn each_reason_reads_differently() {
    let texts: BTreeSet<_> =
        [Refused::Stale, Refused::Illegal, Refused::TooMany].iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 3);
    for state in State::ALL {
        assert_eq!(State::from_wire(state as u32), Some(state));
    }
    assert_eq!((State::from_wire(3), Malformed.to_string().is_empty()), (None, false));
}

#[derive(Clone, Debug)]
enum Op {
    Set { device: u8, want: State, behind: u64 },
    Renew(u8),
    Expire,
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let want = prop::sample::select(&State::ALL[..]);
    prop_oneof![
        4 => (0..40u8, want, prop_oneof![4 => Just(0), 1 => 1..3u64])
            .prop_map(|(device, want, behind)| Op::Set { device, want, behind }),
        2 => (0..40u8).prop_map(Op::Renew),
        1 => Just(Op::Expire),
        2 => prop_oneof![0..1_000u64, 80_000..100_000u64].prop_map(Op::Pass),
    ]
}

proptest! {
    #[test]
    fn whatever_happens(ops in prop::collection::vec(op(), 0..60)) {
        let (mut r, mut now) = (Record::default(), NOW);
        for op in ops {
            let old = r.clone();
            let change = match op {
                Op::Set { device, want, behind } => {
                    let device = DeviceId([device; 16]);
                    let done = r.set(now, device, want, r.version().wrapping_sub(behind), LEASE);
                    prop_assert_eq!(done == Err(Refused::Stale), behind > 0);
                    match &done {
                        Ok(_) => prop_assert_eq!(r.state(device), want),
                        Err(_) => prop_assert_eq!(&r, &old),
                    }
                    done.unwrap_or_default()
                }
                Op::Renew(device) => {
                    r.renew(now, DeviceId([device; 16]), LEASE);
                    Change::default()
                }
                Op::Expire => {
                    let change = r.expire(now);
                    prop_assert_eq!(r.announced(), r.overall(now));
                    prop_assert_eq!(r.expire(now), Change::default());
                    change
                }
                Op::Pass(ms) => {
                    now.0 += ms;
                    Change::default()
                }
            };
            // The version counts edges, each from where the device was; what was told is what stands.
            prop_assert_eq!(r.version(), old.version() + change.edges.len() as u64);
            let mut at: BTreeMap<_, _> = old.devices().map(|(id, entry)| (id, entry.state)).collect();
            for edge in &change.edges {
                let state = at.entry(edge.device).or_default();
                prop_assert_eq!(*state, edge.from);
                *state = edge.from.next();
            }
            prop_assert_eq!(change.announce, (old.announced() != r.announced()).then(|| r.announced()));
            // It could be stored: at most one is Online, nobody is in it twice or without a state.
            prop_assert_eq!(Record::from_parts(r.version(), r.devices()), Ok(r.clone()));
        }
    }
}
