//! AUTH_REQ and AUTH_RESP: what works, and everything an attacker may try with either message.

use std::sync::LazyLock;

use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::identity::{DeviceKeys, Link, ServerKey, ServerKeys};
use ntproto_core::crypto::noise::ik::{InitiatorStart, REQUEST_OVERHEAD};
use ntproto_core::crypto::schedule::NoiseSplit;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::session::handshake::{
    Answer, Carriage, Credential, HandshakeError, Initiator, MAX_AUTH_PAYLOAD, PROLOGUE, Pending, Responder,
    choose_version,
};
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2::auth_request::Credential as WireCredential;
use ntproto_proto::v2::{
    AuthRequest, AuthResponse, DeviceLink, Grant, KnownDevice, OpenRegistration, Refusal, auth_response,
};
use proptest::prelude::*;
use prost::Message as _;

use crate::PROVIDERS;

struct World {
    provider: &'static dyn CryptoProvider,
    device: DeviceKeys,
    server: ServerKeys,
    carriage: Carriage,
    rng: Rng,
}

impl World {
    fn new(provider: &'static dyn CryptoProvider) -> Self {
        let mut rng = Rng::new([42; 32]);
        Self {
            device: DeviceKeys::generate(&mut rng, provider),
            server: ServerKeys::new(ServerKey::generate(&mut rng, provider, 1), None),
            provider,
            carriage: Carriage::Frames,
            rng,
        }
    }

    fn start(&mut self, request: AuthRequest) -> Result<(Initiator, Vec<u8>), HandshakeError> {
        let server = *self.server.current().public();
        Initiator::start(self.provider, &mut self.rng, &self.device, &server, request, self.carriage)
    }

    fn receive(&self, auth_req: &[u8]) -> Result<Pending, HandshakeError> {
        Responder::receive(self.provider, &self.server, auth_req, self.carriage)
    }

    /// A request that Initiator would not make: `build` gets what the signature must cover.
    fn forge(&mut self, build: impl FnOnce(&Self, &[u8; 32]) -> Vec<u8>) -> Vec<u8> {
        let start = InitiatorStart::new(
            self.provider,
            PROLOGUE,
            self.device.static_key(),
            self.device.static_public(),
            self.server.current().public(),
            &Secret::new(self.rng.array()),
        )
        .unwrap();
        let payload = build(self, start.hash());
        start.finish(&payload).0
    }

    /// `request` with a bootstrap ticket, signed as it is shown.
    fn signed_with(
        &self,
        request: AuthRequest,
        credential: &[u8],
        bootstrap: &[u8],
        h: &[u8; 32],
    ) -> AuthRequest {
        let covered = [&self.provider.sha256(&[bootstrap])[..], h].concat();
        let message =
            [&b"ntproto ticket-pop v1"[..], &self.provider.sha256(&[credential]), &covered].concat();
        let signature = self.provider.ed25519_sign(self.device.signing_secret(), &message);
        AuthRequest {
            signing_key: self.device.signing_public().to_vec().into(),
            signature: signature.to_vec().into(),
            bootstrap: bootstrap.to_vec().into(),
            ..request
        }
    }

    /// `request` signed for `credential` and `h` with the device's key.
    fn signed(&self, mut request: AuthRequest, credential: &[u8], h: &[u8; 32]) -> AuthRequest {
        let message = [&b"ntproto ticket-pop v1"[..], &self.provider.sha256(&[credential]), h].concat();
        let signature = self.provider.ed25519_sign(self.device.signing_secret(), &message);
        request.signing_key = self.device.signing_public().to_vec().into();
        request.signature = signature.to_vec().into();
        request
    }
}

fn request(credential: WireCredential) -> AuthRequest {
    AuthRequest {
        credential: Some(credential),
        fingerprint_hash: vec![3; 32].into(),
        timestamp_ms: 1_700_000_000_000,
        versions: vec!["2.5.0".into(), "2.4.1".into()],
        transports: vec!["quic".into()],
        app_id: 10001,
        device_name: "Ann's phone".into(),
        ..AuthRequest::default()
    }
}

fn ticket(bytes: &[u8]) -> WireCredential {
    WireCredential::Ticket(bytes.to_vec().into())
}

fn grant() -> AuthResponse {
    AuthResponse {
        answer: Some(auth_response::Answer::Grant(Grant {
            session_id: vec![1; 16].into(),
            device_id: vec![2; 16].into(),
            version: "2.4.1".into(),
            uin: 10001,
            ..Grant::default()
        })),
    }
}

fn refusal() -> AuthResponse {
    let refusal = Refusal { code: ErrorCode::Revoked as u32, ..Refusal::default() };
    AuthResponse { answer: Some(auth_response::Answer::Refusal(refusal)) }
}

fn same(a: &NoiseSplit, b: &NoiseSplit) -> bool {
    a.k1.ct_eq(&b.k1) && a.k2.ct_eq(&b.k2) && a.h == b.h
}

/// The error, from results whose success holds secrets and so has no `Debug`.
fn err<T>(result: Result<T, HandshakeError>) -> HandshakeError {
    match result {
        Ok(_) => panic!("was accepted"),
        Err(e) => e,
    }
}

#[test]
fn every_credential_arrives_and_both_sides_agree() {
    for (name, provider) in PROVIDERS {
        let mut world = World::new(*provider);
        let link =
            Link { uin: Uin(10001), device_id: DeviceId([5; 16]), nonce: [6; 16], expires: UnixMillis(9) }
                .sign(*provider, &world.device);
        let credentials = [
            ticket(b"a sealed ticket"),
            WireCredential::Invitation(vec![8; 16].into()),
            WireCredential::Link(link.clone()),
            WireCredential::KnownDevice(KnownDevice {}),
            WireCredential::OpenRegistration(OpenRegistration {}),
        ];
        for (n, credential) in credentials.into_iter().enumerate() {
            let (initiator, auth_req) = world.start(request(credential)).unwrap();
            let pending = world.receive(&auth_req).unwrap();
            let claims = &pending.claims;
            assert!(
                match &claims.credential {
                    Credential::Ticket(sealed) => n == 0 && sealed[..] == b"a sealed ticket"[..],
                    Credential::Invitation(code) => n == 1 && *code == [8; 16],
                    Credential::Link(got) => n == 2 && *got == link,
                    Credential::KnownDevice => n == 3,
                    Credential::OpenRegistration => n == 4,
                },
                "{name}"
            );
            assert_eq!(claims.signing_key, *world.device.signing_public());
            assert_eq!(claims.static_key, *world.device.static_public());
            assert_eq!(claims.device_key_hash, world.device.key_hash(*provider));
            assert_eq!(claims.ephemeral, auth_req[..32]);
            assert_eq!(claims.version, Some("2.4.1"));
            assert_eq!(claims.request.device_name, "Ann's phone");
            let (auth_resp, split) = pending.into_parts().1.answer(&mut world.rng, grant()).unwrap();
            match initiator.finish(&auth_resp).unwrap() {
                (Answer::Granted(grant), ours) => {
                    assert_eq!(grant.uin, 10001);
                    assert!(same(&ours, &split.unwrap()), "{name}");
                }
                (Answer::Refused(_), _) => panic!("{name}: it was a grant"),
            }
        }
    }
}

#[test]
fn a_refusal_is_authenticated_and_gives_no_keys() {
    for (_, provider) in PROVIDERS {
        let mut world = World::new(*provider);
        let (initiator, auth_req) = world.start(request(ticket(b"t"))).unwrap();
        let pending = world.receive(&auth_req).unwrap();
        let (auth_resp, split) = pending.into_parts().1.answer(&mut world.rng, refusal()).unwrap();
        assert!(split.is_none());
        match initiator.finish(&auth_resp).unwrap() {
            (Answer::Refused(refusal), _) => assert_eq!(refusal.code, ErrorCode::Revoked as u32),
            (Answer::Granted(_), _) => panic!("it was a refusal"),
        }
    }
}

#[test]
fn two_handshakes_share_nothing() {
    for (_, provider) in PROVIDERS {
        let mut world = World::new(*provider);
        let mut splits = Vec::new();
        for _ in 0..2 {
            let (_, auth_req) = world.start(request(ticket(b"t"))).unwrap();
            let pending = world.receive(&auth_req).unwrap();
            // Even the same request again gets other keys.
            let again = world.receive(&auth_req).unwrap();
            splits.push(pending.into_parts().1.answer(&mut world.rng, grant()).unwrap().1.unwrap());
            splits.push(again.into_parts().1.answer(&mut world.rng, grant()).unwrap().1.unwrap());
        }
        for (i, a) in splits.iter().enumerate() {
            for b in &splits[i + 1..] {
                assert!(!a.k1.ct_eq(&b.k1) && !a.k2.ct_eq(&b.k2) && a.h != b.h);
            }
        }
    }
}

#[test]
fn the_wrong_server_key() {
    for (_, provider) in PROVIDERS {
        let mut world = World::new(*provider);
        let other = ServerKey::generate(&mut world.rng, *provider, 2);
        let (_, auth_req) = Initiator::start(
            *provider,
            &mut world.rng,
            &world.device,
            other.public(),
            request(ticket(b"t")),
            Carriage::Frames,
        )
        .unwrap();
        let refused = err(world.receive(&auth_req));
        assert_eq!(refused, HandshakeError::Unreadable);

        // An impostor that relays the request but holds no key can't answer it.
        let (initiator, _) = world.start(request(ticket(b"t"))).unwrap();
        let pending = world.receive(&world.start_other().1).unwrap();
        let (auth_resp, _) = pending.into_parts().1.answer(&mut world.rng, grant()).unwrap();
        assert_eq!(err(initiator.finish(&auth_resp)), HandshakeError::Unreadable);
    }
}

impl World {
    /// A request of somebody else.
    fn start_other(&self) -> (Initiator, Vec<u8>) {
        let mut rng = Rng::new([43; 32]);
        let device = DeviceKeys::generate(&mut rng, self.provider);
        let server = self.server.current().public();
        Initiator::start(self.provider, &mut rng, &device, server, request(ticket(b"t")), self.carriage)
            .unwrap()
    }
}

#[test]
fn a_rotated_server_key_answers_until_it_is_forgotten() {
    for (_, provider) in PROVIDERS {
        let mut world = World::new(*provider);
        let (initiator, auth_req) = world.start(request(ticket(b"t"))).unwrap();
        let next = ServerKey::generate(&mut world.rng, *provider, 2);
        world.server.rotate(next);
        assert_eq!((world.server.current().id(), world.server.previous().unwrap().id()), (2, 1));
        let pending = world.receive(&auth_req).unwrap();
        let (auth_resp, _) = pending.into_parts().1.answer(&mut world.rng, grant()).unwrap();
        assert!(matches!(initiator.finish(&auth_resp), Ok((Answer::Granted(_), _))));
        let (_, to_new) = world.start(request(ticket(b"t"))).unwrap();
        assert!(world.receive(&to_new).is_ok());
        world.server.forget_previous();
        assert_eq!(err(world.receive(&auth_req)), HandshakeError::Unreadable);
        assert!(world.receive(&to_new).is_ok());
    }
}

#[test]
fn a_wrong_signature() {
    for (_, provider) in PROVIDERS {
        let mut world = World::new(*provider);
        // The control: what forge makes is accepted when it is right.
        let good = world.forge(|w, h| w.signed(request(ticket(b"t")), b"t", h).encode_to_vec());
        assert!(world.receive(&good).is_ok());

        let other_key = DeviceKeys::generate(&mut Rng::new([44; 32]), *provider);
        type Spoil<'a> = &'a dyn Fn(&World, &[u8; 32]) -> AuthRequest;
        let spoilt: [(&str, Spoil<'_>); 5] = [
            // A stolen ticket in a handshake of one's own, with the signature made for another.
            ("swapped ticket", &|w, h| w.signed(request(ticket(b"stolen")), b"t", h)),
            ("another handshake", &|w, h| {
                let mut h = *h;
                h[0] ^= 1;
                w.signed(request(ticket(b"t")), b"t", &h)
            }),
            ("flipped bit", &|w, h| {
                let mut request = w.signed(request(ticket(b"t")), b"t", h);
                let mut signature = request.signature.to_vec();
                signature[10] ^= 1;
                request.signature = signature.into();
                request
            }),
            ("another signing key", &|w, h| {
                let mut request = w.signed(request(ticket(b"t")), b"t", h);
                request.signing_key = other_key.signing_public().to_vec().into();
                request
            }),
            // The small-order key whose signature (identity, 0) some verifiers take for any message.
            ("small-order key", &|w, h| {
                let mut request = w.signed(request(ticket(b"t")), b"t", h);
                let mut identity = vec![0; 64];
                identity[0] = 1;
                request.signing_key = identity[..32].to_vec().into();
                request.signature = identity.into();
                request
            }),
        ];
        for (what, spoil) in spoilt {
            let auth_req = world.forge(|w, h| spoil(w, h).encode_to_vec());
            let refused = err(world.receive(&auth_req));
            assert_eq!(refused, HandshakeError::Signature, "{what}");
        }
    }
}

/// Kinds of credential with the same bytes must not pass for each other's signature by accident:
/// the payload is sealed, so only the device itself could exchange them.
#[test]
fn rules_of_the_request() {
    for (_, provider) in PROVIDERS {
        let mut world = World::new(*provider);
        type Spoil = fn(&mut AuthRequest);
        let spoilt: [(&str, Spoil); 13] = [
            ("no credential", |r| r.credential = None),
            ("invitation code", |r| {
                r.credential = Some(WireCredential::Invitation(vec![8; 15].into()));
            }),
            ("signing key", |r| r.signing_key = vec![1; 31].into()),
            ("signature length", |r| r.signature = vec![1; 65].into()),
            ("signature length", |r| r.signature = vec![].into()),
            ("fingerprint hash", |r| r.fingerprint_hash = vec![].into()),
            ("fingerprint hash", |r| r.fingerprint_hash = vec![3; 33].into()),
            ("offers", |r| r.versions = vec!["2.4.1".into(); 9]),
            ("offers", |r| r.transports = vec!["quic".into(); 9]),
            ("offers", |r| r.versions = vec!["2".repeat(17)]),
            ("device name", |r| r.device_name = "n".repeat(65)),
            ("device name", |r| r.device_name = "line\nbreak".into()),
            ("device name", |r| r.device_name = "\u{1b}[31m".into()),
        ];
        for (rule, spoil) in spoilt {
            let auth_req = world.forge(|w, h| {
                let mut request = w.signed(request(ticket(b"t")), b"t", h);
                spoil(&mut request);
                request.encode_to_vec()
            });
            assert_eq!(err(world.receive(&auth_req)), HandshakeError::Malformed(rule));
        }
        let auth_req = world.forge(|_, _| vec![0xff; 40]);
        assert_eq!(err(world.receive(&auth_req)), HandshakeError::Malformed("not an AuthRequest"));
        // The client runs the same rules before it sends.
        let mut unsendable = request(ticket(b"t"));
        unsendable.device_name = "line\nbreak".into();
        assert_eq!(err(world.start(unsendable)), HandshakeError::Malformed("device name"));
        let mut unsendable = request(ticket(b"t"));
        unsendable.credential = None;
        assert_eq!(err(world.start(unsendable)), HandshakeError::Malformed("no credential"));
        // The limits themselves are fine.
        let mut full = request(ticket(b"t"));
        full.versions = vec!["2".repeat(16); 8];
        full.transports = vec!["t".repeat(16); 8];
        full.device_name = "n".repeat(64);
        let (_, auth_req) = world.start(full).unwrap();
        assert_eq!(world.receive(&auth_req).unwrap().claims.version, None);
    }
}

#[test]
fn sizes() {
    for (_, provider) in PROVIDERS {
        let mut world = World::new(*provider);
        let huge = vec![0; MAX_AUTH_PAYLOAD + 1];
        assert_eq!(err(world.receive(&huge)), HandshakeError::TooLarge);
        assert_eq!(err(world.receive(&huge[1..])), HandshakeError::Unreadable);
        let (initiator, auth_req) = world.start(request(ticket(b"t"))).unwrap();
        assert_eq!(err(initiator.finish(&huge)), HandshakeError::TooLarge);
        assert_eq!(err(world.start(request(ticket(&huge)))), HandshakeError::TooLarge);

        // The largest request that fits is taken, one byte more is not.
        let room = |world: &mut World, len: usize| world.start(request(ticket(&vec![7; len])));
        let len = (3500..MAX_AUTH_PAYLOAD).find(|&len| room(&mut world, len).is_err()).unwrap() - 1;
        let (_, largest) = room(&mut world, len).unwrap();
        assert_eq!(largest.len(), MAX_AUTH_PAYLOAD);
        assert!(world.receive(&largest).is_ok());

        let mut response = grant();
        if let Some(auth_response::Answer::Grant(grant)) = &mut response.answer {
            grant.version = "v".repeat(MAX_AUTH_PAYLOAD);
        }
        let pending = world.receive(&auth_req).unwrap();
        assert_eq!(err(pending.into_parts().1.answer(&mut world.rng, response)), HandshakeError::TooLarge);
        let pending = world.receive(&auth_req).unwrap();
        let refused = err(pending.into_parts().1.answer(&mut world.rng, AuthResponse { answer: None }));
        assert_eq!(refused, HandshakeError::Malformed("no answer"));
    }
}

//= proof: handshake-11
#[test]
fn rules_of_the_response() {
    for (_, provider) in PROVIDERS {
        let mut world = World::new(*provider);
        type Spoil = fn(&mut Grant);
        let spoilt: [(HandshakeError, Spoil); 4] = [
            (HandshakeError::Malformed("session id"), |g| g.session_id = vec![1; 15].into()),
            (HandshakeError::Malformed("device id"), |g| g.device_id = vec![].into()),
            (HandshakeError::Version, |g| g.version = "2.4.0".into()),
            (HandshakeError::Version, |g| g.version = String::new()),
        ];
        for (expected, spoil) in spoilt {
            let (initiator, auth_req) = world.start(request(ticket(b"t"))).unwrap();
            let mut response = grant();
            if let Some(auth_response::Answer::Grant(grant)) = &mut response.answer {
                spoil(grant);
            }
            let pending = world.receive(&auth_req).unwrap();
            let (auth_resp, _) = pending.into_parts().1.answer(&mut world.rng, response).unwrap();
            assert_eq!(err(initiator.finish(&auth_resp)), expected);
        }
    }
}

//= proof: handshake-12
#[test]
fn versions_and_clocks() {
    let offers = |v: &[&str]| v.iter().map(|&s| s.into()).collect::<Vec<String>>();
    assert_eq!(choose_version(&offers(&["3.0.0", "2.4.1"])), Some("2.4.1"));
    assert_eq!(choose_version(&offers(&["2.4.10", "2.4", ""])), None);
    assert_eq!(choose_version(&[]), None);

    let mut world = World::new(PROVIDERS[0].1);
    let (_, auth_req) = world.start(request(ticket(b"t"))).unwrap();
    let claims = world.receive(&auth_req).unwrap().claims;
    let t = claims.request.timestamp_ms;
    for (server, off) in [
        (t, false),
        (t - 120_000, false),
        (t + 120_000, false),
        (t - 120_001, true),
        (t + 120_001, true),
        (0, true),
    ] {
        assert_eq!(claims.clock_is_off(UnixMillis(server)), off);
    }
}

/// One good handshake a provider, to be damaged.
struct Recorded {
    world: World,
    auth_req: Vec<u8>,
    auth_resp_len: usize,
}

static RECORDED: LazyLock<Vec<Recorded>> = LazyLock::new(|| {
    let record = |provider| {
        let mut world = World::new(provider);
        let (_, auth_req) = world.start(request(ticket(b"a ticket"))).unwrap();
        let pending = world.receive(&auth_req).unwrap();
        let (auth_resp, _) = pending.into_parts().1.answer(&mut world.rng, grant()).unwrap();
        Recorded { world, auth_req, auth_resp_len: auth_resp.len() }
    };
    PROVIDERS.iter().map(|(_, provider)| record(*provider)).collect()
});

/// Hands a response damaged by `damage` to a client that made a good request.
fn damaged_response(recorded: &Recorded, seed: u8, damage: impl FnOnce(&mut Vec<u8>)) -> HandshakeError {
    let mut rng = Rng::new([seed; 32]);
    let world = &recorded.world;
    let server = world.server.current().public();
    let start = Initiator::start(
        world.provider,
        &mut rng,
        &world.device,
        server,
        request(ticket(b"t")),
        Carriage::Frames,
    );
    let (initiator, auth_req) = start.unwrap();
    let (mut auth_resp, _) =
        world.receive(&auth_req).unwrap().into_parts().1.answer(&mut rng, grant()).unwrap();
    damage(&mut auth_resp);
    err(initiator.finish(&auth_resp))
}

/// Every truncation and every flipped bit of AUTH_REQ, exhaustively. Bit 255 of the ephemeral is the
/// one X25519 ignores; it is in the transcript, so it counts too.
#[test]
fn every_truncation_and_every_flipped_bit_of_the_request() {
    let recorded = &RECORDED[0];
    let good = &recorded.auth_req;
    assert!(good.len() > REQUEST_OVERHEAD);
    for len in 0..good.len() {
        assert_eq!(err(recorded.world.receive(&good[..len])), HandshakeError::Unreadable);
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(err(recorded.world.receive(&bad)), HandshakeError::Unreadable, "bit {bit}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_request_is_unreadable(at: prop::sample::Index, mask in 1..=255_u8, cut: bool, extra in prop::collection::vec(any::<u8>(), 0..40)) {
        for recorded in RECORDED.iter() {
            let mut bad = recorded.auth_req.clone();
            let at = at.index(bad.len());
            if cut { bad.truncate(at) } else { bad[at] ^= mask }
            prop_assert_eq!(err(recorded.world.receive(&bad)), HandshakeError::Unreadable);
            let longer = [&recorded.auth_req[..], &extra].concat();
            prop_assert_eq!(recorded.world.receive(&longer).is_ok(), extra.is_empty());
        }
    }

    #[test]
    fn a_damaged_response_is_unreadable(at: prop::sample::Index, mask in 1..=255_u8, cut: bool, seed: u8) {
        for recorded in RECORDED.iter() {
            let at = at.index(recorded.auth_resp_len);
            let refused = damaged_response(recorded, seed, |bytes| {
                if cut { bytes.truncate(at) } else { bytes[at] ^= mask }
            });
            prop_assert_eq!(refused, HandshakeError::Unreadable);
        }
    }

    #[test]
    fn noise_of_any_length_is_a_typed_error(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        for recorded in RECORDED.iter() {
            let refused = err(recorded.world.receive(&bytes));
            let expected =
                if bytes.len() > MAX_AUTH_PAYLOAD { HandshakeError::TooLarge } else { HandshakeError::Unreadable };
            prop_assert_eq!(refused, expected);
        }
    }

    /// Behind the seal: any payload at all is a typed error, or a request within the rules.
    #[test]
    fn a_sealed_payload_of_noise_is_a_typed_error(payload in prop::collection::vec(any::<u8>(), 0..600)) {
        for (_, provider) in PROVIDERS {
            let mut world = World::new(*provider);
            let auth_req = world.forge(|_, _| payload.clone());
            prop_assert!(world.receive(&auth_req).is_err());
        }
    }
}

/// An empty link arrives as it is; verifying it is the server's next step.
#[test]
fn a_link_is_passed_on_unverified() {
    let mut world = World::new(PROVIDERS[0].1);
    let credential = WireCredential::Link(DeviceLink::default());
    let (_, auth_req) = world.start(request(credential)).unwrap();
    let pending = world.receive(&auth_req).unwrap();
    assert!(matches!(pending.claims.credential, Credential::Link(link) if link.body.is_empty()));
}

//= proof: handshake-23
#[test]
fn the_signature_covers_the_bootstrap_ticket() {
    for (name, provider) in PROVIDERS {
        let mut world = World::new(*provider);
        for carriage in [Carriage::Frames, Carriage::Nthd] {
            world.carriage = carriage;
            let bootstrap = vec![9; 120];
            let request = AuthRequest { bootstrap: bootstrap.clone().into(), ..request(ticket(b"sealed")) };
            let (_, auth_req) = world.start(request).unwrap();
            let claims = world.receive(&auth_req).unwrap_or_else(|e| panic!("{name}: {e}")).claims;
            assert_eq!(claims.request.bootstrap, bootstrap);
        }
        world.carriage = Carriage::Frames;
        // What is signed, and what is shown.
        for (signed, shown, good) in [
            (&b"mine"[..], &b"mine"[..], true),
            (b"mine", b"yours", false),
            (b"mine", b"", false),
            (b"", b"yours", false),
        ] {
            let auth_req = world.forge(|world, h| {
                let request = request(ticket(b"sealed"));
                let request = match signed {
                    b"" => world.signed(request, b"sealed", h),
                    _ => world.signed_with(request, b"sealed", signed, h),
                };
                AuthRequest { bootstrap: shown.to_vec().into(), ..request }.encode_to_vec()
            });
            match world.receive(&auth_req) {
                Ok(_) => assert!(good, "{name}"),
                Err(e) => assert!(!good && e == HandshakeError::Signature, "{name}: {e}"),
            }
        }
        let long = AuthRequest { bootstrap: vec![9; 193].into(), ..request(ticket(b"sealed")) };
        assert_eq!(err(world.start(long)), HandshakeError::Malformed("bootstrap ticket"));
    }
}
