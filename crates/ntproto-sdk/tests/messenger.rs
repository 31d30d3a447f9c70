//! What makes it a messenger, through the handle against the real hub: friends, groups, edits, recalls, read marks,
//! presence, members, and what is missed.
#![allow(clippy::unwrap_used)]

mod common;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use common::{Link, World};
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_sdk::model::{Denied, FriendState, Outgoing, Role};
use ntproto_sdk::store::{Gap, MemoryStore};
use ntproto_sdk::{
    Client, Credential, Event, Events, GroupEvent, GroupUpdate, Message, MessageAction, NewGroup, NewProfile,
    PresenceState, RequestError, SendAction, SendError, Target,
};

const INVITED: Option<Credential> = Some(Credential::Invitation(common::CODE));

/// So many accounts, online.
fn people<const N: usize>(seed: u8) -> (World, [Client; N]) {
    let mut world = World::new(seed, Link::default());
    let clients = std::array::from_fn(|_| world.add_handle(INVITED, Box::new(MemoryStore::new())).1);
    for client in &clients {
        world.block_on(client.online()).unwrap();
    }
    (world, clients)
}

/// Another device of an account, online.
fn second(world: &mut World, of: &Client) -> (usize, Client) {
    let code = of.link_device(UnixMillis(common::UNIX + 60_000_000), [5; 16]).unwrap();
    let (no, client) = world.add_handle(Some(Credential::from(code)), Box::new(MemoryStore::new()));
    world.block_on(client.online()).unwrap();
    (no, client)
}

fn uin(client: &Client) -> Uin {
    client.identity().unwrap().uin
}

async fn next<R>(events: &mut Events, mut wanted: impl FnMut(Event) -> Option<R>) -> R {
    loop {
        if let Some(found) = wanted(events.next().await.unwrap()) {
            return found;
        }
    }
}

async fn message(events: &mut Events) -> Message {
    next(events, |event| if let Event::Message(message) = event { Some(message) } else { None }).await
}

fn code(error: &RequestError) -> Option<ErrorCode> {
    if let RequestError::Refused(code, _) = error { *code } else { None }
}

/// Runs until it is so. Stores work on threads of their own, so that virtual time alone brings nothing about.
fn until<F: Future<Output = bool>>(world: &mut World, mut so: impl FnMut() -> F) {
    for _ in 0..2_000 {
        if world.block_on(so()) {
            return;
        }
        world.run_for(Duration::from_millis(50));
        std::thread::sleep(Duration::from_micros(200));
    }
    panic!("it never came");
}

/// Two futures, side by side.
async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut left, mut right) = (None, None);
    poll_fn(|cx| {
        if left.is_none()
            && let Poll::Ready(done) = a.as_mut().poll(cx)
        {
            left = Some(done);
        }
        if right.is_none()
            && let Poll::Ready(done) = b.as_mut().poll(cx)
        {
            right = Some(done);
        }
        if left.is_some() && right.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (left.unwrap(), right.unwrap())
}

#[test]
fn a_friendship_from_the_first_word_to_the_last() {
    let (mut world, [a, b]) = people(1);
    let mut theirs = b.events().unwrap();
    let asked = world.block_on(a.friends().request(uin(&b), "it's me")).unwrap();
    assert_eq!(asked.state(), FriendState::Asked);
    let wanted = world.block_on(next(&mut theirs, |e| if let Event::Friend(f) = e { Some(f) } else { None }));
    assert_eq!(
        (wanted.uin, wanted.state(), &wanted.message[..]),
        (uin(&a).0, FriendState::Wanted, "it's me")
    );
    assert_eq!(world.block_on(b.friends().asking()).unwrap(), [wanted]);
    let friend = world.block_on(b.friends().accept(uin(&a))).unwrap();
    assert_eq!(friend.state(), FriendState::Friend);
    // The asker learns it from the inbox.
    until(&mut world, || async { a.friends().list().await.unwrap().len() == 1 });
    assert_eq!(world.block_on(a.friends().list()).unwrap()[0].uin, uin(&b).0);
    world.block_on(a.friends().set_remark(uin(&b), " the tall one ")).unwrap();
    assert_eq!(world.block_on(a.friends().list()).unwrap()[0].remark, "the tall one");
    assert_eq!(world.block_on(b.friends().refresh()).unwrap()[0].remark, "", "nobody else sees it");
    // A block refuses what is sent, without saying why.
    world.block_on(b.friends().block(uin(&a))).unwrap();
    let refused = world.block_on(a.send(uin(&b), "hello?"));
    assert!(matches!(refused, Err(SendError::Refused(Some(ErrorCode::Forbidden), _))), "{refused:?}");
    world.block_on(b.friends().unblock(uin(&a))).unwrap();
    world.block_on(a.send(uin(&b), "hello!")).unwrap();
    world.block_on(a.friends().delete(uin(&b))).unwrap();
    until(&mut world, || async { b.friends().list().await.unwrap().is_empty() });
    // What may not be shown is not even asked.
    let bad = world.block_on(a.friends().set_remark(uin(&b), "\u{202E}live"));
    assert!(matches!(bad, Err(RequestError::BadName(_))), "{bad:?}");
}

#[test]
fn profiles_are_set_read_and_known() {
    let (mut world, [a, b]) = people(2);
    let (_, other) = second(&mut world, &a);
    let mut theirs = other.events().unwrap();
    let new = NewProfile { nick: "Ada".into(), extra: "{\"a\": 1e2}".into(), ..NewProfile::default() };
    world.block_on(a.set_profile(new)).unwrap();
    let told = world.block_on(next(&mut theirs, |e| if let Event::Profile(p) = e { Some(p) } else { None }));
    assert_eq!((&told.nick[..], &told.extra[..]), ("Ada", "{\"a\": 1e2}"));
    assert_eq!(world.block_on(a.profile()).unwrap(), told);
    let seen = world.block_on(b.profiles(&[uin(&a), Uin(77)])).unwrap();
    assert_eq!(seen.len(), 1, "who does not exist is left out");
    assert_eq!(seen[0], told);
    assert_eq!(world.block_on(b.known_profile(uin(&a))), Ok(Some(told)));
}

#[test]
fn edits_and_recalls_reach_everybody_and_every_device() {
    let (mut world, [a, b]) = people(3);
    let (_, other) = second(&mut world, &a);
    let talk = ConversationId::direct(uin(&a), uin(&b));
    let mut theirs = b.events().unwrap();
    let sent = world.block_on(a.send(uin(&b), "teh answer")).unwrap();
    // While it is still on its way, by its key.
    let id = world.block_on(a.enqueue(uin(&b), "secret")).unwrap();
    let recall = world.block_on(a.enqueue_action(talk, SendAction::Recall(Target::Id(id)), "")).unwrap();
    let edit = world.block_on(a.edit(talk, Target::Number(sent.conv_seq), "the answer")).unwrap();
    assert_eq!(edit.conv_seq, 4);
    assert!(world.block_on(a.outcome(recall)).unwrap().is_some());
    let told: Vec<_> = (0..4).map(|_| world.block_on(message(&mut theirs))).collect();
    let actions: Vec<_> = told.iter().map(|m| m.action).collect();
    let recalled = MessageAction::Recall { target: 2 };
    assert_eq!(
        actions,
        [MessageAction::New, MessageAction::New, recalled, MessageAction::Edit { target: 1 }]
    );
    for client in [&a, &b, &other] {
        until(&mut world, || async { client.conversations().await.unwrap() == [(talk, 4)] });
        let history = world.block_on(client.history(talk, None, 10)).unwrap();
        let shown: Vec<_> = history.iter().map(|m| (m.conv_seq, &m.body[..], m.edited, m.recalled)).collect();
        assert_eq!(shown, [(2, &b""[..], None, Some(3)), (1, &b"the answer"[..], Some(4), None)]);
    }
    // Only one's own, and only once it is there.
    let foreign = world.block_on(b.edit(talk, Target::Number(1), "no"));
    assert!(matches!(foreign, Err(SendError::Refused(Some(ErrorCode::Forbidden), _))), "{foreign:?}");
    let gone = world.block_on(a.edit(talk, Target::Number(2), "again"));
    assert!(matches!(gone, Err(SendError::Refused(Some(ErrorCode::Gone), _))), "{gone:?}");
}

#[test]
fn what_is_read_on_one_device_is_read_on_all_and_the_sender_knows() {
    let (mut world, [a, b]) = people(4);
    let (_, other) = second(&mut world, &b);
    let talk = ConversationId::direct(uin(&a), uin(&b));
    let ids: Vec<_> = (0..3)
        .map(|n| world.block_on(a.send(uin(&b), format!("number {n}"))).unwrap().client_msg_id)
        .collect();
    let state = |n: usize, state| {
        let (a, id) = (&a, ids[n]);
        move || async move { a.lifecycle(id).await.unwrap().unwrap().state == state }
    };
    until(&mut world, state(2, Outgoing::Delivered));
    let way = world.block_on(a.lifecycle(ids[2])).unwrap().unwrap();
    assert_eq!((way.conv_seq, way.delivered_to, way.read_by), (Some(3), 1, 0));
    until(&mut world, || async { other.unread(talk).await.unwrap().messages == 3 });
    world.block_on(b.mark_read(talk, 2)).unwrap();
    for client in [&b, &other] {
        until(&mut world, || async { client.unread(talk).await.unwrap().messages == 1 });
    }
    for n in 0..2 {
        until(&mut world, state(n, Outgoing::Read));
    }
    assert!(world.block_on(state(2, Outgoing::Delivered)()));
    // One that waits, and one that nobody knows.
    world.up = false;
    let id = world.block_on(a.enqueue(uin(&b), "later")).unwrap();
    assert_eq!(world.block_on(a.lifecycle(id)).unwrap().unwrap().state, Outgoing::Queued);
    assert_eq!(world.block_on(a.lifecycle(ntproto_core::ids::ClientMsgId([9; 16]))), Ok(None));
}

#[test]
fn what_was_done_offline_is_done_once_after_a_crash() {
    let (mut world, [a]) = people(13);
    let store = MemoryStore::new();
    let (no, b) = world.add_handle(INVITED, Box::new(store.clone()));
    world.block_on(b.online()).unwrap();
    let talk = ConversationId::direct(uin(&a), uin(&b));
    world.block_on(a.send(uin(&b), "are you there?")).unwrap();
    until(&mut world, || async { !b.conversations().await.unwrap().is_empty() });
    world.up = false;
    let id = world.block_on(b.enqueue(talk, "yse")).unwrap();
    let edit = SendAction::Edit(Target::Id(id));
    world.block_on(b.enqueue_action(talk, edit, "yes")).unwrap();
    world.block_on(b.mark_read(talk, 1)).unwrap();
    until(&mut world, || async { b.unread(talk).await.unwrap().messages == 0 });
    // The process dies.
    world.kill(no);
    drop(b);
    world.up = true;
    let b = world.start_handle(no, Box::new(store));
    let mut theirs = a.events().unwrap();
    let told: Vec<_> = (0..2).map(|_| world.block_on(message(&mut theirs))).collect();
    let actions: Vec<_> = told.iter().map(|m| (m.stored.conv_seq, m.action)).collect();
    assert_eq!(actions, [(2, MessageAction::New), (3, MessageAction::Edit { target: 2 })]);
    until(&mut world, || async {
        a.marks(talk).await.unwrap().iter().any(|mark| mark.member == uin(&b) && mark.read_seq == 1)
    });
    let shown = world.block_on(a.history(talk, None, 10)).unwrap();
    let shown: Vec<_> = shown.iter().map(|m| &m.body[..]).collect();
    assert_eq!(shown, [&b"yes"[..], b"are you there?"]);
    assert_eq!(world.block_on(b.outbox()), Ok(vec![]));
}

#[test]
fn typing_is_told_and_forgotten() {
    let (mut world, [a, b]) = people(5);
    let mut theirs = b.events().unwrap();
    world.block_on(a.typing(uin(&b), true)).unwrap();
    let told = world.block_on(next(&mut theirs, |e| match e {
        Event::Typing { uin, active, .. } => Some((uin, active)),
        _ => None,
    }));
    assert_eq!(told, (uin(&a), true));
    // Too soon: it is not kept for later.
    let refused = (0..20).find_map(|_| world.block_on(a.typing(uin(&b), true)).err());
    assert_eq!(refused.as_ref().and_then(code), Some(ErrorCode::RetryAfter));
}

#[test]
fn a_group_from_its_making_to_its_end() {
    let (mut world, [a, b, c]) = people(6);
    let mut theirs = b.events().unwrap();
    let members = vec![uin(&b)];
    let id =
        world.block_on(a.groups().create(NewGroup { name: "Team".into(), members, ..NewGroup::default() }));
    let id = id.unwrap();
    let told = world.block_on(next(&mut theirs, |e| if let Event::Group(g) = e { Some(g) } else { None }));
    assert_eq!((&told.group.unwrap().name[..], told.me.map(|me| me.role)), ("Team", Some(0)));
    let room = a.group(id).conversation();
    world.block_on(a.send(room, "welcome")).unwrap();
    assert_eq!(world.block_on(message(&mut theirs)).stored.body, "welcome");
    world.block_on(b.groups().invite(id, &[uin(&c)])).unwrap();
    until(&mut world, || async { c.groups().list().await.unwrap().len() == 1 });
    // Refused here, without a round trip.
    let datagrams = world.datagrams;
    for (denied, why) in [
        (world.block_on(b.groups().remove(id, uin(&c))), Denied::Permission),
        (world.block_on(a.groups().leave(id)), Denied::LastOwner),
        (world.block_on(b.groups().dissolve(id)), Denied::Permission),
    ] {
        assert_eq!(denied.unwrap_err(), RequestError::Denied(why));
    }
    assert_eq!(world.datagrams, datagrams, "nothing was asked");
    world.block_on(a.groups().set_role(id, uin(&b), Role::Admin)).unwrap();
    let role = |client: &Client, role: Role| {
        let group = client.group(id);
        move || {
            let group = group.clone();
            async move {
                let me = group.state().await.unwrap().and_then(|state| state.me);
                me.is_some_and(|me| me.role == role as i32)
            }
        }
    };
    until(&mut world, role(&b, Role::Admin));
    // What only the server knows it refuses: the other's rank.
    let rank = world.block_on(b.groups().remove(id, uin(&a))).unwrap_err();
    assert_eq!(code(&rank), Some(ErrorCode::Forbidden));
    let update =
        GroupUpdate { name: Some("Crew".into()), nick: Some("captain".into()), ..GroupUpdate::default() };
    world.block_on(b.groups().update(id, update)).unwrap();
    until(&mut world, || async {
        let group = a.group(id).state().await.unwrap().and_then(|state| state.group);
        group.is_some_and(|group| group.name == "Crew")
    });
    // An admin recalls what a member said.
    let said = world.block_on(c.send(room, "oops")).unwrap();
    world.block_on(b.recall(room, Target::Number(said.conv_seq))).unwrap();
    world.block_on(b.groups().mute(id, uin(&c), UnixMillis(common::UNIX + 86_400_000))).unwrap();
    let muted = world.block_on(c.send(room, "mmm"));
    assert!(matches!(muted, Err(SendError::Refused(Some(ErrorCode::Muted), _))), "{muted:?}");
    world.block_on(b.groups().remove(id, uin(&c))).unwrap();
    until(&mut world, || async { c.groups().list().await.unwrap().is_empty() });
    let out = world.block_on(c.send(room, "hello?"));
    assert!(matches!(out, Err(SendError::Refused(Some(ErrorCode::Forbidden), _))), "{out:?}");
    world.block_on(a.groups().hand_over(id, uin(&b))).unwrap();
    until(&mut world, role(&b, Role::Owner));
    world.block_on(a.groups().leave(id)).unwrap();
    world.block_on(b.groups().dissolve(id)).unwrap();
    let gone =
        world.block_on(b.groups().update(id, GroupUpdate { muted: Some(true), ..GroupUpdate::default() }));
    assert_eq!(code(&gone.unwrap_err()), Some(ErrorCode::Gone));
}

//= proof: groups-3
#[test]
fn members_are_read_while_they_change_and_followed_through_losses() {
    let (mut world, [a, b, c, d]) = people(7);
    let new = NewGroup { name: "Team".into(), members: vec![uin(&b)], ..NewGroup::default() };
    let id = world.block_on(a.groups().create(new)).unwrap();
    let group = a.group(id);
    let fetched = world.block_on(both(group.members(), async {
        b.groups().invite(id, &[uin(&c)]).await.unwrap();
    }));
    let list = fetched.0.unwrap();
    assert!(list.members.len() >= 2 && list.members.is_sorted_by_key(|member| member.uin));
    let mut watch = group.watch();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(world.block_on(watch.next()).unwrap().unwrap());
    }
    assert!(seen.iter().all(|event| matches!(event, GroupEvent::Add(_))), "{seen:?}");
    // A push.
    world.block_on(b.groups().invite(id, &[uin(&d)])).unwrap();
    let event = world.block_on(watch.next()).unwrap().unwrap();
    assert!(matches!(&event, GroupEvent::Add(member) if member.uin == uin(&d).0), "{event:?}");
    // What happens while this device is away is not pushed to it: only the difference is told.
    world.up = false;
    world.run_for(Duration::from_secs(120));
    world.up = true;
    world.block_on(b.online()).unwrap();
    world.block_on(d.online()).unwrap();
    world.run_for(Duration::from_secs(60));
    world.block_on(d.groups().leave(id)).unwrap();
    let event = world.block_on(watch.next()).unwrap().unwrap();
    assert_eq!(event, GroupEvent::Remove(uin(&d)));
    assert_eq!(watch.members().len(), 3);
    // The end of it.
    world.block_on(a.groups().dissolve(id)).unwrap();
    let last = world.block_on(async {
        let mut last = None;
        while let Some(event) = watch.next().await {
            last = Some(event.unwrap());
        }
        last
    });
    assert!(matches!(&last, Some(GroupEvent::Group(group)) if group.dissolved), "{last:?}");
}

#[test]
fn presence_is_seen_by_friends_and_a_stale_writer_learns_what_is() {
    let (mut world, [a, b]) = people(8);
    let (_, other) = second(&mut world, &a);
    let stranger = world.block_on(b.presence().subscribe(&[uin(&a)])).unwrap_err();
    assert_eq!(code(&stranger), Some(ErrorCode::Forbidden));
    world.block_on(a.friends().request(uin(&b), "")).unwrap();
    world.block_on(b.friends().accept(uin(&a))).unwrap();
    let mut theirs = b.events().unwrap();
    let now = world.block_on(b.presence().subscribe(&[uin(&a)])).unwrap();
    assert_eq!((now[0].uin, now[0].state), (uin(&a), PresenceState::Offline));
    let mine = world.block_on(a.presence().set(PresenceState::Online)).unwrap();
    assert!(mine.as_asked && mine.state == PresenceState::Online);
    let seen = world.block_on(next(&mut theirs, |e| if let Event::Presence(p) = e { Some(p) } else { None }));
    assert_eq!((seen[0].uin, seen[0].status), (uin(&a).0, 1));
    // The second device knows nothing of the version: it loses once, and wins. The first one is away by that.
    let won = world.block_on(other.presence().set(PresenceState::Online)).unwrap();
    assert!(won.as_asked && won.state == PresenceState::Online);
    let first = a.identity().unwrap().device;
    let state = won.devices.iter().find(|(device, _)| *device == first).map(|(_, state)| *state);
    assert_eq!(state, Some(PresenceState::Away));
    // And so does the first, whose version is an old one now.
    let again = world.block_on(a.presence().set(PresenceState::Online)).unwrap();
    assert!(again.as_asked && again.state == PresenceState::Online);
    // From nowhere nobody is away.
    let refused = world.block_on(b.presence().set(PresenceState::Away)).unwrap_err();
    assert_eq!(code(&refused), Some(ErrorCode::BadRequest));
    world.block_on(b.presence().unsubscribe(&[uin(&a)])).unwrap();
    // By itself, when it is made so.
    world.appear_online = true;
    let (_, c) = world.add_handle(INVITED, Box::new(MemoryStore::new()));
    let mut mine = c.events().unwrap();
    let record =
        world.block_on(next(&mut mine, |e| if let Event::OwnPresence(r) = e { Some(r) } else { None }));
    assert_eq!(record.devices.iter().map(|device| device.status).collect::<Vec<_>>(), [1]);
}

#[test]
fn what_was_skipped_is_a_gap_and_history_fills_it() {
    let mut world = World::new(9, Link::default());
    world.config.max_lag = 5;
    world.kill_node();
    world.start_node();
    let (_, a) = world.add_handle(INVITED, Box::new(MemoryStore::new()));
    let store = MemoryStore::new();
    let (no, b) = world.add_handle(INVITED, Box::new(store.clone()));
    world.block_on(a.online()).unwrap();
    world.block_on(b.online()).unwrap();
    let (me, talk) = (uin(&b), ConversationId::direct(uin(&a), uin(&b)));
    world.block_on(a.send(me, "number 1")).unwrap();
    until(&mut world, || async { !b.conversations().await.unwrap().is_empty() });
    world.block_on(b.close());
    drop(b);
    for n in 2..=12 {
        world.block_on(a.send(me, format!("number {n}"))).unwrap();
    }
    world.block_on(a.edit(talk, Target::Number(3), "number three")).unwrap();
    world.block_on(a.friends().request(me, "still there?")).unwrap();
    let b = world.start_handle(no, Box::new(store));
    let mut events = b.events().unwrap();
    let (skipped, gap) = world.block_on(async {
        let mut skipped = false;
        loop {
            match events.next().await.unwrap() {
                Event::Skipped => skipped = true,
                Event::Gap { conversation, gap } => return (skipped, (conversation, gap)),
                _ => {}
            }
        }
    });
    assert!(skipped);
    assert_eq!(gap, (talk, Gap { from: 2, to: 13 }));
    // Friends come with the snapshot.
    until(&mut world, || async { b.friends().asking().await.unwrap().len() == 1 });
    assert_eq!(world.block_on(b.unread(talk)).unwrap().messages, 13);
    // Page by page, from the end.
    let page = world.block_on(b.history_from_server(talk, None, 4)).unwrap();
    assert_eq!(page.messages.iter().map(|m| m.conv_seq).collect::<Vec<_>>(), [12, 11, 10]);
    assert_eq!(page.next, Some(10));
    assert_eq!(world.block_on(b.gaps(talk)).unwrap(), [Gap { from: 2, to: 9 }]);
    // By time: the first was stored before the device went away. It closes nothing.
    let first = world.block_on(a.message(talk, 1)).unwrap().unwrap().stored_ms;
    let page = world.block_on(b.history_between(talk, (1, first + 1), None, 200)).unwrap();
    assert_eq!((page.messages.len(), page.next), (1, None));
    assert_eq!(world.block_on(b.gaps(talk)).unwrap(), [Gap { from: 2, to: 9 }]);
    assert_eq!(world.block_on(b.history_from_server(talk, Some(1), 10)).unwrap().messages, []);
    while let Some(gap) = world.block_on(b.gaps(talk)).unwrap().pop() {
        world.block_on(b.history_from_server(talk, Some(gap.to + 1), 4)).unwrap();
    }
    let history = world.block_on(b.history(talk, None, 100)).unwrap();
    assert_eq!(history.iter().map(|m| m.conv_seq).collect::<Vec<_>>(), (1..=12).rev().collect::<Vec<_>>());
    assert_eq!(history[9].body, "number three", "the edit came before its message, and waited");
    // What comes now comes as ever.
    world.block_on(a.send(me, "now")).unwrap();
    assert_eq!(world.block_on(message(&mut events)).stored.body, "now");
}

#[test]
fn a_large_group_is_pulled_and_read_by_pages() {
    let (mut world, [a, b]) = people(10);
    let crowd = world.add_silent(1_200);
    let new = NewGroup { name: "Many".into(), members: vec![uin(&b)], ..NewGroup::default() };
    let id = world.block_on(a.groups().create(new)).unwrap();
    world.block_on(a.groups().invite(id, &crowd)).unwrap();
    let room = a.group(id).conversation();
    let mut theirs = b.events().unwrap();
    for n in 1..=20 {
        world.block_on(a.send(room, format!("number {n}"))).unwrap();
    }
    let seen: Vec<_> = (0..20).map(|_| world.block_on(message(&mut theirs)).stored.conv_seq).collect();
    assert_eq!(seen, (1..=20).collect::<Vec<_>>(), "told by a mark that something is there, each read once");
    // While some go, all the others are read.
    let (list, _) = world.block_on(both(b.group(id).members(), async {
        for uin in &crowd[..5] {
            a.groups().remove(id, *uin).await.unwrap();
        }
    }));
    let list = list.unwrap();
    let still = |uin: &Uin| list.members.binary_search_by_key(&uin.0, |member| member.uin).is_ok();
    assert!(crowd[5..].iter().all(still) && still(&uin(&a)) && still(&uin(&b)));
    // Nothing is pushed of so large a group: whoever looks sees the difference.
    let mut watch = b.group(id).watch_from(list);
    world.block_on(a.groups().remove(id, crowd[700])).unwrap();
    watch.look();
    let removed = world.block_on(async {
        loop {
            if let GroupEvent::Remove(uin) = watch.next().await.unwrap().unwrap()
                && uin == crowd[700]
            {
                return uin;
            }
        }
    });
    assert_eq!(removed, crowd[700]);
    // Watermarks of so many are asked for.
    world.block_on(b.mark_read(room, 20)).unwrap();
    until(&mut world, || async {
        a.refresh_marks(room, None).await.unwrap();
        a.marks(room).await.unwrap().iter().any(|mark| mark.member == uin(&b) && mark.read_seq == 20)
    });
}

#[test]
fn administration_is_for_administrators() {
    let (mut world, [a]) = people(11);
    let refused = world.block_on(a.admin().stats()).unwrap_err();
    assert_eq!(code(&refused), Some(ErrorCode::Forbidden));
}

/// A stream of changes can be polled like any other.
#[test]
fn a_watch_is_a_stream() {
    fn is_stream<S: futures_core::Stream + Unpin>(_: &S) {}
    let (mut world, [a]) = people(12);
    let id =
        world.block_on(a.groups().create(NewGroup { name: "Me".into(), ..NewGroup::default() })).unwrap();
    let list = world.block_on(a.group(id).members()).unwrap();
    let watch = a.group(id).watch_from(list);
    is_stream(&watch);
    assert_eq!(watch.members().len(), 1);
    let _: Pin<Box<dyn futures_core::Stream<Item = _>>> = Box::pin(watch);
}
