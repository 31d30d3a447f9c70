#![allow(clippy::unwrap_used)]
use alloc::vec;

use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::session::handshake::MAX_AUTH_PAYLOAD;
use crate::wire::tlv3::Tlv3Error;
use crate::wire::tlv3::schema::IGNORABLE;

fn any_bytes(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), len).prop_map(Bytes::from)
}

/// A text of at most `max` bytes.
fn any_text(max: usize) -> impl Strategy<Value = String> {
    ".{0,64}".prop_map(move |text: String| {
        let end = (0..=max.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap();
        text[..end].into()
    })
}

fn any_offers() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(any_text(MAX_OFFER_LEN), 0..=MAX_OFFERS)
}

fn any_credential() -> impl Strategy<Value = Credential> {
    prop_oneof![
        any_bytes(0..=MAX_SEALED).prop_map(Credential::Ticket),
        any_bytes(16).prop_map(Credential::Invitation),
        (any_bytes(0..=MAX_SIGNED_BODY), any_bytes(64))
            .prop_map(|(body, signature)| Credential::Link(DeviceLink { body, signature })),
        Just(Credential::KnownDevice(KnownDevice {})),
        Just(Credential::OpenRegistration(OpenRegistration {})),
    ]
}

fn any_request() -> impl Strategy<Value = AuthRequest> {
    let keys = (any_bytes(32), any_bytes(32), any_bytes(64), any_bytes(0..=MAX_BOOTSTRAP));
    let texts = (any_offers(), any_offers(), any_text(MAX_DEVICE_NAME));
    (any_credential(), keys, texts, any::<u64>(), any::<u32>()).prop_map(
        |(credential, (signing_key, fingerprint_hash, signature, bootstrap), texts, timestamp_ms, app_id)| {
            let (versions, transports, device_name) = texts;
            AuthRequest {
                credential: Some(credential),
                signing_key,
                fingerprint_hash,
                timestamp_ms,
                versions,
                transports,
                signature,
                app_id,
                device_name,
                early: None,
                bootstrap,
            }
        },
    )
}

fn any_response() -> impl Strategy<Value = AuthResponse> {
    let ticket = (any_bytes(0..=MAX_SEALED), any::<u64>(), any::<u64>())
        .prop_map(|(sealed, issued_ms, expires_ms)| Ticket { sealed, issued_ms, expires_ms });
    let limits = any::<[u32; 4]>().prop_map(|[max_payload, max_body, heartbeat_ms, sync_page]| Limits {
        max_payload,
        max_body,
        heartbeat_ms,
        sync_page,
    });
    let grant = (
        any_bytes(16),
        option::of(ticket),
        any_text(MAX_OFFER_LEN),
        option::of(limits),
        any_bytes(16),
        any::<[u64; 2]>(),
    )
        .prop_map(|(session_id, ticket, version, limits, device_id, [uin, server_time_ms])| {
            Answer::Grant(Grant { session_id, ticket, version, limits, uin, device_id, server_time_ms })
        });
    let refusal = (any::<u32>(), any_text(MAX_DETAIL), any::<u64>(), any_offers()).prop_map(
        |(code, detail, server_time_ms, versions)| {
            Answer::Refusal(Refusal { code, detail, server_time_ms, versions })
        },
    );
    prop_oneof![grant, refusal].prop_map(|answer| AuthResponse { answer: Some(answer) })
}

fn any_challenge() -> impl Strategy<Value = Challenge> {
    let certificate = (any_bytes(0..=MAX_SIGNED_BODY), any_bytes(64))
        .prop_map(|(body, signature)| ServerCertificate { body, signature });
    (any::<[u8; 32]>(), certificate, any_offers(), any_offers()).prop_map(
        |(token, certificate, versions, transports)| Challenge { token, certificate, versions, transports },
    )
}

proptest! {
    #[test]
    fn a_request_comes_back(request in any_request()) {
        let bytes = write_auth_request(&request).unwrap();
        prop_assert!(bytes.len() < MAX_AUTH_PAYLOAD / 2, "{}", bytes.len());
        prop_assert_eq!(read_auth_request(&bytes).unwrap(), request);
    }

    #[test]
    fn a_response_comes_back(response in any_response()) {
        let bytes = write_auth_response(&response).unwrap();
        prop_assert!(bytes.len() < MAX_AUTH_PAYLOAD / 2, "{}", bytes.len());
        prop_assert_eq!(read_auth_response(&bytes).unwrap(), response);
    }

    #[test]
    fn a_challenge_comes_back(challenge in any_challenge()) {
        let bytes = write_challenge(&challenge).unwrap();
        prop_assert!(bytes.len() < MAX_AUTH_PAYLOAD / 2, "{}", bytes.len());
        prop_assert_eq!(read_challenge(&bytes).unwrap(), challenge);
    }

    /// One encoding a message: whatever is read is written the same, but for records of later versions.
    //= proof: tlv3-9
    #[test]
    fn a_changed_byte_is_refused_or_changes_the_message(request in any_request(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut bytes = write_auth_request(&request).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let budget = Budget::new();
        let skipped = Reader::new(Mode::Bare, &bytes, &budget).flatten().any(|r| r.kind >= IGNORABLE);
        if let (Ok(changed), false) = (read_auth_request(&bytes), skipped) {
            prop_assert_eq!(write_auth_request(&changed).unwrap(), bytes);
            prop_assert_ne!(changed, request);
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_auth_request(&bytes);
        let _ = read_auth_response(&bytes);
        let _ = read_challenge(&bytes);
    }
}

#[test]
fn a_mistake_is_found_before_sending() {
    use RecordError::{Length, Missing, Repeated};
    let good = AuthRequest {
        credential: Some(Credential::KnownDevice(KnownDevice {})),
        signing_key: vec![1; 32].into(),
        fingerprint_hash: vec![2; 32].into(),
        signature: vec![3; 64].into(),
        ..AuthRequest::default()
    };
    assert!(write_auth_request(&good).is_ok());
    for (request, error) in [
        (AuthRequest { credential: None, ..good.clone() }, Missing("ticket")),
        (AuthRequest { signing_key: Bytes::new(), ..good.clone() }, Length("signing_key")),
        (AuthRequest { signature: vec![3; 65].into(), ..good.clone() }, Length("signature")),
        (AuthRequest { device_name: "x".repeat(65), ..good.clone() }, Length("device_name")),
        (AuthRequest { versions: vec!["v".into(); 9], ..good.clone() }, Repeated("version")),
        (AuthRequest { transports: vec!["x".repeat(17)], ..good.clone() }, Length("transport")),
        (AuthRequest { versions: vec!["v".into(); 5000], ..good }, RecordError::Tlv3(Tlv3Error::TooMany)),
    ] {
        assert_eq!(write_auth_request(&request), Err(error));
    }
    assert_eq!(write_auth_response(&AuthResponse { answer: None }), Err(Missing("grant")));
    assert_eq!(write_challenge(&Challenge::default()), Err(Length("signature")));
}

#[test]
fn texts_are_utf8() {
    let refusal = Refusal { detail: "ab".into(), ..Refusal::default() };
    let mut bytes = write_auth_response(&AuthResponse { answer: Some(Answer::Refusal(refusal)) }).unwrap();
    let at = bytes.windows(2).position(|two| two == b"ab").unwrap();
    bytes[at] = 0xff;
    assert_eq!(read_auth_response(&bytes), Err(RecordError::Text("detail")));
}
