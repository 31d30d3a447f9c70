//! A recorded run and its replay.

use super::*;

#[test]
fn a_journal_replays_the_run_and_shows_a_change() {
    let mut w = World::online();
    w.send(1, Some(Duration::from_millis(500)));
    w.push(1, 0, from_friend(1));
    w.answer_send(2, 2, 1, false);
    w.cut();
    w.later(1_000);
    w.call(Command::Close).unwrap();
    let saved = w.saved.clone();
    let Journal(bytes) = w.client.journal();
    let again = |bytes: &[u8], seed| {
        replay(&Journal(bytes.to_vec()), |now| Client::new(config(), saved.clone(), seed, now))
    };
    assert_eq!(again(&bytes, SEED), Ok(()));
    // Another seed shows where it matters first: in AUTH_REQ, after Start and Connected.
    let Err(JournalError::Diverged { entry, at }) = again(&bytes, [0; 32]) else { panic!("no difference") };
    assert!((3..10).contains(&entry), "{entry}");
    // Up to there it is the same run.
    assert_eq!(again(&bytes[..at], [0; 32]), Ok(()));
    let last = bytes.len() - 1;
    let mut changed = bytes.clone();
    changed[last] ^= 1;
    let Err(JournalError::Diverged { at, .. }) = again(&changed, SEED) else { panic!("not seen") };
    assert!(matches!(again(&bytes[..last], SEED), Err(JournalError::Malformed { at: cut, .. }) if cut == at));
}

#[test]
fn a_journal_sees_a_changed_body_that_debug_does_not_show() {
    let saved = |body: &'static [u8]| {
        let message = v2::StoredMessage { conv_seq: 4, body: Bytes::from_static(body), ..Default::default() };
        let inbound = Inbound { position: 4, conversation: talk(), message };
        Saved { unconfirmed: Vec::from([inbound]), ..Default::default() }
    };
    let mut w = World::with(saved(b"one body"));
    w.run();
    let journal = w.client.journal();
    let again = |body| replay(&journal, |now| Client::new(config(), saved(body), SEED, now));
    assert_eq!(again(b"one body"), Ok(()));
    assert!(matches!(again(b"two body"), Err(JournalError::Diverged { entry: 0, .. })));
}
