//! Every handshake message: with the stub, any content behind right tags; with the real provider, nothing passes that
//! was not made by the other side.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::identity::{Certificate, DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::rng::Rng;
use ntproto_core::session::handshake::{
    Answer, Answered, Answerer, AuthClaims, Carriage, Challenge, Ephemeral, Initiator, MAX_AUTH_PAYLOAD,
    MAX_DEVICE_NAME, MAX_OFFERS, Responder,
};
use ntproto_core::session::records::write_auth_request;
use ntproto_core::time::UnixMillis;
use ntproto_fuzz::STUB;
use ntproto_fuzz::peer::{
    self, AuthRequest, Change, Content, HOUR_MS, noise_answer, noise_challenge, noise_request, noise_response,
};
use ntproto_proto::v2::{self, auth_request, auth_response};
use prost::Message as _;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// Handshake A to the server, cryptography being right.
    Request(AuthRequest<'a>),
    RequestBytes(&'a [u8]),
    /// To the client.
    Response(Content<'a>),
    /// To both, with real cryptography.
    Forged(&'a [u8]),
    /// Handshake B to the client, cryptography being right.
    Challenge(peer::Challenge<'a>, Option<Change<'a>>),
    ChallengeBytes(&'a [u8]),
    /// To the server: the answer.
    Answer {
        device: u8,
        ephemeral: u8,
        request: AuthRequest<'a>,
        change: Option<Change<'a>>,
    },
    AnswerBytes(&'a [u8]),
    /// With real cryptography, somebody in between.
    Between(Change<'a>, Change<'a>),
}

/// The server's static key under the stub.
const SERVER: [u8; 32] = [0x51; 32];

fn provider(real: bool) -> &'static dyn CryptoProvider {
    if real { &RUSTCRYPTO } else { &STUB }
}

fn operator(real: bool) -> DeviceKeys {
    DeviceKeys::generate(&mut Rng::new([3; 32]), provider(real))
}

fn server_keys(real: bool) -> ServerKeys {
    let key = ServerKey::from_secret(provider(real), Secret::new(SERVER), 1);
    let certificate = Certificate {
        static_key: *key.public(),
        key_id: 1,
        not_before: UnixMillis(0),
        not_after: UnixMillis(u64::MAX),
        tls_pins: vec![],
    };
    let certificate = certificate.sign(provider(real), operator(real).signing_secret());
    ServerKeys::new(key, None).with_certificate(certificate)
}

fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    match input {
        Input::Request(request) => to_server(&noise_request(&request.encode())),
        Input::RequestBytes(bytes) => to_server(bytes),
        Input::Response(content) => to_client(&noise_response(&content.encode())),
        Input::Forged(bytes) => forged(bytes),
        Input::Challenge(challenge, change) => {
            let payload = challenge.encode(&SERVER);
            let payload = change.map_or(payload.clone(), |change| change.apply(&payload));
            challenged(&noise_challenge(&SERVER, &payload));
        }
        Input::ChallengeBytes(bytes) => challenged(bytes),
        Input::Answer { device, ephemeral, request, change } => {
            let payload = write_auth_request(&request.message()).unwrap_or_else(|_| request.encode());
            let payload = change.map_or(payload.clone(), |change| change.apply(&payload));
            answered(&noise_answer(device, ephemeral, &payload));
        }
        Input::AnswerBytes(bytes) => answered(bytes),
        Input::Between(challenge, answer) => between(&challenge, &answer),
    }
});

fn is_sound(claims: &AuthClaims) {
    assert!(claims.request.device_name.len() <= MAX_DEVICE_NAME);
    assert!(!claims.request.device_name.chars().any(char::is_control));
    assert!(claims.request.versions.len() <= MAX_OFFERS);
}

// ── handshake A ─────────────────────────────────────────────────────────────────────────────────

fn to_server(message: &[u8]) {
    let Ok(pending) = Responder::receive(&STUB, &server_keys(false), message, Carriage::Frames) else {
        return;
    };
    assert!(message.len() <= MAX_AUTH_PAYLOAD);
    is_sound(&pending.claims);
    let refusal = v2::Refusal { code: 33, ..Default::default() };
    let response = v2::AuthResponse { answer: Some(auth_response::Answer::Refusal(refusal)) };
    let (answer, split) =
        pending.into_parts().1.answer(&mut Rng::new([1; 32]), response).expect("a refusal fits");
    assert!(split.is_none() && answer.len() <= MAX_AUTH_PAYLOAD);
}

fn request() -> v2::AuthRequest {
    v2::AuthRequest {
        credential: Some(auth_request::Credential::KnownDevice(v2::KnownDevice {})),
        fingerprint_hash: vec![1; 32].into(),
        versions: vec!["2.4.1".into()],
        ..Default::default()
    }
}

fn start(real: bool) -> Initiator {
    let mut rng = Rng::new([2; 32]);
    let device = DeviceKeys::generate(&mut rng, provider(real));
    let keys = server_keys(real);
    let server = keys.current().public();
    let started = Initiator::start(provider(real), &mut rng, &device, server, request(), Carriage::Frames);
    started.expect("a legal request").0
}

fn to_client(message: &[u8]) {
    if let Ok((Answer::Granted(grant), _)) = start(false).finish(message) {
        assert_eq!((grant.session_id.len(), grant.device_id.len()), (16, 16));
        assert_eq!(grant.version, "2.4.1");
        // What was understood can be written again.
        assert!(grant.encoded_len() <= message.len() + 64);
    }
}

// ── handshake B ─────────────────────────────────────────────────────────────────────────────────

fn challenge(real: bool) -> (Challenge, Vec<u8>) {
    let ephemeral = Ephemeral::generate(provider(real), &mut Rng::new([4; 32]));
    Challenge::start(provider(real), &server_keys(real), ephemeral).expect("there is a certificate")
}

fn answer(real: bool, challenge: &[u8]) -> Option<Answered> {
    let mut rng = Rng::new([5; 32]);
    let device = DeviceKeys::generate(&mut rng, provider(real));
    let answerer = Answerer {
        operator: *operator(real).signing_public(),
        since: UnixMillis(0),
        now: UnixMillis(100 * HOUR_MS),
    };
    answerer.answer(provider(real), &mut rng, &device, challenge, request()).ok()
}

fn challenged(message: &[u8]) {
    if let Some(answered) = answer(false, message) {
        assert!(message.len() <= MAX_AUTH_PAYLOAD && answered.message.len() <= MAX_AUTH_PAYLOAD);
        assert_eq!(answered.server_static, message[32..64], "the certificate is that of the key shown");
        assert_eq!(answered.offered, ["2.4.1"]);
    }
}

fn answered(message: &[u8]) {
    if let Ok((claims, _)) = challenge(false).0.receive(&STUB, &server_keys(false), message) {
        assert!(message.len() <= MAX_AUTH_PAYLOAD);
        is_sound(&claims);
        assert_eq!(claims.ephemeral, message[..32]);
        assert_eq!(claims.static_key, message[32..64]);
    }
}

// ── nobody gets past the real one ───────────────────────────────────────────────────────────────

fn forged(bytes: &[u8]) {
    assert!(Responder::receive(&RUSTCRYPTO, &server_keys(true), bytes, Carriage::Frames).is_err());
    assert!(start(true).finish(bytes).is_err());
    let (challenge, genuine) = challenge(true);
    assert!(challenge.receive(&RUSTCRYPTO, &server_keys(true), bytes).is_err());
    // Somebody may repeat what a server showed before: its key is the operator's word, which can't be made up.
    let shown = answer(true, bytes).map(|answered| answered.server_static);
    assert!(bytes == genuine || shown.is_none_or(|key| key == *server_keys(true).current().public()));
}

fn between(to_client: &Change<'_>, to_server: &Change<'_>) {
    let (challenge, genuine) = challenge(true);
    let shown = to_client.apply(&genuine);
    // What is not signed by the operator the client can't judge; the server finds out.
    let Some(Answered { message, server_static, .. }) = answer(true, &shown) else { return };
    assert_eq!(server_static, *server_keys(true).current().public(), "a key the operator vouches for");
    let answer = to_server.apply(&message);
    let received = challenge.receive(&RUSTCRYPTO, &server_keys(true), &answer);
    assert_eq!(received.is_ok(), shown == genuine && answer == message, "nothing was altered");
}
