#![allow(clippy::unwrap_used)]
use super::*;
use ntproto_core::crypto::identity::{Certificate, ServerKey};
use ntproto_core::rng::Rng;

fn connect(rng: &mut Rng) -> ConnectString {
    let operator = DeviceKeys::generate(rng, &RUSTCRYPTO);
    let server = ServerKey::generate(rng, &RUSTCRYPTO, 1);
    let certificate = Certificate {
        static_key: *server.public(),
        key_id: 1,
        not_before: UnixMillis(1000),
        not_after: UnixMillis(2000),
        tls_pins: vec![],
    };
    ConnectString {
        host: "localhost".into(),
        port: 4433,
        operator_key: *operator.signing_public(),
        tls_pin: rng.array(),
        certificate: certificate.sign(&RUSTCRYPTO, operator.signing_secret()),
    }
}

fn fresh() -> (tempfile::TempDir, PathBuf, ConnectString, DeviceKeys) {
    let mut rng = Rng::new([5; 32]);
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("a/b");
    let (connect, keys) = (connect(&mut rng), DeviceKeys::generate(&mut rng, &RUSTCRYPTO));
    (temp, dir, connect, keys)
}

#[test]
fn what_is_created_is_opened() {
    let (_temp, dir, connect, keys) = fresh();
    let public = *keys.signing_public();
    let code = EnrolCode::Invitation([3; 16]);
    drop(Profile::create(&dir, connect.clone(), keys, Some(code.clone())).unwrap());
    let mut profile = Profile::open(&dir).unwrap();
    assert_eq!(profile.connect(), &connect);
    assert_eq!(profile.keys().signing_public(), &public);
    assert_eq!(profile.enrol, Some(code));
    let options = profile.options(UnixMillis(1500)).unwrap();
    assert_eq!(options.enrol, Some(ntproto_core::client::Credential::Invitation([3; 16])));
    profile.forget_enrol().unwrap();
    let moved = ConnectString { host: "elsewhere".into(), ..connect };
    profile.set_connect(moved.clone()).unwrap();
    assert_eq!(profile.bootstrap(), None);
    profile.set_bootstrap("https://chat.example.org:7424").unwrap();
    let again = ConnectString { host: "back".into(), ..moved.clone() };
    profile.keeper().keep(&again).unwrap();
    drop((profile, options));
    let mut profile = Profile::open(&dir).unwrap();
    assert_eq!(profile.bootstrap(), Some("https://chat.example.org:7424"));
    assert_eq!(profile.connect(), &again);
    profile.set_connect(moved.clone()).unwrap();
    assert_eq!((profile.connect(), &profile.enrol), (&moved, &None));
    assert!(matches!(profile.options(UnixMillis(9999)), Err(ProfileError::Server(_))));
}

#[test]
fn one_process_at_a_time_and_never_overwritten() {
    let (_temp, dir, connect, keys) = fresh();
    assert!(matches!(Profile::open(&dir), Err(ProfileError::Missing(_))));
    let profile = Profile::create(&dir, connect.clone(), keys.duplicate(), None).unwrap();
    let error = Profile::open(&dir).err().unwrap();
    assert!(matches!(error, ProfileError::InUse(_)), "{error}");
    drop(profile);
    assert!(matches!(Profile::create(&dir, connect, keys, None), Err(ProfileError::Exists(_))));
    let profile = Profile::open(&dir).unwrap();
    let _first = profile.options(UnixMillis(1500)).unwrap();
    let second = profile.options(UnixMillis(1500)).err().unwrap();
    assert!(matches!(second, ProfileError::Store(_, OpenError::InUse)), "{second}");
}

#[test]
fn damage_is_found() {
    let (_temp, dir, connect, keys) = fresh();
    drop(Profile::create(&dir, connect, keys, None).unwrap());
    let good = fs::read(dir.join(KEYS)).unwrap();
    for at in [0, 7, 8, 50, 79] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(dir.join(KEYS), &bad).unwrap();
        assert!(matches!(Profile::open(&dir), Err(ProfileError::Keys(_))), "byte {at}");
    }
    fs::write(dir.join(KEYS), &good[..40]).unwrap();
    assert!(matches!(Profile::open(&dir), Err(ProfileError::Keys(_))));
    fs::write(dir.join(KEYS), &good).unwrap();
    fs::write(dir.join(CONNECT), "ntp://nowhere").unwrap();
    let error = Profile::open(&dir).err().unwrap();
    assert!(matches!(error, ProfileError::Connect(..)), "{error}");
}

#[cfg(unix)]
#[test]
fn secrets_are_for_their_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_temp, dir, connect, keys) = fresh();
    let profile = Profile::create(&dir, connect, keys, Some(EnrolCode::Invitation([1; 16]))).unwrap();
    drop(profile.options(UnixMillis(1500)).unwrap());
    drop(profile);
    for name in [KEYS, ENROL, STORE, LOCK] {
        let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    fs::set_permissions(dir.join(KEYS), fs::Permissions::from_mode(0o640)).unwrap();
    let error = Profile::open(&dir).err().unwrap();
    assert!(matches!(error, ProfileError::Exposed(_)));
    assert!(error.to_string().contains("chmod 600"));
}

#[test]
fn records_are_replaced_whole_and_have_names_of_their_own() {
    let (_temp, dir, connect, keys) = fresh();
    let profile = Profile::create(&dir, connect, keys, None).unwrap();
    assert!(profile.kept("a1").unwrap().is_none());
    profile.keep("a1", b"one").unwrap();
    profile.keep("a1", b"two").unwrap();
    assert_eq!(profile.kept("a1").unwrap().as_deref().map(Vec::as_slice), Some(&b"two"[..]));
    profile.forget("a1").unwrap();
    profile.forget("a1").unwrap();
    assert!(profile.kept("a1").unwrap().is_none());
    for name in ["", "..", "a/b", "../keys"] {
        assert!(
            profile.keep(name, b"").is_err() && profile.kept(name).is_err() && profile.forget(name).is_err()
        );
    }
}
