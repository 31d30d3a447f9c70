//! Searching, and counting what was not read.

use ntproto_core::ids::GroupId;
use ntproto_core::model::content;

use super::super::{MAX_SEARCHED, MAX_SEARCHED_BYTES, MAX_UNREAD_COUNTED, SearchQuery, Unread};
use super::*;

/// Everything a query finds, page by page, and in how many pages.
fn find(store: &mut dyn ClientStore, query: &SearchQuery) -> (Vec<(ConversationId, u64)>, usize) {
    let (mut query, mut all) = (query.clone(), Vec::new());
    for pages in 1.. {
        let page = store.search(&query).expect("a sound store answers");
        assert!(page.found.len() <= query.limit);
        all.extend(page.found.into_iter().map(|found| (found.conversation, found.stored.conv_seq)));
        if page.next.is_none() {
            return (all, pages);
        }
        assert!(query.limit > 0 && page.next != query.before, "every page gets further");
        query.before = page.next;
    }
    unreachable!("pages end")
}

pub(super) fn what_was_said_is_found(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let (a, b) = (conversation(2), conversation(3));
    let said = [(a, "Good morning"), (a, "GRÜSSE an alle"), (b, "morning again"), (b, ""), (a, "good night")];
    let mut messages: Vec<_> = (1..)
        .zip(said)
        .map(|(n, (talk, body))| {
            let mut one = inbound(n, talk, n, Uin(2));
            (one.message.body, one.message.stored_ms) = (Bytes::from(body), 1000 * n);
            one
        })
        .collect();
    let mut no_text = inbound(6, b, 6, Uin(2));
    no_text.message.body = Bytes::from_static(b"\xff\xfe good");
    messages.push(no_text);
    let mut written = |n: u64, content: v2::Content| {
        let mut one = inbound(n, b, n, Uin(2));
        one.message.body = content::encode(&content).expect("it breaks no rule");
        messages.push(one);
    };
    let reply = Some(v2::Reply { conv_seq: 3, excerpt: "morning again".into(), ..Default::default() });
    written(7, v2::Content { text: "Kind regards".into(), reply, ..Default::default() });
    let reaction = Some(v2::Reaction { conv_seq: 3, text: "good!".into(), ..Default::default() });
    written(8, v2::Content { reaction, ..Default::default() });
    commit(&mut *store, &[ClientTxn::Apply(Apply { messages, ..Apply::default() })]);
    drop(store);
    let mut store = disk();
    let all = SearchQuery { limit: 10, ..SearchQuery::default() };
    let with = |text: &str| SearchQuery { text: Some(text.into()), ..all.clone() };
    let (a1, a2, b3, b4, a5, b6) = ((a, 1), (a, 2), (b, 3), (b, 4), (a, 5), (b, 6));
    let (b7, b8) = ((b, 7), (b, 8));
    let cases = [
        (all.clone(), vec![b8, b7, b6, b4, b3, a5, a2, a1]),
        (with("kind REGARDS"), vec![b7]),
        (with("MORNING"), vec![b3, a1]),
        (with("good"), vec![a5, a1]),
        (with("grüsse"), vec![a2]),
        (with("nobody said this"), vec![]),
        (SearchQuery { conversation: Some(a), ..with("morning") }, vec![a1]),
        (SearchQuery { conversation: Some(conversation(9)), ..all.clone() }, vec![]),
        (SearchQuery { since_ms: Some(2000), until_ms: Some(5000), ..all.clone() }, vec![b4, b3, a2]),
        (SearchQuery { since_ms: Some(3000), ..with("morning") }, vec![b3]),
    ];
    for (query, expected) in cases {
        for limit in [1, 2, 10] {
            let query = SearchQuery { limit, ..query.clone() };
            assert_eq!(find(&mut *store, &query).0, expected, "{query:?}");
        }
    }
    assert_eq!(find(&mut *store, &SearchQuery { limit: 0, ..all }), (vec![], 1));
}

pub(super) fn a_search_does_a_bounded_amount_of_work(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let talk = conversation(2);
    let count = MAX_SEARCHED as u64 * 2 + 1;
    let messages = (1..=count).map(|n| inbound(n, talk, n, Uin(2))).collect();
    commit(&mut *store, &[ClientTxn::Apply(Apply { messages, ..Apply::default() })]);
    let query = SearchQuery { text: Some("number 1".into()), limit: 10_000, ..SearchQuery::default() };
    let first = store.search(&query).expect("a sound store answers");
    assert!(first.next.is_some(), "a page ends also where nothing was found");
    let (found, pages) = find(&mut *store, &query);
    let expected = (1..=count).rev().filter(|n| n.to_string().starts_with('1'));
    assert!(found.into_iter().map(|(_, seq)| seq).eq(expected));
    assert_eq!(pages, 3);
}

pub(super) fn unread_is_what_others_sent_since(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let (talk, large) = (conversation(OTHER.0), conversation(3));
    let count = |store: &mut dyn ClientStore, talk| store.unread(talk).expect("a sound store answers");
    let some = |messages| Unread { messages, at_least: false };
    assert_eq!(count(&mut *store, talk), some(0));
    // Their 1 to 4, mine 5 from another device, their 6; what edits, recalls and reacts is no message.
    let mut messages: Vec<_> =
        (1..=6).map(|n| inbound(n, talk, n, if n == 5 { ME } else { OTHER })).collect();
    for (seq, action) in [(7, v2::Action::Edit), (8, v2::Action::Recall)] {
        let mut one = inbound(seq, talk, seq, OTHER);
        one.message.action = action as i32;
        messages.push(one);
    }
    let mut reacted = inbound(9, talk, 9, OTHER);
    let reaction = Some(v2::Reaction { conv_seq: 5, text: "+1".into(), ..Default::default() });
    let content = v2::Content { reaction, ..Default::default() };
    reacted.message.body = content::encode(&content).expect("it breaks no rule");
    messages.push(reacted);
    messages[0].message.recalled_seq = 8;
    commit(&mut *store, &[ClientTxn::Apply(Apply { messages, ..Apply::default() })]);
    assert_eq!(count(&mut *store, talk), some(4));
    for (read_seq, left) in [(3, 2), (2, 2), (5, 1), (6, 0), (99, 0)] {
        let member = ME.0;
        let receipt =
            v2::Receipt { conversation: Bytes::copy_from_slice(&talk.0), member, delivered_seq: 0, read_seq };
        commit(&mut *store, &[ClientTxn::Apply(Apply { receipts: vec![receipt], ..Apply::default() })]);
        drop(store);
        store = disk();
        assert_eq!(count(&mut *store, talk), some(left), "read up to {read_seq}");
    }
    let newest = MAX_UNREAD_COUNTED + 1;
    let messages = vec![inbound(10, large, newest, OTHER)];
    commit(&mut *store, &[ClientTxn::Apply(Apply { messages, ..Apply::default() })]);
    // Numbers may jump; what is known to be missing counts as well.
    assert_eq!(count(&mut *store, large), some(1));
    let conversation = Bytes::copy_from_slice(&large.0);
    let gaps = vec![v2::Gap { conversation, from_seq: 1, to_seq: newest - 1 }];
    commit(&mut *store, &[ClientTxn::Apply(Apply { gaps, ..Apply::default() })]);
    assert_eq!(count(&mut *store, large), Unread { messages: MAX_UNREAD_COUNTED, at_least: true });
    // In a group that one joined late, what came before is not there to be read.
    let group = ConversationId::of_group(GroupId(6));
    let state = v2::GroupState {
        group: Some(v2::Group { group: 6, version: 1, ..Default::default() }),
        me: Some(v2::Member { uin: ME.0, joined_seq: 41, ..Default::default() }),
    };
    let messages = vec![inbound(11, group, 41, OTHER), inbound(12, group, 42, OTHER)];
    let apply = Apply { messages, groups: vec![state], ..Apply::default() };
    commit(&mut *store, &[ClientTxn::Apply(apply)]);
    assert_eq!(count(&mut *store, group), some(2));
}

/// A thousand messages may be as long as they like: counting them reads a bounded part.
pub(super) fn unread_counts_no_more_than_it_can_read(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let talk = conversation(OTHER.0);
    let body = Bytes::from(vec![b'x'; MAX_SEARCHED_BYTES / 20]);
    let messages = (1..=30)
        .map(|n| {
            let mut one = inbound(n, talk, n, OTHER);
            one.message.body = body.clone();
            one
        })
        .collect();
    commit(&mut *store, &[ClientTxn::Apply(Apply { messages, ..Apply::default() })]);
    let unread = store.unread(talk).expect("a sound store answers");
    assert!(unread.at_least && (15..30).contains(&unread.messages), "{unread:?}");
}
