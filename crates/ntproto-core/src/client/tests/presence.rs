//! One's own presence: a compare-and-swap that is tried again, and gives way.

use super::*;

fn asked(w: &World) -> Option<v2::PresenceSetRequest> {
    let (_, packet) = w.asked.iter().find(|(_, p)| p.id == PacketId::PRESENCE_SET)?;
    Some(v2::PresenceSetRequest::decode(packet.body.clone()).unwrap())
}

fn answer(w: &mut World, version: u64, stale: bool) {
    let record = Some(v2::PresenceRecord { version, ..Default::default() });
    w.answer(PacketId::PRESENCE_SET, v2::PresenceSetResponse { record, stale }.encode_to_vec());
}

fn response(w: &World, request: RequestId) -> Option<Result<v2::PresenceSetResponse, Failure>> {
    w.events.iter().find_map(|event| match event {
        ClientEvent::Response { request: of, result } if *of == request => {
            Some(result.clone().map(|body| v2::PresenceSetResponse::decode(body).unwrap()))
        }
        _ => None,
    })
}

fn records(w: &World) -> usize {
    w.events.iter().filter(|event| matches!(event, ClientEvent::OwnPresence(_))).count()
}

//= proof: presence-1
#[test]
fn a_change_that_loses_is_tried_again_with_what_it_was_told() {
    let mut w = World::online();
    let request = w.call(Command::SetPresence(State::Online)).unwrap();
    assert_eq!(asked(&w).unwrap(), v2::PresenceSetRequest { status: 1, version: 0 });
    assert_eq!(w.call(Command::SetPresence(State::Away)), Err(Misuse::TooManyRequests));
    answer(&mut w, 7, true);
    assert_eq!(asked(&w).unwrap(), v2::PresenceSetRequest { status: 1, version: 7 });
    answer(&mut w, 8, false);
    let won = response(&w, request).unwrap().unwrap();
    assert_eq!((won.stale, won.record.unwrap().version, records(&w)), (false, 8, 1));
    // The next one knows the version.
    w.call(Command::SetPresence(State::Away)).unwrap();
    assert_eq!(asked(&w).unwrap(), v2::PresenceSetRequest { status: 2, version: 8 });
}

#[test]
fn one_that_always_loses_gives_way_and_is_told_so() {
    let mut w = World::online();
    let request = w.call(Command::SetPresence(State::Online)).unwrap();
    for n in 1..=u64::from(MAX_PRESENCE_RETRIES) + 1 {
        answer(&mut w, n, true);
    }
    assert!(asked(&w).is_none());
    let lost = response(&w, request).unwrap().unwrap();
    assert_eq!((lost.stale, lost.record.unwrap().version, records(&w)), (true, 4, 1));
}

#[test]
fn it_goes_online_by_itself_on_every_connection() {
    let mut w = World::of(ClientConfig { appear_online: true, ..config() }, Saved::default());
    w.call(Command::Start).unwrap();
    answer(&mut w, 1, false);
    assert_eq!((records(&w), w.took(|e| matches!(e, ClientEvent::Response { .. }))), (1, false));
    w.cut();
    w.later(1_000);
    assert_eq!(asked(&w).unwrap(), v2::PresenceSetRequest { status: 1, version: 1 });
    w.cut();
    assert!(!w.took(|e| matches!(e, ClientEvent::Response { .. })), "nobody asked");
    w.later(10_000);
    answer(&mut w, 2, false);
    // Who wants to be away is not made online by the next connection.
    w.call(Command::SetPresence(State::Away)).unwrap();
    answer(&mut w, 3, false);
    w.cut();
    w.later(60_000);
    assert!(w.client.machine().is_online() && asked(&w).is_none());
}

#[test]
fn refusals_and_nonsense_are_told() {
    let mut w = World::online();
    let refused = w.call(Command::SetPresence(State::Away)).unwrap();
    w.refuse(PacketId::PRESENCE_SET, ErrorCode::BadRequest, 0);
    let code = Some(ErrorCode::BadRequest);
    assert!(matches!(response(&w, refused), Some(Err(Failure::Refused(c, _))) if c == code));
    let late = w.call(Command::SetPresence(State::Online)).unwrap();
    w.later(DEFAULT_DEADLINE.as_millis() as u64);
    assert_eq!(response(&w, late), Some(Err(Failure::DeadlineExceeded)));
    let nonsense = w.call(Command::SetPresence(State::Online)).unwrap();
    let last = w.asked.pop_back().unwrap();
    w.asked.clear();
    w.asked.push_back(last);
    w.answer(PacketId::PRESENCE_SET, Vec::new());
    assert_eq!(response(&w, nonsense), Some(Err(Failure::Disconnected)));
    assert!(!w.client.machine().is_online());
    assert_eq!(w.call(Command::SetPresence(State::Online)), Err(Misuse::State));
}
