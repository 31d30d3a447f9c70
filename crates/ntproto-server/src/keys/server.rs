//! The static keys that clients' handshakes are for, and their certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::identity::{Certificate, CertificateError, ServerKey, ServerKeys};
use ntproto_core::crypto::secret::Secret;
use ntproto_core::rng::Rng;
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2::ServerCertificate;
use prost::Message as _;
use zeroize::Zeroizing;

use super::files::{self, FileError};
use super::{KeyError, KeyOptions, Operator, hex_line};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a certificate is good for: it is part of every connect string that was given out.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(2 * 365 * 24 * 3600);
/// A start within this of the end makes a new certificate: a fresh connect string is good for a year and more.
pub const RENEW_BEFORE: Duration = Duration::from_secs(8 * 30 * 24 * 3600);

const HEADER: &str = "ntproto server keys 1";
const FIRST_ID: u32 = 1;

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("server.keys")
}

/// What a certificate is to be signed for.
#[derive(Clone, Copy, Debug)]
pub struct SignedFor {
    /// The server's X25519 public key, as the server names it.
    pub static_key: [u8; 32],
    /// Its id, as the server names it.
    pub key_id: u32,
    /// The time of signing.
    pub now: UnixMillis,
}

fn sign(provider: &dyn CryptoProvider, operator: &Secret<32>, what: SignedFor) -> ServerCertificate {
    Certificate {
        static_key: what.static_key,
        key_id: what.key_id,
        // A client's clock may be behind.
        not_before: UnixMillis(what.now.0.saturating_sub(DAY.as_millis() as u64)),
        not_after: what.now + CERTIFICATE_LIFETIME,
    }
    .sign(provider, operator)
}

/// Signs a certificate away from the server: the text that the file named by `certificate` holds.
#[must_use]
pub fn sign_certificate(provider: &dyn CryptoProvider, operator: &Secret<32>, what: SignedFor) -> String {
    let mut text = files::hex(&sign(provider, operator, what).encode_to_vec()).to_string();
    text.push('\n');
    text
}

/// A certificate that was verified.
pub(super) struct Certified {
    pub(super) certificate: ServerCertificate,
    pub(super) expires: UnixMillis,
}

/// A key as the file holds it.
struct Kept {
    key: ServerKey,
    certificate: Option<ServerCertificate>,
}

/// Loads the keys, makes the first one, renews what runs out.
pub(super) fn load(
    options: KeyOptions<'_>,
    operator: &Operator,
    provider: &'static dyn CryptoProvider,
    rng: &mut Rng,
    now: UnixMillis,
) -> Result<(ServerKeys, Certified), KeyError> {
    let path = path(options.dir);
    let (mut kept, mut changed) = match files::read_secret(&path)? {
        Some(text) => (parse(&text, provider).ok_or_else(|| KeyError::Damaged(path.clone()))?, false),
        None => {
            let key = ServerKey::generate(rng, provider, FIRST_ID);
            (vec![Kept { key, certificate: None }], true)
        }
    };
    let verify = |signed: &ServerCertificate| Certificate::verify(provider, &operator.public, signed, now);

    // The overlap ends with the certificate that sends clients to the old key.
    if kept.get(1).is_some_and(|old| {
        old.certificate.as_ref().is_none_or(|c| verify(c) == Err(CertificateError::Expired))
    }) {
        kept.truncate(1);
        changed = true;
    }

    let current = &mut kept[0];
    let certified = if let Some(secret) = &operator.secret {
        let good = current.certificate.clone().and_then(|c| Some((verify(&c).ok()?, c)));
        let good = good.filter(|(c, _)| c.not_after > now + RENEW_BEFORE && is_for(c, &current.key));
        match good {
            Some((body, certificate)) => Certified { certificate, expires: body.not_after },
            None => {
                let what = SignedFor { static_key: *current.key.public(), key_id: current.key.id(), now };
                let certificate = sign(provider, secret, what);
                current.certificate = Some(certificate.clone());
                changed = true;
                Certified { certificate, expires: now + CERTIFICATE_LIFETIME }
            }
        }
    } else {
        let (from, signed) = match options.certificate {
            Some(file) => (file, Some(read_certificate(file)?)),
            None => (path.as_path(), current.certificate.clone()),
        };
        // The key is kept before anybody is told of it.
        if changed {
            save(options.dir, &kept)?;
            changed = false;
        }
        let current = &kept[0];
        let Some(signed) = signed else {
            return Err(KeyError::Uncertified {
                static_key: *current.key.public(),
                key_id: current.key.id(),
            });
        };
        let body = verify(&signed).map_err(|e| KeyError::Certificate(from.to_owned(), e))?;
        if !is_for(&body, &current.key) {
            return Err(KeyError::CertificateKey(from.to_owned()));
        }
        Certified { certificate: signed, expires: body.not_after }
    };
    if changed {
        save(options.dir, &kept)?;
    }
    let mut keys = kept.into_iter().map(|kept| kept.key);
    let current = keys.next().ok_or(KeyError::Damaged(path))?;
    Ok((ServerKeys::new(current, keys.next()), certified))
}

/// Makes a new static key the current one, certified by the operator's key in the data directory. The present one
/// answers to clients that hold its certificate until that ends. The server must be started again to use it.
///
/// # Errors
/// There are no keys yet, or the operator's key is not here.
pub fn rotate_server_key(
    dir: &Path,
    provider: &'static dyn CryptoProvider,
    rng: &mut Rng,
    now: UnixMillis,
) -> Result<(), KeyError> {
    let path = path(dir);
    let text = files::read_secret(&path)?.ok_or_else(|| KeyError::Missing(path.clone()))?;
    let mut kept = parse(&text, provider).ok_or(KeyError::Damaged(path))?;
    let operator = dir.join("operator.key");
    let secret = super::read_key(&operator)?.ok_or(KeyError::Missing(operator))?;
    let key = ServerKey::generate(rng, provider, kept[0].key.id().wrapping_add(1));
    let what = SignedFor { static_key: *key.public(), key_id: key.id(), now };
    let certificate = Some(sign(provider, &secret, what));
    kept.insert(0, Kept { key, certificate });
    kept.truncate(2);
    Ok(save(dir, &kept)?)
}

fn is_for(certificate: &Certificate, key: &ServerKey) -> bool {
    certificate.static_key == *key.public() && certificate.key_id == key.id()
}

fn read_certificate(path: &Path) -> Result<ServerCertificate, KeyError> {
    let text = files::read_public(path)?.ok_or_else(|| KeyError::Missing(path.to_owned()))?;
    certificate(text.trim()).ok_or_else(|| KeyError::Damaged(path.to_owned()))
}

fn certificate(hex: &str) -> Option<ServerCertificate> {
    ServerCertificate::decode(files::unhex(hex)?.as_slice()).ok()
}

fn save(dir: &Path, keys: &[Kept]) -> Result<(), FileError> {
    let mut text = Zeroizing::new(String::with_capacity(2048));
    text.push_str(HEADER);
    text.push('\n');
    for kept in keys {
        let certificate = kept.certificate.as_ref().map(ServerCertificate::encode_to_vec).unwrap_or_default();
        hex_line(&mut text, &format!("key {}", kept.key.id()), &[kept.key.secret().expose(), &certificate]);
    }
    files::write(&path(dir), &text)
}

fn parse(text: &str, provider: &dyn CryptoProvider) -> Option<Vec<Kept>> {
    let mut lines = text.lines();
    if lines.next()? != HEADER {
        return None;
    }
    let keys = lines.map(|line| {
        let mut words = line.strip_prefix("key ")?.split(' ');
        let id = words.next()?.parse().ok()?;
        let secret = Secret::from_slice(&files::unhex(words.next()?)?)?;
        let certificate = match words.next()? {
            "" => None,
            hex => Some(certificate(hex)?),
        };
        let key = ServerKey::from_secret(provider, secret, id);
        words.next().is_none().then_some(Kept { key, certificate })
    });
    let keys: Vec<Kept> = keys.collect::<Option<_>>()?;
    (1..=2).contains(&keys.len()).then_some(keys)
}
