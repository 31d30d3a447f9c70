//! Our IX against the `snow` crate: each side of ours with the other side of snow's.

use std::sync::Arc;

use ntproto_core::crypto::AgreementKey;
use ntproto_core::crypto::noise::ix::{ANSWER_OVERHEAD, CHALLENGE_OVERHEAD, Initiator, ResponderStart};
use ntproto_core::crypto::schedule::NoiseSplit;
use ntproto_core::crypto::secret::Secret;
use snow::Builder;

use crate::PROVIDERS;
use crate::noise::{builder_of, read, transport_agrees, write};

const PATTERN: &str = "Noise_IX_25519_AESGCM_SHA256";
const PROLOGUES: [&[u8]; 3] = [b"NTHD\x01\0\0\0\0\0\0\0", b"", &[0xa5; 100]];
const PAYLOADS: [(&[u8], &[u8]); 4] =
    [(b"", b""), (b"challenge", b""), (b"", b"answer"), (&[7; 3000], &[9; 3900])];

const SERVER: [u8; 32] = [0x11; 32];
const CLIENT: [u8; 32] = [0x22; 32];
const SERVER_E: [u8; 32] = [0x33; 32];
const CLIENT_E: [u8; 32] = [0x44; 32];

fn builder<'a>(prologue: &'a [u8], s: &'a [u8; 32], e: &'a [u8; 32]) -> Builder<'a> {
    builder_of(PATTERN, prologue, s, e)
}

#[test]
fn our_server_with_snow_as_client() {
    let mut runs = 0;
    for (_, provider) in PROVIDERS {
        let s = provider.x25519(&Secret::new(SERVER));
        for prologue in PROLOGUES {
            for (challenge, answer) in PAYLOADS {
                let mut snow = builder(prologue, &CLIENT, &CLIENT_E).build_responder().unwrap();
                let e = provider.x25519(&Secret::new(SERVER_E));
                let (first, wait) = Initiator::start(*provider, prologue, &s.public(), e, challenge);
                assert_eq!(first.len(), challenge.len() + CHALLENGE_OVERHEAD);
                assert_eq!(read(&mut snow, &first), challenge);

                let second = write(&mut snow, answer);
                assert_eq!(second.len(), answer.len() + ANSWER_OVERHEAD);
                let end = wait.read(&*s, &second).unwrap();
                assert_eq!(*end.responder(), provider.x25519(&Secret::new(CLIENT)).public());
                assert_eq!(*end.responder_ephemeral(), provider.x25519(&Secret::new(CLIENT_E)).public());
                let (payload, NoiseSplit { k1, k2, h }) = end.finish().unwrap();
                assert_eq!(payload, answer);
                assert_eq!(h, snow.get_handshake_hash());
                transport_agrees(*provider, snow.into_transport_mode().unwrap(), &k1, &k2);
                runs += 1;
            }
        }
    }
    assert_eq!(runs, 12 * PROVIDERS.len());
}

#[test]
fn snow_as_server_with_our_client() {
    let mut runs = 0;
    for (_, provider) in PROVIDERS {
        let s: Arc<dyn AgreementKey> = provider.x25519(&Secret::new(CLIENT)).into();
        for prologue in PROLOGUES {
            for (challenge, answer) in PAYLOADS {
                let mut snow = builder(prologue, &SERVER, &SERVER_E).build_initiator().unwrap();
                let first = write(&mut snow, challenge);
                let (payload, start) = ResponderStart::read(*provider, prologue, &first).unwrap();
                assert_eq!(payload, challenge);
                assert_eq!(*start.initiator(), provider.x25519(&Secret::new(SERVER)).public());

                let e = provider.x25519(&Secret::new(CLIENT_E));
                let (second, NoiseSplit { k1, k2, h }) =
                    start.write(&s, &s.public(), e).unwrap().finish(answer);
                assert_eq!(read(&mut snow, &second), answer);
                assert_eq!(h, snow.get_handshake_hash());
                transport_agrees(*provider, snow.into_transport_mode().unwrap(), &k2, &k1);
                runs += 1;
            }
        }
    }
    assert_eq!(runs, 12 * PROVIDERS.len());
}

/// With the same ephemeral keys, both implementations write the same bytes, and sign the same hash.
#[test]
fn messages_are_byte_for_byte_snows() {
    for (_, provider) in PROVIDERS {
        let server = provider.x25519(&Secret::new(SERVER));
        let client: Arc<dyn AgreementKey> = provider.x25519(&Secret::new(CLIENT)).into();
        let mut snow_server = builder(b"p", &SERVER, &SERVER_E).build_initiator().unwrap();
        let mut snow_client = builder(b"p", &CLIENT, &CLIENT_E).build_responder().unwrap();

        let e = provider.x25519(&Secret::new(SERVER_E));
        let (first, wait) = Initiator::start(*provider, b"p", &server.public(), e, b"first");
        assert_eq!(first, write(&mut snow_server, b"first"));
        read(&mut snow_client, &first);
        let (_, start) = ResponderStart::read(*provider, b"p", &first).unwrap();
        let e = provider.x25519(&Secret::new(CLIENT_E));
        let end = start.write(&client, &client.public(), e).unwrap();
        let before_payload = *end.hash();
        let (second, ours) = end.finish(b"second");
        assert_eq!(second, write(&mut snow_client, b"second"));
        let end = wait.read(&*server, &second).unwrap();
        assert_eq!(*end.hash(), before_payload);
        let (_, theirs) = end.finish().unwrap();
        assert!(ours.k1.ct_eq(&theirs.k1) && ours.k2.ct_eq(&theirs.k2) && ours.h == theirs.h);
        assert!(!ours.k1.ct_eq(&ours.k2));
    }
}

/// Every byte of the first message and of the prologue is under the client's answer; every byte of the answer is
/// under its own tags.
#[test]
fn an_altered_byte_anywhere_is_fatal() {
    for (_, provider) in PROVIDERS {
        let server = provider.x25519(&Secret::new(SERVER));
        let client: Arc<dyn AgreementKey> = provider.x25519(&Secret::new(CLIENT)).into();
        let begin = || {
            let e = provider.x25519(&Secret::new(SERVER_E));
            Initiator::start(*provider, b"prologue", &server.public(), e, b"offers")
        };
        let answer = |prologue: &[u8], first: &[u8]| {
            let (_, start) = ResponderStart::read(*provider, prologue, first).unwrap();
            let e = provider.x25519(&Secret::new(CLIENT_E));
            start.write(&client, &client.public(), e).map(|end| end.finish(b"credentials").0)
        };
        let taken = |second: &[u8]| begin().1.read(&*server, second).and_then(|end| end.finish()).is_ok();
        let (first, _) = begin();
        assert!(taken(&answer(b"prologue", &first).unwrap()));
        assert!(!taken(&answer(b"prologuf", &first).unwrap()));
        for n in 0..first.len() {
            let mut altered = first.clone();
            altered[n] ^= 1;
            assert!(!answer(b"prologue", &altered).is_ok_and(|second| taken(&second)), "challenge byte {n}");
        }
        let second = answer(b"prologue", &first).unwrap();
        for n in 0..second.len() {
            let mut altered = second.clone();
            altered[n] ^= 1;
            assert!(!taken(&altered), "answer byte {n}");
            assert!(!taken(&second[..n]), "cut at {n}");
        }
    }
}

#[test]
fn low_order_points_are_refused() {
    let points =
        [[0; 32], crate::hex_array("0100000000000000000000000000000000000000000000000000000000000000")];
    for (_, provider) in PROVIDERS {
        let server = provider.x25519(&Secret::new(SERVER));
        let client: Arc<dyn AgreementKey> = provider.x25519(&Secret::new(CLIENT)).into();
        for point in points {
            let e = || provider.x25519(&Secret::new(SERVER_E));
            let (first, wait) = Initiator::start(*provider, b"", &server.public(), e(), b"");
            for at in [0, 32] {
                let mut first = first.clone();
                first[at..at + 32].copy_from_slice(&point);
                let (_, start) = ResponderStart::read(*provider, b"", &first).unwrap();
                let e = provider.x25519(&Secret::new(CLIENT_E));
                assert!(start.write(&client, &client.public(), e).is_err());
            }
            let mut second = vec![0; 128];
            second[..32].copy_from_slice(&point);
            assert!(wait.read(&*server, &second).is_err());
        }
    }
}
