//! Server certificates and device links.

use ntproto_core::crypto::identity::{
    Certificate, CertificateError, DeviceKeys, Link, LinkError, MAX_TLS_PINS, ServerKey, device_key_hash,
};
use ntproto_core::crypto::secret::Secret;
use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::session::records::MAX_SIGNED_BODY;
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2::{DeviceLink, ServerCertificate};

use crate::PROVIDERS;

#[test]
fn keys_survive_storage() {
    for (name, provider) in PROVIDERS {
        let mut rng = Rng::new([1; 32]);
        let device = DeviceKeys::generate(&mut rng, *provider);
        let restored = DeviceKeys::from_secrets(
            *provider,
            device.signing_secret().duplicate(),
            device.static_secret().duplicate(),
        );
        for copy in [&restored, &device.duplicate()] {
            assert_eq!(copy.signing_public(), device.signing_public(), "{name}");
            assert_eq!(copy.static_public(), device.static_public(), "{name}");
            assert!(copy.signing_secret().ct_eq(device.signing_secret()));
            assert!(copy.static_secret().ct_eq(device.static_secret()));
        }
        assert!(!device.signing_secret().ct_eq(device.static_secret()));
        let hash = device_key_hash(*provider, device.signing_public(), device.static_public());
        assert_eq!(device.key_hash(*provider), hash);
        assert_ne!(hash, device_key_hash(*provider, device.static_public(), device.signing_public()));

        let server = ServerKey::generate(&mut rng, *provider, 7);
        let restored = ServerKey::from_secret(*provider, server.secret().duplicate(), server.id());
        assert_eq!((restored.public(), restored.id()), (server.public(), 7));
    }
}

//= proof: handshake-1
#[test]
fn a_certificate_is_believed_only_with_the_pinned_key_and_in_time() {
    for (_, provider) in PROVIDERS {
        let operator = Secret::new([9; 32]);
        let pinned = provider.ed25519_public(&operator);
        let certificate = Certificate {
            static_key: [4; 32],
            key_id: 3,
            not_before: UnixMillis(1000),
            not_after: UnixMillis(2000),
            tls_pins: vec![[5; 32], [6; 32]],
        };
        let signed = certificate.sign(*provider, &operator);
        let at = |now| Certificate::verify(*provider, &pinned, &signed, UnixMillis(now));
        assert_eq!(at(999), Err(CertificateError::NotYetValid));
        assert_eq!(at(1000), Ok(certificate.clone()));
        assert_eq!(at(1999), Ok(certificate.clone()));
        assert_eq!(at(2000), Err(CertificateError::Expired));
        assert_eq!(at(u64::MAX), Err(CertificateError::Expired));

        let other = provider.ed25519_public(&Secret::new([10; 32]));
        let now = UnixMillis(1500);
        let refused = Certificate::verify(*provider, &other, &signed, now);
        assert_eq!(refused, Err(CertificateError::Signature));
        for bit in 0..signed.body.len() * 8 {
            let mut body = signed.body.to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            let bad = ServerCertificate { body: body.into(), signature: signed.signature.clone() };
            let refused = Certificate::verify(*provider, &pinned, &bad, now);
            assert_eq!(refused, Err(CertificateError::Signature));
        }
        for len in [0, 63, 65] {
            let mut signature = signed.signature.to_vec();
            signature.resize(len, 0);
            let bad = ServerCertificate { body: signed.body.clone(), signature: signature.into() };
            let refused = Certificate::verify(*provider, &pinned, &bad, now);
            assert_eq!(refused, Err(CertificateError::Signature));
        }
        // Signed by the operator, yet no certificate.
        for body in [&b"\xff\xff"[..], b"", b"\x0a\x1f0123456789012345678901234567890"] {
            let message = [b"ntproto server-cert v1", body].concat();
            let signature = provider.ed25519_sign(&operator, &message).to_vec();
            let bad = ServerCertificate { body: body.to_vec().into(), signature: signature.into() };
            let refused = Certificate::verify(*provider, &pinned, &bad, now);
            assert_eq!(refused, Err(CertificateError::Malformed));
        }
        // As many pins as there may be, none, and one more.
        for (pins, good) in [(MAX_TLS_PINS, true), (0, true), (MAX_TLS_PINS + 1, false)] {
            let certificate = Certificate { tls_pins: vec![[5; 32]; pins], ..certificate.clone() };
            let signed = certificate.sign(*provider, &operator);
            assert!(signed.body.len() <= MAX_SIGNED_BODY || !good);
            let read = Certificate::verify(*provider, &pinned, &signed, now);
            assert_eq!(read, if good { Ok(certificate) } else { Err(CertificateError::Malformed) });
        }
    }
}

#[test]
fn a_link_is_believed_only_from_its_device_and_in_time() {
    for (_, provider) in PROVIDERS {
        let mut rng = Rng::new([1; 32]);
        let device = DeviceKeys::generate(&mut rng, *provider);
        let link =
            Link { uin: Uin(10001), device_id: DeviceId([2; 16]), nonce: [3; 16], expires: UnixMillis(1000) };
        let signed = link.sign(*provider, &device);
        let key = device.signing_public();
        assert_eq!(Link::peek(&signed), Ok(link));
        assert_eq!(Link::verify(*provider, key, &signed, UnixMillis(999)), Ok(link));
        let expired = Link::verify(*provider, key, &signed, UnixMillis(1000));
        assert_eq!(expired, Err(LinkError::Expired));

        let other = DeviceKeys::generate(&mut rng, *provider);
        let refused = Link::verify(*provider, other.signing_public(), &signed, UnixMillis(0));
        assert_eq!(refused, Err(LinkError::Signature));
        for bit in 0..signed.body.len() * 8 {
            let mut body = signed.body.to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            let bad = DeviceLink { body: body.into(), signature: signed.signature.clone() };
            let refused = Link::verify(*provider, key, &bad, UnixMillis(0));
            assert_eq!(refused, Err(LinkError::Signature));
        }
        // A certificate's signature is no link's: the contexts differ.
        let message = [b"ntproto server-cert v1", &signed.body[..]].concat();
        let signature = provider.ed25519_sign(device.signing_secret(), &message).to_vec();
        let bad = DeviceLink { body: signed.body.clone(), signature: signature.into() };
        let refused = Link::verify(*provider, key, &bad, UnixMillis(0));
        assert_eq!(refused, Err(LinkError::Signature));
        // Nobody's account is no account.
        let nobody = Link { uin: Uin(0), ..link }.sign(*provider, &device);
        let refused = Link::verify(*provider, key, &nobody, UnixMillis(0));
        assert_eq!(refused, Err(LinkError::Malformed));
        assert_eq!(Link::peek(&DeviceLink::default()), Err(LinkError::Malformed));
    }
}
