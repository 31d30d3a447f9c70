//! The handle: what applications see, with the store on its own thread.
#![allow(clippy::unwrap_used)]

mod common;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{Link, World};
use ntproto_core::client::Misuse;
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::time::UnixMillis;
use ntproto_sdk::store::{DeviceKeystore, MemoryStore, RedbStore};
use ntproto_sdk::{
    Client, Credential, Ended, Event, Events, EventsTaken, Message, QueryError, RequestError, SendError,
    SendOptions, SendOutcome, State, Stopped,
};

const INVITED: Option<Credential> = Some(Credential::Invitation(common::CODE));

fn handle(world: &mut World) -> (usize, Client) {
    world.add_handle(INVITED, Box::new(MemoryStore::new()))
}

/// Two handles, online.
fn pair(seed: u8) -> (World, Client, Client) {
    let mut world = World::new(seed, Link::default());
    let (_, a) = handle(&mut world);
    let (_, b) = handle(&mut world);
    world.block_on(a.online()).unwrap();
    world.block_on(b.online()).unwrap();
    (world, a, b)
}

fn uin(client: &Client) -> Uin {
    client.identity().unwrap().uin
}

/// The next message; other events pass.
async fn message(events: &mut Events) -> Message {
    loop {
        if let Event::Message(message) = events.next().await.unwrap() {
            return message;
        }
    }
}

async fn messages(events: &mut Events, count: usize) -> Vec<Message> {
    let mut all = Vec::new();
    while all.len() < count {
        all.push(message(events).await);
    }
    all
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn send_waits_for_the_server_and_enqueue_for_the_disk() {
    let (mut world, a, b) = pair(1);
    let (mut mine, mut theirs) = (a.events().unwrap(), b.events().unwrap());
    let first = world.block_on(a.send(uin(&b), "one")).unwrap();
    assert_eq!(first.conv_seq, 1);
    let id = world.block_on(a.enqueue(uin(&b), "two")).unwrap();
    let sent = world.block_on(async {
        loop {
            match mine.next().await.unwrap() {
                Event::Sent(sent) if sent.client_msg_id == id => return sent,
                _ => {}
            }
        }
    });
    assert_eq!(sent.conv_seq, 2);
    let got = world.block_on(messages(&mut theirs, 2));
    assert_eq!(got.iter().map(|m| &m.stored.body[..]).collect::<Vec<_>>(), [b"one", b"two"]);
    assert_eq!((got[1].stored.sender, got[1].stored.client_msg_id), (uin(&a), id));
    // What a screen shows.
    let talk = ConversationId::direct(uin(&a), uin(&b));
    let history = world.block_on(a.history(talk, None, 10)).unwrap();
    assert_eq!(history.iter().map(|m| m.conv_seq).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(world.block_on(a.conversations()), Ok(vec![(talk, 2)]));
    assert_eq!(world.block_on(a.outbox()), Ok(vec![]));
    let outcome = world.block_on(a.outcome(id)).unwrap();
    assert!(matches!(outcome, Some(SendOutcome::Stored { conv_seq: 2, .. })), "{outcome:?}");
    assert_eq!(world.block_on(a.outcome(ClientMsgId([0; 16]))), Ok(None));
    world.block_on(async {
        loop {
            match mine.next().await.unwrap() {
                Event::Receipt { conversation, mark } if mark.delivered_seq == 2 => {
                    return assert_eq!((conversation, mark.member), (talk, uin(&b)));
                }
                _ => {}
            }
        }
    });
    assert_eq!(world.block_on(a.marks(talk)).unwrap().len(), 1);
    assert!(matches!(a.state(), State::Online { caught_up: true, .. }));
}

#[test]
fn a_dropped_send_is_sent_and_one_never_polled_is_not() {
    let (mut world, a, b) = pair(2);
    let mut theirs = b.events().unwrap();
    {
        let mut future = pin!(a.send(uin(&b), "dropped at once"));
        assert!(poll_once(future.as_mut()).is_pending());
    }
    {
        let mut future = pin!(a.send(uin(&b), "dropped on its way"));
        assert!(poll_once(future.as_mut()).is_pending());
        world.drain_all();
        assert!(poll_once(future.as_mut()).is_pending());
    }
    drop(a.send(uin(&b), "never polled"));
    world.block_on(a.send(uin(&b), "last")).unwrap();
    let got = world.block_on(messages(&mut theirs, 3));
    let bodies: Vec<_> = got.iter().map(|m| String::from_utf8_lossy(&m.stored.body)).collect();
    assert_eq!(bodies, ["dropped at once", "dropped on its way", "last"]);
}

/// At every step of its way a `send` may be dropped: what became of the message is known by its id, at once or later.
#[test]
fn a_send_dropped_at_any_step_has_an_outcome() {
    let (mut world, a, b) = pair(31);
    let mut theirs = b.events().unwrap();
    let to = uin(&b);
    let with = |n: u8| SendOptions { client_msg_id: Some(ClientMsgId([n; 16])), ..SendOptions::default() };
    let mut expected = Vec::new();
    for step in 0u8.. {
        let (mut done, mut polls) = (false, 0);
        {
            let mut future = pin!(a.send_with(to, vec![step], with(step)));
            while polls < step && !done {
                done = poll_once(future.as_mut()).is_ready();
                polls += 1;
                world.run_for(Duration::from_millis(5));
            }
        }
        if step == 0 {
            world.run_for(Duration::from_secs(1));
            assert_eq!(world.block_on(a.outcome(ClientMsgId([0; 16]))), Ok(None), "never asked for");
            assert_eq!(world.block_on(a.outbox()), Ok(vec![]));
        } else {
            expected.push(step);
        }
        if done {
            break;
        }
    }
    let got = world.block_on(messages(&mut theirs, expected.len()));
    assert!(got.iter().map(|m| m.stored.body[0]).eq(expected.iter().copied()));
    world.run_for(Duration::from_secs(1));
    for (step, conv_seq) in expected.iter().zip(1..) {
        let outcome = world.block_on(a.outcome(ClientMsgId([*step; 16]))).unwrap();
        assert!(matches!(outcome, Some(SendOutcome::Stored { conv_seq: n, .. }) if n == conv_seq));
    }
    // Queued while there is no server: known to be queued, and resolved when there is one.
    world.up = false;
    {
        let mut future = pin!(a.send_with(to, "waits", with(200)));
        for _ in 0..5 {
            assert!(poll_once(future.as_mut()).is_pending());
            world.run_for(Duration::from_millis(5));
        }
    }
    let waits = world.block_on(a.outbox()).unwrap();
    assert_eq!(waits.iter().map(|entry| entry.client_msg_id.0[0]).collect::<Vec<_>>(), [200]);
    assert_eq!(world.block_on(a.outcome(ClientMsgId([200; 16]))), Ok(None));
    world.up = true;
    assert_eq!(world.block_on(message(&mut theirs)).stored.body, "waits");
    world.run_for(Duration::from_secs(1));
    let outcome = world.block_on(a.outcome(ClientMsgId([200; 16]))).unwrap();
    assert!(matches!(outcome, Some(SendOutcome::Stored { .. })), "{outcome:?}");
}

#[test]
fn a_message_is_given_up_before_it_left_or_after() {
    let (mut world, a, b) = pair(32);
    let mut theirs = b.events().unwrap();
    let to = uin(&b);
    world.up = false;
    let waits = world.block_on(a.enqueue(to, "given up")).unwrap();
    world.block_on(a.enqueue(to, "kept")).unwrap();
    // The link is not known to be down yet: the message may be on its way.
    world.block_on(a.cancel(waits)).unwrap();
    assert_eq!(world.block_on(a.cancel(ClientMsgId([9; 16]))), Err(SendError::Misuse(Misuse::UnknownId)));
    world.run_for(Duration::from_secs(60));
    let never = world.block_on(a.enqueue(to, "never left")).unwrap();
    world.block_on(a.cancel(never)).unwrap();
    world.up = true;
    assert_eq!(world.block_on(message(&mut theirs)).stored.body, "kept");
    world.run_for(Duration::from_secs(5));
    for id in [waits, never] {
        let outcome = world.block_on(a.outcome(id)).unwrap();
        assert_eq!(outcome, Some(SendOutcome::Failed(ntproto_sdk::Failure::Cancelled)));
    }
    // Too late: it was stored, and stays so.
    let sent = world.block_on(a.send(to, "stored")).unwrap();
    assert_eq!(world.block_on(a.cancel(sent.client_msg_id)), Err(SendError::Misuse(Misuse::UnknownId)));
    assert_eq!(world.block_on(message(&mut theirs)).stored.body, "stored");
}

#[test]
fn deadlines_end_a_send_with_or_without_a_server() {
    let (mut world, a, b) = pair(3);
    let mut mine = a.events().unwrap();
    world.kill_node();
    let before = world.at;
    let result = world.block_on(a.send(uin(&b), "into the void"));
    // It may have left before the loss was noticed; either way it is told within the deadline.
    assert!(matches!(result, Err(SendError::DeadlineExceeded | SendError::Unresolved(_))), "{result:?}");
    assert!((4_900_000..6_500_000).contains(&(world.at - before)), "{}", world.at - before);
    if let Err(SendError::Unresolved(id)) = result {
        world.start_node();
        world.block_on(async {
            loop {
                match mine.next().await.unwrap() {
                    Event::SendFailed { client_msg_id, .. } if client_msg_id == id => return,
                    Event::Sent(sent) => panic!("{sent:?}"),
                    _ => {}
                }
            }
        });
    }
}

#[test]
fn a_key_used_again_gets_the_first_answer() {
    let (mut world, a, b) = pair(4);
    let options = SendOptions { client_msg_id: Some(ClientMsgId([5; 16])), ..SendOptions::default() };
    let first = world.block_on(a.send_with(uin(&b), "same", options)).unwrap();
    assert_eq!(world.block_on(a.send_with(uin(&b), "same", options)), Ok(first));
    let other = world.block_on(a.send_with(uin(&b), "other", options));
    assert!(matches!(other, Err(SendError::Refused(Some(ErrorCode::Conflict), _))), "{other:?}");
}

#[test]
fn a_slow_reader_loses_no_message_and_stops_nobody() {
    const COUNT: usize = 3000;
    let (mut world, a, b) = pair(5);
    let mut theirs = b.events().unwrap();
    for n in 0..COUNT {
        world.block_on(a.enqueue(uin(&b), n.to_string())).unwrap();
    }
    while !world.block_on(a.outbox()).unwrap().is_empty() {
        world.run_for(Duration::from_secs(1));
    }
    // Far more than the stream holds: and yet the reader's own sends go through.
    world.block_on(b.send(uin(&a), "still here")).unwrap();
    let got = world.block_on(messages(&mut theirs, COUNT));
    let bodies: Vec<_> = got.iter().map(|m| String::from_utf8_lossy(&m.stored.body).into_owned()).collect();
    assert_eq!(bodies, (0..COUNT).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(got.is_sorted_by(|x, y| x.position < y.position));
    // Then it is abreast again.
    world.block_on(a.send(uin(&b), "fresh")).unwrap();
    assert_eq!(world.block_on(message(&mut theirs)).stored.body, "fresh");
}

#[test]
fn what_a_slow_reader_missed_is_said() {
    let (mut world, a, b) = pair(6);
    let mut mine = a.events().unwrap();
    for n in 0..1500 {
        world.block_on(a.enqueue(uin(&b), n.to_string())).unwrap();
    }
    while !world.block_on(a.outbox()).unwrap().is_empty() {
        world.run_for(Duration::from_secs(1));
    }
    let lagged = world.block_on(async {
        let mut sent = 0;
        loop {
            match mine.next().await.unwrap() {
                Event::Sent(_) => sent += 1,
                Event::Lagged => return sent,
                _ => {}
            }
        }
    });
    assert!((900..1500).contains(&lagged), "{lagged} were told");
}

#[test]
fn one_stream_at_a_time_and_what_is_not_confirmed_is_told_again() {
    let (mut world, a, b) = pair(7);
    let mut first = b.events().unwrap();
    assert_eq!(b.events().err(), Some(EventsTaken));
    for n in 0..10 {
        world.block_on(a.send(uin(&b), n.to_string())).unwrap();
    }
    let got = world.block_on(messages(&mut first, 10));
    world.block_on(b.confirm(got[5].position));
    drop(first);
    let mut second = b.clone().events().unwrap();
    let again = world.block_on(messages(&mut second, 4));
    assert_eq!(again, got[6..]);
    // A stream taken late has everything from before it.
    let (_, c) = handle(&mut world);
    world.block_on(c.online()).unwrap();
    world.block_on(a.send(uin(&c), "early")).unwrap();
    world.run_for(Duration::from_secs(1));
    let mut late = c.events().unwrap();
    assert_eq!(world.block_on(message(&mut late)).stored.body, "early");
}

#[test]
fn a_page_read_for_a_dropped_stream_is_not_lost() {
    let (mut world, a, b) = pair(14);
    for n in 0..20 {
        world.block_on(a.send(uin(&b), n.to_string())).unwrap();
    }
    for _ in 0..50 {
        // Begins to read from the disk, and is gone before the answer.
        let mut events = b.events().unwrap();
        let _ = poll_once(pin!(events.next()));
    }
    let mut events = b.events().unwrap();
    let got = world.block_on(messages(&mut events, 20));
    let bodies: Vec<_> = got.iter().map(|m| String::from_utf8_lossy(&m.stored.body).into_owned()).collect();
    assert_eq!(bodies, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn close_leaves_everything_on_the_disk_and_the_disk_free() {
    let mut world = World::new(8, Link::default());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let keys = DeviceKeys::generate(&mut Rng::new([5; 32]), &RUSTCRYPTO);
    let open = || Box::new(RedbStore::open(&path, &DeviceKeystore::new(&keys, &RUSTCRYPTO)).unwrap());
    let (no, a) = world.add_handle(INVITED, open());
    let (_, b) = handle(&mut world);
    let me = world.block_on(a.online()).unwrap();
    world.block_on(b.online()).unwrap();
    let mut events = a.events().unwrap();
    world.block_on(b.send(me.uin, "hello")).unwrap();
    let hello = world.block_on(message(&mut events));
    world.up = false;
    world.block_on(a.enqueue(uin(&b), "waits")).unwrap();
    world.block_on(a.confirm(hello.position));
    world.block_on(a.close());
    assert!(matches!(a.state(), State::Ended(Ended::Stopped(Stopped::Closed))));
    // The stream ends with its reason, calls are refused with it.
    let last = world.block_on(async {
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event);
        }
        last
    });
    assert!(matches!(last, Some(Event::Ended(Ended::Stopped(Stopped::Closed)))), "{last:?}");
    let over = Ended::Stopped(Stopped::Closed);
    assert_eq!(world.block_on(a.send(uin(&b), "too late")), Err(SendError::Ended(over.clone())));
    assert_eq!(world.block_on(a.devices()), Err(RequestError::Ended(over.clone())));
    assert_eq!(world.block_on(a.outbox()), Err(QueryError::Unavailable));
    assert_eq!(world.block_on(a.online()), Err(over));
    world.block_on(a.close());
    world.block_on(a.confirm(1));
    world.block_on(a.network_changed());
    // Again from the same file, at once.
    world.up = true;
    let a = world.start_handle(no, open());
    assert_eq!(a.identity(), Some(me), "known before it is online");
    let mut theirs = b.events().unwrap();
    assert_eq!(world.block_on(message(&mut theirs)).stored.body, "waits");
    let mut events = a.events().unwrap();
    world.block_on(b.send(me.uin, "again")).unwrap();
    assert_eq!(world.block_on(message(&mut events)).stored.body, "again", "hello was confirmed");
}

/// A message that can't be read any more is not left out in silence.
#[test]
fn a_damaged_message_ends_the_client() {
    let mut world = World::new(33, Link::default());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let keys = DeviceKeys::generate(&mut Rng::new([5; 32]), &RUSTCRYPTO);
    let open = || Box::new(RedbStore::open(&path, &DeviceKeystore::new(&keys, &RUSTCRYPTO)).unwrap());
    let (no, a) = world.add_handle(INVITED, open());
    let (_, b) = handle(&mut world);
    let me = world.block_on(a.online()).unwrap();
    world.block_on(b.online()).unwrap();
    let mut events = a.events().unwrap();
    for n in 0..3 {
        world.block_on(b.send(me.uin, n.to_string())).unwrap();
    }
    world.block_on(messages(&mut events, 3));
    drop(events);
    world.block_on(a.close());
    {
        let table = redb::TableDefinition::<&[u8], &[u8]>::new("messages");
        let database = redb::Database::open(&path).unwrap();
        let txn = database.begin_write().unwrap();
        {
            let mut table = txn.open_table(table).unwrap();
            let (key, mut value) = {
                let (key, value) = redb::ReadableTable::last(&table).unwrap().unwrap();
                (key.value().to_vec(), value.value().to_vec())
            };
            value[20] ^= 1;
            table.insert(&key[..], &value[..]).unwrap();
        }
        txn.commit().unwrap();
    }
    let a = world.start_handle(no, open());
    let mut events = a.events().unwrap();
    let damaged = Ended::Stopped(Stopped::Store(ntproto_sdk::StoreError::Damaged));
    let last = world.block_on(async {
        let mut last = None;
        while let Some(event) = events.next().await {
            assert!(!matches!(event, Event::Message(_)), "none of the page is told");
            last = Some(event);
        }
        last
    });
    assert!(matches!(last, Some(Event::Ended(why)) if why == damaged));
    assert_eq!(world.block_on(a.online()), Err(damaged));
    world.block_on(a.close());
}

#[test]
fn the_last_handle_closes_the_client_and_the_stream_is_one() {
    let (mut world, a, b) = pair(9);
    let (events, other) = (a.events().unwrap(), a.clone());
    drop((a, other));
    world.run_for(Duration::from_secs(1));
    assert!(!world.devices[0].done);
    drop(events);
    world.run_for(Duration::from_secs(1));
    assert!(world.devices[0].done);
    assert!(matches!(b.state(), State::Online { .. }));
}

#[test]
fn a_loop_that_dies_fails_what_waits() {
    let (mut world, a, b) = pair(10);
    let mut events = a.events().unwrap();
    world.kill_node();
    let mut future = pin!(a.send(uin(&b), "?"));
    assert!(poll_once(future.as_mut()).is_pending());
    world.drain_all();
    world.kill(0);
    let result = world.block_on(future);
    assert!(matches!(result, Err(SendError::Ended(Ended::Host(_)))), "{result:?}");
    let last = world.block_on(async {
        loop {
            if let Event::Ended(why) = events.next().await.unwrap() {
                return why;
            }
        }
    });
    assert!(matches!(last, Ended::Host(_)));
    world.block_on(a.close());
}

#[test]
fn invitations_links_and_revocation() {
    let (mut world, a, b) = pair(11);
    let (code, expires) = world.block_on(a.invite(1, Duration::from_secs(3600), false)).unwrap();
    assert!(expires > UnixMillis(common::UNIX));
    let (_, c) = world.add_handle(Some(code.into()), Box::new(MemoryStore::new()));
    let invited = world.block_on(c.online()).unwrap();
    assert_ne!(invited.uin, uin(&a));
    let refused = world.block_on(c.invite(1, Duration::from_secs(60), false));
    assert!(matches!(refused, Err(RequestError::Refused(Some(ErrorCode::Forbidden), _))), "{refused:?}");
    // A second device of the first account.
    let link = a.link_device(UnixMillis(common::UNIX + 3_600_000), [4; 16]).unwrap();
    let pasted: ntproto_sdk::EnrolCode = link.to_string().parse().unwrap();
    let (_, a2) = world.add_handle(Some(pasted.into()), Box::new(MemoryStore::new()));
    let second = world.block_on(a2.online()).unwrap();
    assert_eq!(second.uin, uin(&a));
    // It has what comes, and what its sister sends.
    let mut events = a2.events().unwrap();
    world.block_on(b.send(uin(&a), "to both")).unwrap();
    world.block_on(a.send(uin(&b), "from the first")).unwrap();
    let got = world.block_on(messages(&mut events, 2));
    assert_eq!(got[1].stored.sender_device, a.identity().unwrap().device);
    let devices = world.block_on(a.devices()).unwrap();
    assert_eq!(devices.len(), 2);
    world.block_on(a.revoke_device(second.device)).unwrap();
    let why = world.block_on(async {
        loop {
            if let Event::Ended(why) = events.next().await.unwrap() {
                return why;
            }
        }
    });
    assert_eq!(why, Ended::Stopped(Stopped::Refused(ErrorCode::Revoked)));
    let unknown = world.block_on(a.revoke_device(DeviceId([9; 16])));
    assert!(matches!(unknown, Err(RequestError::Refused(Some(ErrorCode::NotFound), _))), "{unknown:?}");
}

#[test]
fn tickets_and_keys_are_renewed_on_demand() {
    let (mut world, a, b) = pair(12);
    for n in 0..5 {
        world.block_on(a.refresh_ticket()).unwrap();
        world.block_on(a.update_keys()).unwrap();
        world.block_on(a.send(uin(&b), n.to_string())).unwrap();
    }
    world.up = false;
    world.run_for(Duration::from_secs(60));
    assert!(matches!(a.state(), State::Offline { .. }), "{:?}", a.state());
    assert_eq!(world.block_on(a.refresh_ticket()), Err(RequestError::Disconnected));
    assert_eq!(world.block_on(a.devices()), Err(RequestError::Disconnected));
    world.up = true;
    world.block_on(a.network_changed());
    world.block_on(a.online()).unwrap();
}

#[test]
fn misuse_is_told_and_changes_nothing() {
    let mut world = World::new(13, Link::default());
    world.up = false;
    let (_, a) = handle(&mut world);
    assert_eq!(world.block_on(a.send(Uin(1), "x")), Err(SendError::NotEnrolled));
    assert!(matches!(a.link_device(UnixMillis(1), [0; 16]), Err(RequestError::NotEnrolled)));
    world.up = true;
    world.block_on(a.online()).unwrap();
    let large = vec![0; ntproto_core::client::MAX_BODY + 1];
    assert_eq!(world.block_on(a.send(Uin(10002), large)), Err(SendError::Misuse(Misuse::TooLarge)));
    let foreign = ConversationId::direct(Uin(1), Uin(2));
    assert_eq!(world.block_on(a.send(foreign, "x")), Err(SendError::Misuse(Misuse::NotMember)));
    let nobody = world.block_on(a.send(Uin(99_999), "x"));
    assert!(matches!(nobody, Err(SendError::Refused(..))), "{nobody:?}");
}
