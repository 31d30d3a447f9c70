//! First start, later starts, and everything that can be wrong with the files.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::identity::Certificate;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::rng::Rng;
use ntproto_core::time::UnixMillis;
use ntproto_server::keys::{
    self, CERTIFICATE_LIFETIME, Identity, KeyError, KeyOptions, RENEW_BEFORE, SignedFor, load_or_create,
    rotate_server_key, show, sign_certificate,
};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn options<'a>(dir: &'a Path, names: &'a [String]) -> KeyOptions<'a> {
    KeyOptions { dir, names, operator_public: None, certificate: None, restored: false }
}

fn load(options: KeyOptions<'_>, seed: u8, now: UnixMillis) -> Result<Identity, KeyError> {
    load_or_create(options, &RUSTCRYPTO, &mut Rng::new([seed; 32]), now)
}

fn error(options: KeyOptions<'_>, now: UnixMillis) -> String {
    let error = load(options, 9, now).err().unwrap().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

fn names() -> Vec<String> {
    vec!["localhost".into(), "127.0.0.1".into()]
}

#[test]
fn the_first_start_makes_them_and_later_ones_keep_them() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, names) = (dir.path().join("data"), names());
    let first = load(options(&dir, &names), 1, NOW).unwrap();
    assert!(first.is_new);
    let body = Certificate::verify(&RUSTCRYPTO, &first.operator, &first.certificate, NOW).unwrap();
    assert_eq!(body.static_key, *first.server_keys.current().public());
    assert_eq!(body.not_after, NOW + CERTIFICATE_LIFETIME);
    assert_eq!(body.tls_pins, [first.pin.0]);
    assert!(!first.lacks_pins);
    // A client whose clock is a little behind takes it too.
    let early = UnixMillis(NOW.0 - 3_600_000);
    assert!(Certificate::verify(&RUSTCRYPTO, &first.operator, &first.certificate, early).is_ok());

    let again = load(options(&dir, &names), 2, NOW + Duration::from_secs(60)).unwrap();
    assert!(!again.is_new);
    assert_eq!((again.operator, again.pin), (first.operator, first.pin));
    assert_eq!(again.certificate, first.certificate);
    assert_eq!(again.server_keys.current().public(), first.server_keys.current().public());
    assert!(again.tickets.0.secret().ct_eq(first.tickets.0.secret()));
    #[cfg(unix)]
    for entry in std::fs::read_dir(&dir).unwrap() {
        use std::os::unix::fs::PermissionsExt as _;
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[test]
fn another_name_makes_another_certificate_for_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, one) = (dir.path().join("data"), names());
    let first = load(options(&dir, &one), 1, NOW).unwrap();
    let pem = || std::fs::read_to_string(dir.join("tls.crt")).unwrap();
    let before = pem();
    load(options(&dir, &one), 2, NOW).unwrap();
    assert_eq!(pem(), before);
    let more = ["chat.example.org".to_owned(), "::1".to_owned()];
    let second = load(options(&dir, &more), 3, NOW).unwrap();
    assert_ne!(pem(), before);
    assert_eq!(second.pin, first.pin);
    let bad = ["no name".to_owned()];
    assert!(error(options(&dir, &bad), NOW).contains("correct tls_names"));
}

#[test]
fn a_certificate_is_renewed_while_the_operators_key_is_here() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, names) = (dir.path().join("data"), names());
    let first = load(options(&dir, &names), 1, NOW).unwrap();
    // Near its end, and long after it: the same key, certified anew.
    for later in [CERTIFICATE_LIFETIME - RENEW_BEFORE, 3 * CERTIFICATE_LIFETIME] {
        let now = NOW + later;
        let second = load(options(&dir, &names), 2, now).unwrap();
        assert_ne!(second.certificate, first.certificate);
        assert_eq!(second.certificate_expires, now + CERTIFICATE_LIFETIME);
        assert_eq!(second.server_keys.current().public(), first.server_keys.current().public());
        assert!(Certificate::verify(&RUSTCRYPTO, &first.operator, &second.certificate, now).is_ok());
    }
    // A clock that was wrong and is right again.
    assert!(load(options(&dir, &names), 3, NOW).is_ok());
}

#[test]
fn a_rotated_key_overlaps_with_the_one_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, names) = (dir.path().join("data"), names());
    let first = load(options(&dir, &names), 1, NOW).unwrap();
    let rotate = |at, now| rotate_server_key(&dir, &RUSTCRYPTO, &mut Rng::new([7; 32]), at, now);
    rotate(NOW + Duration::from_secs(1), false).unwrap();
    let second = load(options(&dir, &names), 2, NOW + Duration::from_secs(2)).unwrap();
    let keys = &second.server_keys;
    assert_ne!(keys.current().public(), first.server_keys.current().public());
    assert_eq!(keys.current().id(), 2);
    assert_eq!(keys.previous().unwrap().public(), first.server_keys.current().public());
    // A third would cut off the clients of the first.
    let Err(KeyError::Overlap { key_id: 1, left }) = rotate(NOW, false) else { panic!() };
    assert_eq!(left, CERTIFICATE_LIFETIME);
    let third = load(options(&dir, &names), 3, first.certificate_expires).unwrap();
    assert!(third.server_keys.previous().is_none());
    assert_eq!(third.server_keys.current().public(), keys.current().public());
    for id in 3..5 {
        rotate(first.certificate_expires, id == 4).unwrap();
        let shown = show(&dir, &RUSTCRYPTO).unwrap();
        assert_eq!((shown.current.key_id, shown.previous.unwrap().key_id), (id, id - 1));
        assert_eq!((shown.operator, shown.next), (Some(first.operator), None));
    }
}

#[test]
fn the_operators_key_may_stay_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, names) = (dir.path().join("data"), names());
    let operator = Secret::new([5; 32]);
    let public = RUSTCRYPTO.ed25519_public(&operator);
    let offline = KeyOptions { operator_public: Some(public), ..options(&dir, &names) };
    let Err(KeyError::Uncertified { static_key, key_id, pin }) = load(offline, 1, NOW) else { panic!() };
    // It asks for the same key again, not for another.
    let Err(KeyError::Uncertified { static_key: same, .. }) = load(offline, 2, NOW) else { panic!() };
    assert_eq!(static_key, same);
    assert!(!dir.join("operator.key").exists());

    let file = dir.join("server.cert");
    let certified = KeyOptions { certificate: Some(&file), ..offline };
    assert!(error(certified, NOW).contains("needs a certificate"));
    let sign = |operator: &Secret<32>, static_key, key_id| {
        let what = SignedFor {
            static_key,
            key_id,
            tls_pins: vec![[9; 32], pin],
            now: NOW,
            lifetime: CERTIFICATE_LIFETIME,
        };
        let text = sign_certificate(&RUSTCRYPTO, operator, what);
        std::fs::write(&file, text).unwrap();
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    sign(&operator, static_key, key_id);
    let good = load(certified, 3, NOW).unwrap();
    assert_eq!(good.operator, public);
    assert_eq!(*good.server_keys.current().public(), static_key);
    assert!(error(certified, NOW + CERTIFICATE_LIFETIME).contains("has expired"));
    sign(&operator, [1; 32], key_id);
    assert!(error(certified, NOW).contains("another server's key"));
    sign(&Secret::new([6; 32]), static_key, key_id);
    assert!(error(certified, NOW).contains("not signed by the pinned operator key"));
    std::fs::write(&file, "zz").unwrap();
    assert!(error(certified, NOW).contains("is damaged"));

    // Rotation: the next key waits for its certificate, and the present one goes on until then.
    sign(&operator, static_key, key_id);
    let rotate = |now| rotate_server_key(&dir, &RUSTCRYPTO, &mut Rng::new([8; 32]), now, false);
    rotate(NOW).unwrap();
    let next = show(&dir, &RUSTCRYPTO).unwrap().next.unwrap();
    rotate(NOW).unwrap();
    assert_eq!(show(&dir, &RUSTCRYPTO).unwrap().next, Some(next), "the same one as long as it waits");
    assert_eq!(load(certified, 4, NOW).unwrap().certificate, good.certificate);
    sign(&operator, next.static_key, next.key_id);
    for _ in 0..2 {
        let keys = load(certified, 5, NOW).unwrap().server_keys;
        assert_eq!((*keys.current().public(), keys.current().id()), (next.static_key, next.key_id));
        assert_eq!(*keys.previous().unwrap().public(), static_key);
    }
    assert!(matches!(rotate(NOW), Err(KeyError::Overlap { .. })));
    sign(&operator, static_key, key_id);
    assert!(error(certified, NOW).contains("another server's key"), "no way back");
}

#[test]
fn a_certificate_names_the_tls_key_that_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, names) = (dir.path().join("data"), names());
    let first = load(options(&dir, &names), 1, NOW).unwrap();
    assert_eq!(show(&dir, &RUSTCRYPTO).unwrap().tls_pin, first.pin.0);
    let pins = |identity: &Identity, now| {
        Certificate::verify(&RUSTCRYPTO, &first.operator, &identity.certificate, now).unwrap().tls_pins
    };
    // Another key is put there: with the operator's key here, the certificate names it from the next start on.
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    std::fs::write(dir.join("tls.key"), other).unwrap();
    let now = NOW + Duration::from_secs(1);
    let second = load(options(&dir, &names), 2, now).unwrap();
    assert_ne!(second.pin, first.pin);
    assert_eq!(pins(&second, now), [second.pin.0]);
    rotate_server_key(&dir, &RUSTCRYPTO, &mut Rng::new([7; 32]), now, false).unwrap();
    assert_eq!(pins(&load(options(&dir, &names), 3, now).unwrap(), now), [second.pin.0]);

    // With the operator's key elsewhere somebody must sign: for this key, or as before there were pins.
    let operator = keys::read_operator_key(&dir.join("operator.key")).unwrap();
    std::fs::remove_file(dir.join("operator.key")).unwrap();
    let file = dir.join("server.cert");
    let offline = KeyOptions {
        operator_public: Some(first.operator),
        certificate: Some(&file),
        ..options(&dir, &names)
    };
    let current = show(&dir, &RUSTCRYPTO).unwrap().current;
    for (tls_pins, lacks_pins) in
        [(vec![first.pin.0], None), (vec![], Some(true)), (vec![first.pin.0, second.pin.0], Some(false))]
    {
        let (static_key, key_id) = (current.static_key, current.key_id);
        let what = SignedFor { static_key, key_id, tls_pins, now, lifetime: CERTIFICATE_LIFETIME };
        std::fs::write(&file, "").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        std::fs::write(&file, sign_certificate(&RUSTCRYPTO, &operator, what)).unwrap();
        match lacks_pins {
            Some(lacks) => assert_eq!(load(offline, 4, now).unwrap().lacks_pins, lacks),
            None => assert!(error(offline, now).contains("is for other TLS keys: sign one with --tls-pin ")),
        }
    }
}

/// Clients may know a later certificate than the backup's, and believe none from before it.
#[test]
fn what_came_out_of_a_backup_is_certified_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, names) = (dir.path().join("data"), names());
    let first = load(options(&dir, &names), 1, NOW).unwrap();
    let now = NOW + Duration::from_secs(1);
    let restored = KeyOptions { restored: true, ..options(&dir, &names) };
    let second = load(restored, 2, now).unwrap();
    let from = |identity: &Identity| {
        Certificate::verify(&RUSTCRYPTO, &first.operator, &identity.certificate, now).unwrap().not_before
    };
    assert!(from(&second) > from(&first));
    assert_eq!(second.server_keys.current().public(), first.server_keys.current().public());
}

#[test]
fn what_is_gone_or_damaged_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, names) = (dir.path().join("data"), names());
    load(options(&dir, &names), 1, NOW).unwrap();
    for file in ["operator.key", "tls.key", "server.keys", "ticket.keys", "reset.key"] {
        let path = dir.join(file);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, &good[..good.len() / 2 - 1]).unwrap();
        assert!(error(options(&dir, &names), NOW).contains("is damaged: restore it"), "{file}");
        std::fs::write(&path, [0xff; 8]).unwrap();
        assert!(error(options(&dir, &names), NOW).contains("is not a key file"), "{file}");
        if matches!(file, "operator.key" | "tls.key") {
            std::fs::remove_file(&path).unwrap();
            assert!(error(options(&dir, &names), NOW).contains("is gone"), "{file}");
            std::fs::write(&path, &good).unwrap();
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
                assert!(error(options(&dir, &names), NOW).contains("chmod go= "), "{file}");
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
        std::fs::write(&path, &good).unwrap();
    }
    // A key of another kind: clients that pin would not take it.
    let path = dir.join("tls.key");
    let good = std::fs::read(&path).unwrap();
    std::fs::write(
        &path,
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem(),
    )
    .unwrap();
    assert!(matches!(load(options(&dir, &names), 1, NOW), Err(KeyError::TlsAlgorithm(at)) if at == path));
    assert!(error(options(&dir, &names), NOW).contains("openssl genpkey -algorithm ed25519 -out"));
    assert!(matches!(show(&dir, &RUSTCRYPTO), Err(KeyError::TlsAlgorithm(_))));
    std::fs::write(&path, &good).unwrap();
    let other = KeyOptions { operator_public: Some([1; 32]), ..options(&dir, &names) };
    assert!(error(other, NOW).contains("remove the setting or the file"));
    load(options(&dir, &names), 1, NOW).unwrap();
}
