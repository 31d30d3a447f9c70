use super::download::{Download, Plan, SAVE_EVERY};
use super::*;
use alloc::string::ToString as _;

const UNIT: u32 = 65_552;

fn plan(size: u64) -> Plan {
    Plan { file: FileId([3; 16]), size, sha256: HASH, unit: UNIT }
}

fn range(ask: &Ask) -> (u64, u64) {
    if let Ask::Range { offset, len, .. } = ask { (*offset, *len) } else { panic!("{ask:?}") }
}

fn head(offset: u64, total: u64) -> Answer {
    Answer::Range { offset, total, etag: "\"e\"".into() }
}

/// A download that knows what it fetches, and what it has asked.
fn begun(size: u64) -> (Download, Vec<(AskId, Ask)>) {
    let mut download = Download::new(plan(size), Rng::new([1; 32]));
    let mut asked = asks(&drain(&mut download, now()));
    assert_eq!(asked.len(), 1, "others wait for what the first one says");
    download.handle(now(), Input::Answer(asked[0].0, head(0, size)));
    asked.extend(asks(&drain(&mut download, now())));
    (download, asked)
}

#[test]
fn ranges_are_whole_units_and_want_the_same_file() {
    let (_, asked) = begun(20_000_000);
    assert!(asked.len() > 1);
    let mut at = 0;
    for (n, (_, ask)) in asked.iter().enumerate() {
        let (offset, len) = range(ask);
        assert_eq!((offset, len % u64::from(UNIT)), (at, 0));
        let Ask::Range { etag, .. } = ask else { panic!() };
        assert_eq!(etag.is_some(), n > 0);
        at += len;
    }
    assert!(at <= MAX_CHUNK);
}

#[test]
fn another_file_under_the_name_is_fetched_anew_once() {
    for wrong in [head(0, 7), Answer::Range { offset: 0, total: 20_000_000, etag: "\"f\"".into() }] {
        let (mut download, asked) = begun(20_000_000);
        download.handle(now(), Input::Answer(asked[1].0, wrong.clone()));
        let again = asks(&drain(&mut download, now()));
        assert!(matches!(&again[0].1, Ask::Range { offset: 0, etag: None, .. }));
        download.handle(now(), Input::Answer(again[0].0, head(0, 7)));
        assert_eq!(ended(&drain(&mut download, now())), Some(Err(Failure::Mismatch)));
    }
}

#[test]
fn what_is_gone_or_another_on_disk_is_an_end() {
    let (mut download, asked) = begun(20_000_000);
    download.handle(now(), Input::Answer(asked[0].0, Answer::Fault(Fault::Gone)));
    assert_eq!(ended(&drain(&mut download, now())), Some(Err(Failure::Gone)));

    let (mut download, mut asked) = begun(5);
    for turn in 0..2 {
        if turn > 0 {
            download.handle(now(), Input::Answer(asked[0].0, head(0, 5)));
        }
        download.handle(now(), Input::Moved(asked[0].0, 5));
        let verify = asks(&drain(&mut download, now()));
        assert_eq!(verify[0].1, Ask::Verify);
        download.handle(now(), Input::Answer(verify[0].0, Answer::Hash([0; 32])));
        let outputs = drain(&mut download, now());
        asked = asks(&outputs);
        assert_eq!(ended(&outputs), (turn > 0).then_some(Err(Failure::Mismatch)));
    }
}

#[test]
fn a_part_of_a_unit_is_fetched_again() {
    let (mut download, asked) = begun(20_000_000);
    download.handle(now(), Input::Moved(asked[0].0, u64::from(UNIT) * 2 + 5));
    download.handle(now(), Input::Answer(asked[0].0, Answer::Fault(Fault::Lost)));
    let mut outputs = drain(&mut download, now());
    if let Some(Output::Wait(Some(at), WaitReason::Pause)) = outputs.last() {
        outputs = drain(&mut download, *at);
    }
    assert_eq!(range(&asks(&outputs)[0].1).0, u64::from(UNIT) * 2);
    assert_eq!(download.progress().again, 5);
}

/// Over a path that breaks every minute and takes some kilobytes a second, several ranges would get nowhere each.
#[test]
fn behind_a_break_one_range_goes_alone_until_it_is_through() {
    let (mut download, asked) = begun(20_000_000);
    assert!(asked.len() > 1);
    for turn in 1..5 {
        let written = download.progress().confirmed;
        let outputs = drain(&mut download, now());
        let id = asks(&outputs).first().map_or(asked[0].0, |(id, _)| *id);
        if turn > 1 {
            download.handle(now(), Input::Answer(id, head(written, 20_000_000)));
        }
        download.handle(now(), Input::Moved(id, u64::from(UNIT)));
        download.handle(now(), Input::Answer(id, Answer::Fault(Fault::Lost)));
        let outputs = drain(&mut download, now());
        let Some(Output::Wait(Some(at), WaitReason::Pause)) = outputs.last() else { panic!("{outputs:?}") };
        download.handle(*at, Input::Timeout);
        assert_eq!(download.progress().confirmed, turn * u64::from(UNIT), "each turn gets on");
    }
    let again = asks(&drain(&mut download, now()));
    let (offset, len) = range(&again[0].1);
    assert_eq!(again.len(), 1);
    download.handle(now(), Input::Answer(again[0].0, head(offset, 20_000_000)));
    assert!(asks(&drain(&mut download, now())).is_empty(), "alone");
    download.handle(now(), Input::Moved(again[0].0, len));
    assert!(asks(&drain(&mut download, now())).len() > 1);
}

#[test]
fn an_empty_file_is_only_verified_and_a_stop_is_a_stop() {
    let mut download = Download::new(plan(0), Rng::new([1; 32]));
    assert_eq!(asks(&drain(&mut download, now()))[0].1, Ask::Verify);
    download.cancel();
    download.cancel();
    assert_eq!(ended(&drain(&mut download, now())), Some(Err(Failure::Cancelled)));
    let mut state = download.state();
    state.sha256 = bytes::Bytes::new();
    assert!(Download::resume(&state, Rng::new([0; 32])).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever breaks, however often: what is on disk is the file, and a break costs a chunk and what was not saved.
    //= proof: content-2
    #[test]
    fn bytes_arrive_as_they_are(size in 0..12_000_000usize, seed: [u8; 32], strikes in 0..14usize) {
        let source = source(size);
        let (mut at, mut rng) = (now(), Rng::new(seed));
        let mut download = Download::new(plan(size as u64), rng.fork());
        let mut saved = download.state();
        let (mut disk, mut token, mut served, mut breaks, mut left) = (vec![0; size], true, 0, 0, strikes);
        let mut under_way: Vec<(AskId, Ask, usize, bool)> = Vec::new();
        let mut spoilt = false;
        let mut steps = 0;
        let result = loop {
            steps += 1;
            prop_assert!(steps < 20_000, "it does not come to an end");
            let outputs = drain(&mut download, at);
            for output in &outputs {
                match output {
                    Output::Ask(id, ask) => under_way.push((*id, ask.clone(), 0, false)),
                    Output::Drop(id) => under_way.retain(|(other, ..)| other != id),
                    Output::Token => token = true,
                    Output::Save => saved = download.state(),
                    Output::Event(_) | Output::Wait(..) => {}
                }
            }
            if let Some(result) = ended(&outputs) {
                break result;
            }
            match outputs.last() {
                Some(Output::Wait(None, WaitReason::Token)) => {
                    download.handle(at, Input::Token);
                    continue;
                }
                Some(Output::Wait(Some(until), WaitReason::Pause)) => {
                    at = *until;
                    continue;
                }
                _ => {}
            }
            at = at + Duration::from_millis(rng.below(300));
            let pick = rng.below(under_way.len() as u64) as usize;
            if left > 0 && rng.below(8) == 0 {
                left -= 1;
                breaks += 1;
                match rng.below(6) {
                    // The client is killed: what it had not brought to the disk is gone.
                    0 | 1 => {
                        under_way.clear();
                        disk[saved.written as usize..].fill(0);
                        download = Download::resume(&saved, rng.fork()).unwrap();
                    }
                    2 => token = false,
                    // Bytes change on the disk.
                    3 if !spoilt && size > 0 => {
                        spoilt = true;
                        disk[0] ^= 1;
                    }
                    4 => download.handle(at, Input::Answer(AskId(rng.below(40) + 1_000), Answer::Hash([0; 32]))),
                    _ if under_way.is_empty() => {}
                    _ => download.handle(at, Input::Answer(under_way[pick].0, Answer::Fault(Fault::Lost))),
                }
                continue;
            }
            let Some((id, ask, done, told)) = under_way.get_mut(pick) else { continue };
            let id = *id;
            if *ask == Ask::Verify {
                let hash = if disk == source { HASH } else { [0; 32] };
                under_way.remove(pick);
                download.handle(at, Input::Answer(id, Answer::Hash(hash)));
                continue;
            }
            let (offset, len) = range(ask);
            if !token {
                under_way.remove(pick);
                download.handle(at, Input::Answer(id, Answer::Fault(Fault::Unauthorized)));
            } else if !*told {
                *told = true;
                download.handle(at, Input::Answer(id, head(offset, size as u64)));
            } else {
                let from = offset as usize + *done;
                let more = (rng.below(400_000) as usize + 1).min(len as usize - *done);
                disk[from..from + more].copy_from_slice(&source[from..from + more]);
                *done += more;
                served += more;
                if *done == len as usize {
                    under_way.remove(pick);
                }
                download.handle(at, Input::Moved(id, more as u64));
            }
        };
        prop_assert_eq!(result, Ok(()), "{}", download.progress().total.to_string());
        prop_assert!(disk == source);
        let allowed = breaks * (MAX_CHUNK + SAVE_EVERY) as usize + if spoilt { size } else { 0 };
        prop_assert!(served - size <= allowed, "{} again in {breaks} breaks", served - size);
    }
}
