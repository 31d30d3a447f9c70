//! Our Noise against the `snow` crate: each side of ours with the other side of snow's.

use std::sync::Arc;

use ntproto_core::crypto::noise::ik::{InitiatorStart, REQUEST_OVERHEAD, RESPONSE_OVERHEAD, ResponderStart};
use ntproto_core::crypto::schedule::NoiseSplit;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::crypto::{AgreementKey, CryptoProvider, TAG_LEN};
use snow::{Builder, HandshakeState, TransportState};

use crate::PROVIDERS;

const PATTERN: &str = "Noise_IK_25519_AESGCM_SHA256";
const PROLOGUES: [&[u8]; 3] = [b"ntproto/2.4.1", b"", &[0xa5; 100]];
const PAYLOADS: [(&[u8], &[u8]); 4] =
    [(b"", b""), (b"request", b""), (b"", b"response"), (&[7; 3000], &[9; 4000])];

const INITIATOR: [u8; 32] = [0x11; 32];
const RESPONDER: [u8; 32] = [0x22; 32];
const INITIATOR_E: [u8; 32] = [0x33; 32];
const RESPONDER_E: [u8; 32] = [0x44; 32];

fn builder<'a>(prologue: &'a [u8], s: &'a [u8; 32], e: &'a [u8; 32]) -> Builder<'a> {
    builder_of(PATTERN, prologue, s, e)
}

pub(crate) fn builder_of<'a>(
    pattern: &str,
    prologue: &'a [u8],
    s: &'a [u8; 32],
    e: &'a [u8; 32],
) -> Builder<'a> {
    Builder::new(pattern.parse().unwrap())
        .prologue(prologue)
        .unwrap()
        .local_private_key(s)
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(e)
}

/// Writes one message with snow.
pub(crate) fn write(snow: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 65535];
    let len = snow.write_message(payload, &mut out).unwrap();
    out.truncate(len);
    out
}

/// Reads one message with snow.
pub(crate) fn read(snow: &mut HandshakeState, message: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 65535];
    let len = snow.read_message(message, &mut out).unwrap();
    out.truncate(len);
    out
}

fn nonce(n: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&n.to_be_bytes());
    nonce
}

/// Our keys must open what snow's transport seals, and seal what it opens, several messages deep.
pub(crate) fn transport_agrees(
    provider: &dyn CryptoProvider,
    mut snow: TransportState,
    to_snow: &Secret<32>,
    from_snow: &Secret<32>,
) {
    let (to_snow, from_snow) = (provider.aes256gcm(to_snow), provider.aes256gcm(from_snow));
    let mut out = vec![0; 1000];
    for n in 0..5 {
        let text = vec![n as u8; 100 * n as usize];
        let mut sealed = text.clone();
        let tag = to_snow.seal_in_place(&nonce(n), &[], &mut sealed);
        sealed.extend_from_slice(&tag);
        let len = snow.read_message(&sealed, &mut out).unwrap();
        assert_eq!(out[..len], text);

        let len = snow.write_message(&text, &mut out).unwrap();
        let (data, tag) = out[..len].split_at_mut(len - TAG_LEN);
        from_snow.open_in_place(&nonce(n), &[], data, (&*tag).try_into().unwrap()).unwrap();
        assert_eq!(*data, text);
    }
}

#[test]
fn our_initiator_with_snow_as_responder() {
    let mut runs = 0;
    for (_, provider) in PROVIDERS {
        let s: Arc<dyn AgreementKey> = provider.x25519(&Secret::new(INITIATOR)).into();
        let s_public = s.public();
        let responder = provider.x25519(&Secret::new(RESPONDER)).public();
        for prologue in PROLOGUES {
            for (request, response) in PAYLOADS {
                let mut snow = builder(prologue, &RESPONDER, &RESPONDER_E).build_responder().unwrap();
                let e = Secret::new(INITIATOR_E);
                let start =
                    InitiatorStart::new(*provider, prologue, s.clone(), &s_public, &responder, &e).unwrap();
                let (message, wait) = start.finish(request);
                assert_eq!(message.len(), request.len() + REQUEST_OVERHEAD);
                assert_eq!(read(&mut snow, &message), request);
                assert_eq!(snow.get_remote_static().unwrap(), s_public);

                let message = write(&mut snow, response);
                assert_eq!(message.len(), response.len() + RESPONSE_OVERHEAD);
                let (payload, NoiseSplit { k1, k2, h }) = wait.read(&message).unwrap();
                assert_eq!(payload, response);
                assert_eq!(h, snow.get_handshake_hash());
                transport_agrees(*provider, snow.into_transport_mode().unwrap(), &k1, &k2);
                runs += 1;
            }
        }
    }
    assert_eq!(runs, 12 * PROVIDERS.len());
}

#[test]
fn snow_as_initiator_with_our_responder() {
    let mut runs = 0;
    for (_, provider) in PROVIDERS {
        let s = provider.x25519(&Secret::new(RESPONDER));
        let s_public = s.public();
        let initiator = provider.x25519(&Secret::new(INITIATOR)).public();
        for prologue in PROLOGUES {
            for (request, response) in PAYLOADS {
                let mut snow = builder(prologue, &INITIATOR, &INITIATOR_E)
                    .remote_public_key(&s_public)
                    .unwrap()
                    .build_initiator()
                    .unwrap();
                let message = write(&mut snow, request);
                let start = ResponderStart::read(*provider, prologue, &*s, &s_public, &message).unwrap();
                let (payload, reply) = start.finish().unwrap();
                assert_eq!(payload, request);
                assert_eq!(*reply.initiator(), initiator);
                assert_eq!(*reply.initiator_ephemeral(), provider.x25519(&Secret::new(INITIATOR_E)).public());

                let (message, NoiseSplit { k1, k2, h }) =
                    reply.write(&Secret::new(RESPONDER_E), response).unwrap();
                assert_eq!(read(&mut snow, &message), response);
                assert_eq!(h, snow.get_handshake_hash());
                transport_agrees(*provider, snow.into_transport_mode().unwrap(), &k2, &k1);
                runs += 1;
            }
        }
    }
    assert_eq!(runs, 12 * PROVIDERS.len());
}

/// With the same ephemeral keys, both implementations write the same bytes.
#[test]
fn messages_are_byte_for_byte_snows() {
    for (_, provider) in PROVIDERS {
        let i: Arc<dyn AgreementKey> = provider.x25519(&Secret::new(INITIATOR)).into();
        let r = provider.x25519(&Secret::new(RESPONDER));
        let (i_public, r_public) = (i.public(), r.public());
        let mut snow_i = builder(b"p", &INITIATOR, &INITIATOR_E)
            .remote_public_key(&r_public)
            .unwrap()
            .build_initiator()
            .unwrap();
        let mut snow_r = builder(b"p", &RESPONDER, &RESPONDER_E).build_responder().unwrap();

        let e = Secret::new(INITIATOR_E);
        let start = InitiatorStart::new(*provider, b"p", i.clone(), &i_public, &r_public, &e).unwrap();
        let before_payload = *start.hash();
        let (first, wait) = start.finish(b"first");
        assert_eq!(first, write(&mut snow_i, b"first"));
        read(&mut snow_r, &first);
        let start = ResponderStart::read(*provider, b"p", &*r, &r_public, &first).unwrap();
        assert_eq!(*start.hash(), before_payload);
        let (_, reply) = start.finish().unwrap();
        let (second, ours) = reply.write(&Secret::new(RESPONDER_E), b"second").unwrap();
        assert_eq!(second, write(&mut snow_r, b"second"));
        let (_, theirs) = wait.read(&second).unwrap();
        assert!(ours.k1.ct_eq(&theirs.k1) && ours.k2.ct_eq(&theirs.k2) && ours.h == theirs.h);
        assert!(!ours.k1.ct_eq(&ours.k2));
    }
}

/// A prologue that differs is a handshake that fails.
#[test]
fn another_prologue_is_refused() {
    for (_, provider) in PROVIDERS {
        let i: Arc<dyn AgreementKey> = provider.x25519(&Secret::new(INITIATOR)).into();
        let r = provider.x25519(&Secret::new(RESPONDER));
        let (i_public, r_public) = (i.public(), r.public());
        let e = Secret::new(INITIATOR_E);
        let start = InitiatorStart::new(*provider, b"ntproto/2.4.1", i.clone(), &i_public, &r_public, &e);
        let (first, _) = start.unwrap().finish(b"");
        assert!(ResponderStart::read(*provider, b"ntproto/2.4.0", &*r, &r_public, &first).is_err());
    }
}

/// Low-order points: as the server's key, as an ephemeral of either side, as a device's static key.
//= proof: handshake-3
#[test]
fn low_order_points_are_refused() {
    let points =
        [[0; 32], crate::hex_array("0100000000000000000000000000000000000000000000000000000000000000")];
    for (_, provider) in PROVIDERS {
        let i: Arc<dyn AgreementKey> = provider.x25519(&Secret::new(INITIATOR)).into();
        let r = provider.x25519(&Secret::new(RESPONDER));
        let (i_public, r_public) = (i.public(), r.public());
        for point in points {
            let e = Secret::new(INITIATOR_E);
            assert!(InitiatorStart::new(*provider, b"", i.clone(), &i_public, &point, &e).is_err());

            let e = Secret::new(INITIATOR_E);
            let start = InitiatorStart::new(*provider, b"", i.clone(), &i_public, &r_public, &e).unwrap();
            let (mut first, wait) = start.finish(b"");
            let start = ResponderStart::read(*provider, b"", &*r, &r_public, &first).unwrap();
            let (_, reply) = start.finish().unwrap();
            let (mut second, _) = reply.write(&Secret::new(RESPONDER_E), b"").unwrap();
            second[..32].copy_from_slice(&point);
            assert!(wait.read(&second).is_err());
            first[..32].copy_from_slice(&point);
            assert!(ResponderStart::read(*provider, b"", &*r, &r_public, &first).is_err());

            // A device that claims a low-order static key: `ss` is all zeros.
            let e = Secret::new(INITIATOR_E);
            let start = InitiatorStart::new(*provider, b"", i.clone(), &point, &r_public, &e).unwrap();
            let (first, _) = start.finish(b"");
            assert!(ResponderStart::read(*provider, b"", &*r, &r_public, &first).is_err());
        }
    }
}
