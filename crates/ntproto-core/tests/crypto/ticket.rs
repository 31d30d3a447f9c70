//! Tickets: sealed, opened, rotated, and every way one must not be accepted.

use ntproto_core::code::ErrorCode;
use ntproto_core::rng::Rng;
use ntproto_core::session::ticket::{
    MAX_SEALED, ROTATE_AFTER_MS, TicketError, TicketKey, TicketSealer, check,
};
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2::TicketBody;

use crate::PROVIDERS;

const NOW: u64 = 1_700_000_000_000;

fn body(issued_ms: u64) -> TicketBody {
    TicketBody {
        uin: u64::MAX,
        device_id: vec![1; 16].into(),
        device_key_hash: vec![2; 32].into(),
        issued_ms,
        expires_ms: issued_ms + 900_000,
        cap_ms: issued_ms + 86_400_000,
        revocation_generation: 5,
    }
}

fn for_each(mut test: impl FnMut(TicketSealer, Rng)) {
    for (_, provider) in PROVIDERS {
        let mut rng = Rng::new([1; 32]);
        let key = TicketKey::generate(&mut rng, 1, UnixMillis(NOW));
        test(TicketSealer::new(*provider, key, None), rng);
    }
}

#[test]
fn a_ticket_opens_to_what_was_sealed() {
    for_each(|mut sealer, mut rng| {
        let sealed = sealer.seal(&mut rng, &body(NOW));
        assert_eq!(sealer.open(&sealed), Ok(body(NOW)));
        assert_eq!(sealed[..4], 1_u32.to_be_bytes());
        assert!(sealed.len() * 2 <= MAX_SEALED, "{}", sealed.len());
        // The nonce is fresh: the same body never gives the same ticket.
        assert_ne!(sealed, sealer.seal(&mut rng, &body(NOW)));
    });
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused() {
    for_each(|mut sealer, mut rng| {
        let sealed = sealer.seal(&mut rng, &body(NOW));
        for len in 0..sealed.len() {
            assert_eq!(sealer.open(&sealed[..len]), Err(TicketError::Invalid));
        }
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 32 { TicketError::UnknownKey } else { TicketError::Invalid };
            assert_eq!(sealer.open(&bad), Err(expected));
        }
        let long = [&sealed[..], &[0; MAX_SEALED]].concat();
        assert_eq!(sealer.open(&long), Err(TicketError::Invalid));
    });
}

/// The key id is authenticated: a ticket can't be moved to another key, even one with the same bytes.
#[test]
fn the_key_id_is_bound() {
    for (_, provider) in PROVIDERS {
        let mut rng = Rng::new([1; 32]);
        let one = TicketKey::generate(&mut rng, 1, UnixMillis(NOW));
        let two = TicketKey::from_parts(2, UnixMillis(NOW), one.secret().duplicate());
        let mut sealer = TicketSealer::new(*provider, one, Some(two));
        let mut sealed = sealer.seal(&mut rng, &body(NOW));
        sealed[3] = 2;
        assert_eq!(sealer.open(&sealed), Err(TicketError::Invalid));
    }
}

#[test]
fn keys_overlap_once() {
    for_each(|mut sealer, mut rng| {
        let first = sealer.seal(&mut rng, &body(NOW));
        sealer.rotate(&mut rng, UnixMillis(NOW));
        let second = sealer.seal(&mut rng, &body(NOW));
        assert_eq!(second[..4], 2_u32.to_be_bytes());
        assert_eq!((sealer.current().id(), sealer.previous().unwrap().id()), (2, 1));
        assert!(sealer.open(&first).is_ok() && sealer.open(&second).is_ok());
        sealer.rotate(&mut rng, UnixMillis(NOW));
        assert_eq!(sealer.open(&first), Err(TicketError::UnknownKey));
        assert!(sealer.open(&second).is_ok());
    });
}

#[test]
fn a_key_is_changed_when_it_is_due() {
    for_each(|mut sealer, mut rng| {
        let just_before = sealer.seal(&mut rng, &body(NOW + ROTATE_AFTER_MS - 1));
        assert_eq!(sealer.current().id(), 1);
        let _ = sealer.seal(&mut rng, &body(NOW + ROTATE_AFTER_MS));
        assert_eq!(sealer.current().id(), 2);
        assert_eq!(sealer.current().created(), UnixMillis(NOW + ROTATE_AFTER_MS));
        assert!(sealer.open(&just_before).is_ok());
        // A clock that ran back changes nothing.
        let _ = sealer.seal(&mut rng, &body(NOW));
        assert_eq!(sealer.current().id(), 2);
    });
}

#[test]
fn tickets_survive_a_restart_that_kept_the_keys() {
    for (_, provider) in PROVIDERS {
        let mut rng = Rng::new([1; 32]);
        let key = TicketKey::generate(&mut rng, u32::MAX, UnixMillis(NOW));
        let mut sealer = TicketSealer::new(*provider, key, None);
        let old = sealer.seal(&mut rng, &body(NOW));
        sealer.rotate(&mut rng, UnixMillis(NOW));
        let new = sealer.seal(&mut rng, &body(NOW));
        let stored =
            |key: &TicketKey| TicketKey::from_parts(key.id(), key.created(), key.secret().duplicate());
        let restarted = TicketSealer::new(*provider, stored(sealer.current()), sealer.previous().map(stored));
        assert_eq!(restarted.open(&old), Ok(body(NOW)));
        assert_eq!(restarted.open(&new), Ok(body(NOW)));
        assert_eq!(restarted.current().id(), 0, "ids wrap");
        let fresh = TicketKey::generate(&mut rng, 0, UnixMillis(NOW));
        let forgetful = TicketSealer::new(*provider, fresh, None);
        assert_eq!(forgetful.open(&new), Err(TicketError::Invalid));
    }
}

//= proof: tickets-1
#[test]
fn never_accepted() {
    let good = body(NOW);
    let at = |now: u64| check(&good, UnixMillis(now), &[2; 32], 5);
    assert_eq!(at(NOW), Ok(()));
    assert_eq!(at(NOW + 899_999), Ok(()));
    assert_eq!(at(NOW + 900_000), Err(TicketError::Expired));
    assert_eq!(at(u64::MAX), Err(TicketError::Expired));
    assert_eq!(at(NOW - 120_000), Ok(()));
    assert_eq!(at(NOW - 120_001), Err(TicketError::NotYetValid));
    assert_eq!(at(0), Err(TicketError::NotYetValid));

    let mut other_device = [2; 32];
    other_device[31] = 3;
    assert_eq!(check(&good, UnixMillis(NOW), &other_device, 5), Err(TicketError::WrongDevice));
    assert_eq!(check(&good, UnixMillis(NOW), &[2; 32], 6), Err(TicketError::Revoked));
    assert_eq!(check(&good, UnixMillis(NOW), &[2; 32], 4), Err(TicketError::Revoked));

    let capped = TicketBody { cap_ms: NOW + 10, ..body(NOW) };
    assert_eq!(check(&capped, UnixMillis(NOW + 9), &[2; 32], 5), Ok(()));
    assert_eq!(check(&capped, UnixMillis(NOW + 10), &[2; 32], 5), Err(TicketError::Expired));
    let nameless = TicketBody { device_key_hash: vec![].into(), ..body(NOW) };
    assert_eq!(check(&nameless, UnixMillis(NOW), &[2; 32], 5), Err(TicketError::WrongDevice));
}

#[test]
fn codes() {
    assert_eq!(TicketError::Expired.code(), ErrorCode::TicketExpired);
    assert_eq!(TicketError::UnknownKey.code(), ErrorCode::TicketExpired);
    assert_eq!(TicketError::NotYetValid.code(), ErrorCode::TicketExpired);
    assert_eq!(TicketError::Revoked.code(), ErrorCode::Revoked);
    assert_eq!(TicketError::Invalid.code(), ErrorCode::BadCredential);
    assert_eq!(TicketError::WrongDevice.code(), ErrorCode::BadCredential);
}
