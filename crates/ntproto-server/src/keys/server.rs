//! The static keys that clients' handshakes are for, and their certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::identity::{Certificate, ServerKey, ServerKeys};
use ntproto_core::crypto::secret::Secret;
use ntproto_core::rng::Rng;
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2::{ServerCertificate, ServerCertificateBody};
use ntproto_quic::Pin;
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
#[derive(Clone, Debug)]
pub struct SignedFor {
    /// The server's X25519 public key, as the server names it.
    pub static_key: [u8; 32],
    /// Its id, as the server names it.
    pub key_id: u32,
    /// The pins of the TLS keys that the server may show, as it names them:
    /// [`MAX_TLS_PINS`](ntproto_core::crypto::identity::MAX_TLS_PINS) at most.
    pub tls_pins: Vec<[u8; 32]>,
    /// The time of signing.
    pub now: UnixMillis,
    /// How long it is good for from then on.
    pub lifetime: Duration,
}

fn sign(provider: &dyn CryptoProvider, operator: &Secret<32>, what: SignedFor) -> ServerCertificate {
    Certificate {
        static_key: what.static_key,
        key_id: what.key_id,
        // A client's clock may be behind.
        not_before: UnixMillis(what.now.0.saturating_sub(DAY.as_millis() as u64)),
        not_after: what.now + what.lifetime,
        tls_pins: what.tls_pins,
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
    /// It is from before TLS pins were signed.
    pub(super) lacks_pins: bool,
}

/// A key and what certifies it.
struct Kept {
    key: ServerKey,
    certificate: Option<ServerCertificate>,
}

impl Kept {
    /// When its certificate ends, as it says itself.
    fn expires(&self) -> Option<UnixMillis> {
        let body = ServerCertificateBody::decode(self.certificate.as_ref()?.body.clone()).ok()?;
        Some(UnixMillis(body.not_after_ms))
    }

    fn shown(&self) -> ShownKey {
        ShownKey { static_key: *self.key.public(), key_id: self.key.id(), expires: self.expires() }
    }

    fn signed_for(&self, pin: Pin, now: UnixMillis) -> SignedFor {
        let (static_key, key_id) = (*self.key.public(), self.key.id());
        SignedFor { static_key, key_id, tls_pins: vec![pin.0], now, lifetime: CERTIFICATE_LIFETIME }
    }
}

/// What `server.keys` holds.
struct KeyFile {
    current: Kept,
    /// Answers to clients that hold its certificate, until that ends.
    previous: Option<Kept>,
    /// Waits for its certificate, which makes it the current one.
    next: Option<ServerKey>,
}

impl KeyFile {
    /// The overlap ends with the certificate that sends clients to the old key.
    fn end_overlap(&mut self, now: UnixMillis) -> bool {
        self.previous.take_if(|old| old.expires().is_none_or(|at| at <= now)).is_some()
    }

    fn promote(&mut self, key: ServerKey, certificate: ServerCertificate) {
        let next = Kept { key, certificate: Some(certificate) };
        self.previous = Some(std::mem::replace(&mut self.current, next));
    }
}

/// Loads the keys, makes the first one, renews what runs out.
pub(super) fn load(
    options: KeyOptions<'_>,
    operator: &Operator,
    pin: Pin,
    provider: &'static dyn CryptoProvider,
    rng: &mut Rng,
    now: UnixMillis,
) -> Result<(ServerKeys, Certified), KeyError> {
    let path = path(options.dir);
    let (mut file, mut changed) = match files::read_secret(&path)? {
        Some(text) => (parse(&text, provider).ok_or_else(|| KeyError::Damaged(path.clone()))?, false),
        None => {
            let key = ServerKey::generate(rng, provider, FIRST_ID);
            (KeyFile { current: Kept { key, certificate: None }, previous: None, next: None }, true)
        }
    };
    changed |= file.end_overlap(now);
    let verify = |signed: &ServerCertificate| Certificate::verify(provider, &operator.public, signed, now);

    let certified = if let Some(secret) = &operator.secret {
        let current = &mut file.current;
        let good = current.certificate.clone().and_then(|c| Some((verify(&c).ok()?, c)));
        // Of a backup clients may know a later one, and believe no older: it is signed again.
        let good = good.filter(|(c, _)| {
            !options.restored
                && c.not_after > now + RENEW_BEFORE
                && c.tls_pins.contains(&pin.0)
                && is_for(c, &current.key)
        });
        match good {
            Some((body, certificate)) => {
                Certified { certificate, expires: body.not_after, lacks_pins: false }
            }
            None => {
                let certificate = sign(provider, secret, current.signed_for(pin, now));
                current.certificate = Some(certificate.clone());
                changed = true;
                Certified { certificate, expires: now + CERTIFICATE_LIFETIME, lacks_pins: false }
            }
        }
    } else {
        // The key is kept before anybody is told of it.
        if changed {
            save(options.dir, &file)?;
            changed = false;
        }
        let (from, signed) = match options.certificate {
            Some(file) => (file, read_certificate(file)?),
            None => (path.as_path(), file.current.certificate.clone()),
        };
        let Some(signed) = signed else {
            let key = &file.current.key;
            return Err(KeyError::Uncertified { static_key: *key.public(), key_id: key.id(), pin: pin.0 });
        };
        let body = verify(&signed).map_err(|e| KeyError::Certificate(from.to_owned(), e))?;
        let lacks_pins = body.tls_pins.is_empty();
        // Clients would go by what it says, and never get here.
        if !lacks_pins && !body.tls_pins.contains(&pin.0) {
            return Err(KeyError::CertificatePin(from.to_owned(), pin.0));
        }
        if is_for(&body, &file.current.key) {
            // Kept here as well: it says how long an overlap lasts once another key has taken over.
            changed |= file.current.certificate.as_ref() != Some(&signed);
            file.current.certificate = Some(signed.clone());
        } else if let Some(next) = file.next.take_if(|next| is_for(&body, next)) {
            file.promote(next, signed.clone());
            changed = true;
        } else {
            return Err(KeyError::CertificateKey(from.to_owned()));
        }
        Certified { certificate: signed, expires: body.not_after, lacks_pins }
    };
    if changed {
        save(options.dir, &file)?;
    }
    let keys = ServerKeys::new(file.current.key, file.previous.map(|old| old.key));
    Ok((keys.with_certificate(certified.certificate.clone()), certified))
}

/// A key of the server, as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownKey {
    /// The X25519 public key.
    pub static_key: [u8; 32],
    /// Its id.
    pub key_id: u32,
    /// When its certificate ends; `None` while it has none.
    pub expires: Option<UnixMillis>,
}

/// What a data directory has of keys, without the secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The operator's public key, if its secret is here.
    pub operator: Option<[u8; 32]>,
    /// The key that new connect strings name.
    pub current: ShownKey,
    /// The key before it, while clients with its certificate are let in.
    pub previous: Option<ShownKey>,
    /// The key that takes over once it is certified.
    pub next: Option<ShownKey>,
    /// The pin of the TLS key, which a certificate names.
    pub tls_pin: [u8; 32],
}

fn read(dir: &Path, provider: &dyn CryptoProvider) -> Result<KeyFile, KeyError> {
    let path = path(dir);
    let text = files::read_secret(&path)?.ok_or_else(|| KeyError::NoKeys(dir.to_owned()))?;
    parse(&text, provider).ok_or(KeyError::Damaged(path))
}

/// Shows the keys of a data directory.
///
/// # Errors
/// There are none, or they can't be read.
pub fn show(dir: &Path, provider: &dyn CryptoProvider) -> Result<Shown, KeyError> {
    let file = read(dir, provider)?;
    let operator = super::read_key(&super::operator_path(dir))?;
    let waiting = |key: &ServerKey| ShownKey { static_key: *key.public(), key_id: key.id(), expires: None };
    Ok(Shown {
        operator: operator.map(|secret| provider.ed25519_public(&secret)),
        current: file.current.shown(),
        previous: file.previous.as_ref().map(Kept::shown),
        next: file.next.as_ref().map(waiting),
        tls_pin: super::tls::pin(dir)?.0,
    })
}

/// Makes a new static key. With the operator's key in the data directory it is certified and current at the next
/// start; without, it waits as the next one until its certificate is there. The present key answers to clients
/// that hold its certificate until that ends.
///
/// Two keys are answered at most: as long as an older one is, `cut_off` must allow that its clients are
/// sent away.
///
/// # Errors
/// There are no keys yet, or an older one is still answered.
pub fn rotate_server_key(
    dir: &Path,
    provider: &'static dyn CryptoProvider,
    rng: &mut Rng,
    now: UnixMillis,
    cut_off: bool,
) -> Result<(), KeyError> {
    let mut file = read(dir, provider)?;
    file.end_overlap(now);
    if let (Some(old), false) = (&file.previous, cut_off) {
        let left = old.expires().map_or(0, |at| at.0.saturating_sub(now.0));
        return Err(KeyError::Overlap { key_id: old.key.id(), left: Duration::from_millis(left) });
    }
    let id = file.current.key.id().wrapping_add(1);
    let next = file.next.take().unwrap_or_else(|| ServerKey::generate(rng, provider, id));
    match super::read_key(&super::operator_path(dir))? {
        Some(operator) => {
            let next = Kept { key: next, certificate: None };
            let certificate = sign(provider, &operator, next.signed_for(super::tls::pin(dir)?, now));
            file.promote(next.key, certificate);
        }
        None => file.next = Some(next),
    }
    Ok(save(dir, &file)?)
}

fn is_for(certificate: &Certificate, key: &ServerKey) -> bool {
    certificate.static_key == *key.public() && certificate.key_id == key.id()
}

fn read_certificate(path: &Path) -> Result<Option<ServerCertificate>, KeyError> {
    let Some(text) = files::read_public(path)? else { return Ok(None) };
    certificate(text.trim()).map(Some).ok_or_else(|| KeyError::Damaged(path.to_owned()))
}

fn certificate(hex: &str) -> Option<ServerCertificate> {
    ServerCertificate::decode(files::unhex(hex)?.as_slice()).ok()
}

fn save(dir: &Path, file: &KeyFile) -> Result<(), FileError> {
    let mut text = Zeroizing::new(String::with_capacity(2048));
    text.push_str(HEADER);
    text.push('\n');
    for kept in std::iter::once(&file.current).chain(&file.previous) {
        let certificate = kept.certificate.as_ref().map(ServerCertificate::encode_to_vec).unwrap_or_default();
        hex_line(&mut text, &format!("key {}", kept.key.id()), &[kept.key.secret().expose(), &certificate]);
    }
    if let Some(next) = &file.next {
        hex_line(&mut text, &format!("next {}", next.id()), &[next.secret().expose()]);
    }
    files::write(&path(dir), &text)
}

fn parse(text: &str, provider: &dyn CryptoProvider) -> Option<KeyFile> {
    let mut lines = text.lines().peekable();
    if lines.next()? != HEADER {
        return None;
    }
    let current = kept(lines.next()?, provider)?;
    let previous = match lines.next_if(|line| line.starts_with("key ")) {
        Some(line) => Some(kept(line, provider)?),
        None => None,
    };
    let next = match lines.next() {
        Some(line) => Some(key(&mut line.strip_prefix("next ")?.split(' '), provider)?),
        None => None,
    };
    lines.next().is_none().then_some(KeyFile { current, previous, next })
}

fn kept(line: &str, provider: &dyn CryptoProvider) -> Option<Kept> {
    let mut words = line.strip_prefix("key ")?.split(' ');
    let key = key(&mut words, provider)?;
    let certificate = match words.next()? {
        "" => None,
        hex => Some(certificate(hex)?),
    };
    words.next().is_none().then_some(Kept { key, certificate })
}

fn key<'a>(words: &mut impl Iterator<Item = &'a str>, provider: &dyn CryptoProvider) -> Option<ServerKey> {
    let id = words.next()?.parse().ok()?;
    let secret = Secret::from_slice(&files::unhex(words.next()?)?)?;
    Some(ServerKey::from_secret(provider, secret, id))
}
