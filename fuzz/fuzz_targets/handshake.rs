//! Both handshake messages: with the stub, any content behind right tags; with the real provider, nothing passes.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use ntproto_core::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::rng::Rng;
use ntproto_core::session::handshake::{
    Answer, Carriage, Initiator, MAX_AUTH_PAYLOAD, MAX_DEVICE_NAME, MAX_OFFERS, Responder,
};
use ntproto_fuzz::STUB;
use ntproto_fuzz::peer::{AuthRequest, Content, noise_request, noise_response};
use ntproto_proto::v2::{self, auth_request, auth_response};
use prost::Message as _;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// To the server, cryptography being right.
    Request(AuthRequest<'a>),
    RequestBytes(&'a [u8]),
    /// To the client.
    Response(Content<'a>),
    /// To both, with real cryptography.
    Forged(&'a [u8]),
}

fn server_keys(real: bool) -> ServerKeys {
    let secret = Secret::new([0x51; 32]);
    let key = if real {
        ServerKey::from_secret(&RUSTCRYPTO, secret, 1)
    } else {
        ServerKey::from_secret(&STUB, secret, 1)
    };
    ServerKeys::new(key, None)
}

fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    match input {
        Input::Request(request) => to_server(&noise_request(&request.encode())),
        Input::RequestBytes(bytes) => to_server(bytes),
        Input::Response(content) => to_client(&noise_response(&content.encode())),
        Input::Forged(bytes) => forged(bytes),
    }
});

fn to_server(message: &[u8]) {
    let Ok(pending) = Responder::receive(&STUB, &server_keys(false), message, Carriage::Frames) else {
        return;
    };
    assert!(message.len() <= MAX_AUTH_PAYLOAD);
    let claims = &pending.claims;
    assert!(claims.request.device_name.len() <= MAX_DEVICE_NAME);
    assert!(!claims.request.device_name.chars().any(char::is_control));
    assert!(claims.request.versions.len() <= MAX_OFFERS);
    let refusal = v2::Refusal { code: 33, ..Default::default() };
    let response = v2::AuthResponse { answer: Some(auth_response::Answer::Refusal(refusal)) };
    let (answer, split) =
        pending.into_parts().1.answer(&mut Rng::new([1; 32]), response).expect("a refusal fits");
    assert!(split.is_none() && answer.len() <= MAX_AUTH_PAYLOAD);
}

fn start(real: bool) -> Initiator {
    let mut rng = Rng::new([2; 32]);
    let request = v2::AuthRequest {
        credential: Some(auth_request::Credential::KnownDevice(v2::KnownDevice {})),
        fingerprint_hash: vec![1; 32].into(),
        versions: vec!["2.4.1".into()],
        ..Default::default()
    };
    let keys = server_keys(real);
    let server = keys.current().public();
    let started = if real {
        let device = DeviceKeys::generate(&mut rng, &RUSTCRYPTO);
        Initiator::start(&RUSTCRYPTO, &mut rng, &device, server, request, Carriage::Frames)
    } else {
        let device = DeviceKeys::generate(&mut rng, &STUB);
        Initiator::start(&STUB, &mut rng, &device, server, request, Carriage::Frames)
    };
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

fn forged(bytes: &[u8]) {
    assert!(Responder::receive(&RUSTCRYPTO, &server_keys(true), bytes, Carriage::Frames).is_err());
    assert!(start(true).finish(bytes).is_err());
}
