//! TYPING: told to who is there, counted, kept nowhere.

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{ConversationId, GroupId};
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::ConnId;
use ntproto_proto::v2;
use prost::Message;

use crate::bench::{Bench, config, uin};
use crate::groups::group;

fn types(
    bench: &mut Bench,
    conn: ConnId,
    to: ConversationId,
    active: bool,
) -> Result<v2::TypingResponse, ErrorCode> {
    let request = v2::TypingRequest { conversation: Bytes::copy_from_slice(&to.0), active };
    bench.call(conn, PacketId::TYPING, &request)
}

fn told(bench: &mut Bench, conn: ConnId) -> Vec<(u64, bool)> {
    let pushes = bench.told(conn, PacketId::TYPING);
    let read = |body| v2::TypingPush::decode(body).map(|push| (push.uin, push.active)).unwrap();
    pushes.into_iter().map(read).collect()
}

//= proof: messages-25
#[test]
fn the_others_see_it_and_no_inbox_does() {
    let mut bench = Bench::new(config());
    let (keys, a, grant_a) = bench.account();
    let (_, b, grant_b) = bench.account();
    let (_, c, grant_c) = bench.account();
    let own = uin(&grant_a).0;
    let direct = ConversationId::direct(uin(&grant_a), uin(&grant_b));
    types(&mut bench, a, direct, true).unwrap();
    assert_eq!(told(&mut bench, b), [(own, true)]);
    assert!(told(&mut bench, a).is_empty() && told(&mut bench, c).is_empty());
    types(&mut bench, a, direct, false).unwrap();
    assert_eq!(told(&mut bench, b), [(own, false)]);
    let talk = ConversationId::of_group(GroupId(group(&mut bench, a, &[uin(&grant_b).0, uin(&grant_c).0])));
    types(&mut bench, a, talk, true).unwrap();
    assert_eq!((told(&mut bench, b), told(&mut bench, c)), (vec![(own, true)], vec![(own, true)]));
    // Who comes back finds nothing of it.
    let again = bench.known(&keys);
    let page = bench.sync(again, 0);
    assert!(page.deltas.iter().all(|delta| delta.packet.as_ref().unwrap().event_type == 4));
}

#[test]
fn one_in_so_long_and_a_refusal_says_how_long() {
    let mut bench = Bench::new(config());
    let (_, a, grant_a) = bench.account();
    let (_, b, grant_b) = bench.account();
    let to = ConversationId::direct(uin(&grant_a), uin(&grant_b));
    let mut taken = 0;
    while types(&mut bench, a, to, true).is_ok() {
        taken += 1;
        assert!(taken < 5, "there is a limit");
    }
    assert_eq!(told(&mut bench, b).len(), taken);
    bench.advance(std::time::Duration::from_secs(2));
    assert!(types(&mut bench, a, to, true).is_ok());
}

#[test]
fn bad_input_has_its_code() {
    let mut bench = Bench::new(config());
    let (_, a, grant_a) = bench.account();
    let (_, b, grant_b) = bench.account();
    let (_, c, grant_c) = bench.account();
    let theirs = ConversationId::direct(uin(&grant_b), uin(&grant_c));
    assert_eq!(types(&mut bench, a, theirs, true), Err(ErrorCode::Forbidden));
    let strange = ConversationId::of_group(GroupId(group(&mut bench, b, &[uin(&grant_c).0])));
    assert_eq!(types(&mut bench, a, strange, true), Err(ErrorCode::NotFound), "one that strangers can't see");
    assert_eq!(types(&mut bench, a, ConversationId::of_group(GroupId(77)), true), Err(ErrorCode::NotFound));
    assert_eq!(types(&mut bench, a, ConversationId([0; 16]), true), Err(ErrorCode::NotFound));
    let short = v2::TypingRequest { conversation: Bytes::from_static(b"short"), active: true };
    assert_eq!(bench.call::<v2::TypingResponse>(a, PacketId::TYPING, &short), Err(ErrorCode::BadRequest));
    assert!(told(&mut bench, b).is_empty() && told(&mut bench, c).is_empty());
    // To who is not there, and to nobody at all, it is said in vain.
    let nobody = ConversationId::direct(uin(&grant_a), ntproto_core::ids::Uin(77_777));
    assert!(types(&mut bench, a, nobody, true).is_ok());
}
