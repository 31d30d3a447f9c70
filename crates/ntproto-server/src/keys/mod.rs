//! The server's keys: made at the first start, loaded and checked at every later one.
//!
//! ```text
//! data_dir/            (0700; every file 0600, written whole with fsync)
//!   operator.key       Ed25519 seed that signs server certificates; may be moved offline
//!   server.keys        X25519 static keys with their certificates: the current one, the one before it, and the
//!                      next one as long as it waits for its certificate
//!   tls.key  tls.crt   the self-signed TLS identity; clients pin the key
//!   web.pem            the certificate that browsers are shown, unless the operator brings one, and its key
//!   ticket.keys        what session tickets are sealed with
//!   reset.key          tells former clients after a restart that their connection is gone
//! ```
//!
//! `server.keys` is written last. Where it exists, a missing `tls.key` or `operator.key` is an error and not
//! replaced in silence: clients pin both.

mod files;
mod server;
mod tickets;
mod tls;
mod web;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::identity::{CertificateError, ServerKeys};
use ntproto_core::crypto::secret::Secret;
use ntproto_core::rng::Rng;
use ntproto_core::session::ticket::TicketKey;
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2::ServerCertificate;
use ntproto_quic::{Pin, ResetKey, ServerTls, TlsError};
use zeroize::Zeroizing;

pub use files::FileError;
pub(crate) use files::make_folder;
pub use server::{
    CERTIFICATE_LIFETIME, RENEW_BEFORE, Shown, ShownKey, SignedFor, rotate_server_key, show, sign_certificate,
};
pub use tickets::save_ticket_keys;
pub use web::{Refreshed, WebFiles, WebKeys};

/// Where and for whom the keys are.
#[derive(Clone, Copy)]
pub struct KeyOptions<'a> {
    /// The data directory.
    pub dir: &'a Path,
    /// What the TLS certificate is for: DNS names and IP addresses.
    pub names: &'a [String],
    /// The operator's public key, when its secret is kept elsewhere.
    pub operator_public: Option<[u8; 32]>,
    /// A file with a certificate that was signed elsewhere (see [`sign_certificate`]).
    pub certificate: Option<&'a Path>,
    /// The data directory was put back from a backup: the ticket keys in it are replaced, so that tickets that were
    /// issued or revoked since are void, and the certificate is signed again, if the operator's key is here.
    pub restored: bool,
}

/// Everything secret that a server runs with, and what clients are told of it.
pub struct Identity {
    /// The operator's public key, which clients pin.
    pub operator: [u8; 32],
    /// What certifies the current static key.
    pub certificate: ServerCertificate,
    /// When that ends.
    pub certificate_expires: UnixMillis,
    /// The certificate is from before TLS pins were signed: clients that bootstrap anew don't learn of another TLS key.
    pub lacks_pins: bool,
    /// The static keys.
    pub server_keys: ServerKeys,
    /// The ticket keys: the one that seals, and the one before it.
    pub tickets: (TicketKey, Option<TicketKey>),
    /// The TLS side.
    pub tls: ServerTls,
    /// The TLS key's pin.
    pub pin: Pin,
    /// Signs stateless resets.
    pub reset: ResetKey,
    /// Whether they were made just now.
    pub is_new: bool,
}

/// Why the keys can't be had. The text says what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// A file can't be used.
    File(FileError),
    /// A file does not hold what it should.
    Damaged(PathBuf),
    /// A file that clients rely on is gone.
    Missing(PathBuf),
    /// The TLS key is no Ed25519 key.
    TlsAlgorithm(PathBuf),
    /// `operator.key` is not the key that the configuration names.
    OperatorMismatch(PathBuf),
    /// The static key has no certificate, and the operator's key is not here to make one.
    Uncertified {
        /// The static key.
        static_key: [u8; 32],
        /// Its id.
        key_id: u32,
        /// The TLS key's pin.
        pin: [u8; 32],
    },
    /// There are no keys to show or to rotate.
    NoKeys(PathBuf),
    /// There is no such file.
    Absent(PathBuf),
    /// A file that must not be overwritten is there.
    Exists(PathBuf),
    /// Another rotation would cut off clients of the key before the present one.
    Overlap {
        /// That key's id.
        key_id: u32,
        /// How long its certificate is still good.
        left: Duration,
    },
    /// The certificate is of no use, and the operator's key is not here to make another.
    Certificate(PathBuf, CertificateError),
    /// The certificate is for a key that is not this server's.
    CertificateKey(PathBuf),
    /// The certificate names other TLS keys than the server's, which has this pin.
    CertificatePin(PathBuf, [u8; 32]),
    /// A name is neither a DNS name nor an IP address.
    Name(String),
    /// The TLS identity can't be made or used.
    Tls(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(e) => e.fmt(f),
            Self::Damaged(path) => {
                write!(f, "{} is damaged: restore it from a backup", path.display())
            }
            Self::Missing(path) => write!(
                f,
                "{} is gone, and clients rely on it: restore it from a backup, or set operator_public if it is \
                 the operator's key and kept offline",
                path.display()
            ),
            Self::TlsAlgorithm(path) => {
                let path = path.display();
                write!(
                    f,
                    "{path} is no Ed25519 key, and clients take no other: make one with openssl genpkey -algorithm \
                     ed25519 -out {path} && chmod 600 {path}"
                )
            }
            Self::OperatorMismatch(path) => write!(
                f,
                "{} is not the key that operator_public names: remove the setting or the file",
                path.display()
            ),
            Self::Uncertified { static_key, key_id, pin } => write!(
                f,
                "the server key needs a certificate: where the operator's key is, run ntp keys certify \
                 --operator-key FILE --server-key {} --id {key_id} --tls-pin {} > server.cert; set certificate to \
                 that file",
                &*files::hex(static_key),
                &*files::hex(pin)
            ),
            Self::NoKeys(dir) => {
                write!(f, "there are no server keys in {}: start the server there once", dir.display())
            }
            Self::Absent(path) => write!(f, "there is no {}: correct the path", path.display()),
            Self::Exists(path) => {
                write!(f, "{} is there already and is not overwritten: name another file", path.display())
            }
            Self::Overlap { key_id, left } => {
                let days = left.as_secs().div_ceil(24 * 3600);
                write!(
                    f,
                    "clients with the certificate of key {key_id} are let in for another {days} days: wait, or \
                     cut them off with --now until they have a new connect string"
                )
            }
            Self::Certificate(path, e) => write!(
                f,
                "{}: {e}; put a new certificate or the operator's key there and start again",
                path.display()
            ),
            Self::CertificateKey(path) => write!(
                f,
                "the certificate {} is for another server's key: sign one for this server",
                path.display()
            ),
            Self::CertificatePin(path, pin) => write!(
                f,
                "the certificate {} is for other TLS keys: sign one with --tls-pin {}, or restore tls.key from a backup",
                path.display(),
                &*files::hex(pin)
            ),
            Self::Name(name) => {
                write!(f, "{name:?} is neither a DNS name nor an IP address: correct tls_names")
            }
            Self::Tls(e) => write!(f, "the TLS identity can't be used: {e}"),
        }
    }
}

impl std::error::Error for KeyError {}

impl From<FileError> for KeyError {
    fn from(e: FileError) -> Self {
        Self::File(e)
    }
}

impl From<TlsError> for KeyError {
    fn from(e: TlsError) -> Self {
        Self::Tls(e.to_string())
    }
}

/// Loads the keys of a data directory, making what is missing at the first start.
///
/// # Errors
/// See [`KeyError`].
pub fn load_or_create(
    options: KeyOptions<'_>,
    provider: &'static dyn CryptoProvider,
    rng: &mut Rng,
    now: UnixMillis,
) -> Result<Identity, KeyError> {
    let dir = options.dir;
    files::make_folder(dir)?;
    let is_new = !server::path(dir).exists();
    let (tls, pin) = tls::load(dir, options.names, is_new)?;
    let reset = reset_key(dir, rng)?;
    let tickets =
        if options.restored { tickets::make(dir, rng, now)? } else { tickets::load(dir, rng, now)? };
    let operator = operator(options, provider, rng, is_new)?;
    let (server_keys, certified) = server::load(options, &operator, pin, provider, rng, now)?;
    Ok(Identity {
        operator: operator.public,
        certificate: certified.certificate,
        certificate_expires: certified.expires,
        lacks_pins: certified.lacks_pins,
        server_keys,
        tickets,
        tls,
        pin,
        reset,
        is_new,
    })
}

fn operator_path(dir: &Path) -> PathBuf {
    dir.join("operator.key")
}

/// Makes another key for tickets: all that were given out are void.
///
/// # Errors
/// The file can't be written.
pub(crate) fn void_tickets(dir: &Path, rng: &mut Rng, now: UnixMillis) -> Result<(), KeyError> {
    tickets::make(dir, rng, now).map(drop)
}

/// Makes an operator's key in a file of its own, for a machine away from the server. Returns the public key.
///
/// # Errors
/// The file is there already, or can't be written.
pub fn make_operator_key(
    path: &Path,
    provider: &dyn CryptoProvider,
    rng: &mut Rng,
) -> Result<[u8; 32], KeyError> {
    if path.symlink_metadata().is_ok() {
        return Err(KeyError::Exists(path.to_owned()));
    }
    Ok(provider.ed25519_public(&make_key(path, rng)?))
}

/// Reads an operator's key from its file.
///
/// # Errors
/// It is not there, not a key, or open to others.
pub fn read_operator_key(path: &Path) -> Result<Secret<32>, KeyError> {
    read_key(path)?.ok_or_else(|| KeyError::Absent(path.to_owned()))
}

/// The operator's key, as far as it is here.
struct Operator {
    public: [u8; 32],
    secret: Option<Secret<32>>,
}

fn operator(
    options: KeyOptions<'_>,
    provider: &dyn CryptoProvider,
    rng: &mut Rng,
    is_new: bool,
) -> Result<Operator, KeyError> {
    let path = operator_path(options.dir);
    let secret = match read_key(&path)? {
        Some(secret) => Some(secret),
        None if options.operator_public.is_some() => None,
        None if is_new => Some(make_key(&path, rng)?),
        None => return Err(KeyError::Missing(path)),
    };
    let own = secret.as_ref().map(|secret| provider.ed25519_public(secret));
    match (own, options.operator_public) {
        (Some(own), Some(named)) if own != named => Err(KeyError::OperatorMismatch(path)),
        (Some(public), _) | (None, Some(public)) => Ok(Operator { public, secret }),
        (None, None) => Err(KeyError::Missing(path)),
    }
}

fn reset_key(dir: &Path, rng: &mut Rng) -> Result<ResetKey, KeyError> {
    let path = dir.join("reset.key");
    let secret = match read_key(&path)? {
        Some(secret) => secret,
        None => make_key(&path, rng)?,
    };
    Ok(ResetKey::new(secret.expose()))
}

/// Reads a file with 32 secret bytes.
fn read_key(path: &Path) -> Result<Option<Secret<32>>, KeyError> {
    let Some(text) = files::read_secret(path)? else { return Ok(None) };
    let bytes = files::unhex(text.trim()).ok_or_else(|| KeyError::Damaged(path.to_owned()))?;
    Secret::from_slice(&bytes).map(Some).ok_or_else(|| KeyError::Damaged(path.to_owned()))
}

fn make_key(path: &Path, rng: &mut Rng) -> Result<Secret<32>, KeyError> {
    let mut secret = Secret::zero();
    rng.fill(secret.expose_mut());
    files::write(path, &files::hex(secret.expose()))?;
    Ok(secret)
}

/// Reads 32 bytes written as 64 hexadecimal digits, as `operator_public` is.
#[must_use]
pub fn parse_key(text: &str) -> Option<[u8; 32]> {
    files::unhex(text)?.as_slice().try_into().ok()
}

/// Adds a line: `head`, then every piece in hexadecimal. `text` must have room: growing would leave secrets behind.
fn hex_line(text: &mut Zeroizing<String>, head: &str, pieces: &[&[u8]]) {
    text.push_str(head);
    for piece in pieces {
        text.push(' ');
        text.push_str(&files::hex(piece));
    }
    text.push('\n');
}
