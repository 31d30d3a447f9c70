//! The certificate that browsers and other strangers are shown: the operator's, or one made here.
//!
//! One made here is good for 13 days, with a key of ECDSA P-256: so Chromium takes it by its hash alone
//! (`serverCertificateHashes`: at most 14 days, no RSA). It is renewed after 6 days, while the server runs; that page which was told
//! the hash of the one before it asks again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ntproto_core::time::UnixMillis;
use ntproto_quic::WebCertificate;
use ntproto_quic::tls::default_provider;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::{KeyError, files};

/// The key and the certificate made here.
const FILE: &str = "web.pem";
/// Before the instants: their line of that file.
const MADE: &str = "made ";
/// How long one made here is good for: a day less than what Chromium takes.
const LIFETIME: Duration = Duration::from_secs(13 * 24 * 3600);
/// How old it gets: a client's clock may be a week late, or a week early, and it is good.
const RENEW: Duration = Duration::from_secs(6 * 24 * 3600);
/// Clients whose clocks are late take it from the start.
const EARLY: Duration = Duration::from_secs(3600);

/// Where the operator's certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebFiles {
    /// The chain, leaf first, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

/// The certificate that is shown, and what it comes from.
pub struct WebKeys {
    /// It. Clones share what [`refresh`](Self::refresh) changes.
    pub shown: WebCertificate,
    /// Whether the operator brought it: then the public knows it, and nobody need be told its hash.
    pub is_operators: bool,
    source: Source,
}

enum Source {
    Operator(WebFiles),
    Own { dir: PathBuf, names: Vec<String>, made: UnixMillis },
}

type Material = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl WebKeys {
    /// Reads the operator's files; without any, what was made here, or makes it.
    ///
    /// # Errors
    /// The files can't be used.
    pub fn load(
        dir: &Path,
        names: &[String],
        operator: Option<&WebFiles>,
        now: UnixMillis,
    ) -> Result<Self, KeyError> {
        let ((chain, key), source) = match operator {
            Some(paths) => (read(paths)?, Source::Operator(paths.clone())),
            None => {
                let kept = kept(dir, now)?;
                let (material, made) = match kept {
                    Some(kept) => kept,
                    None => (make(dir, names, now)?, now),
                };
                (material, Source::Own { dir: dir.to_owned(), names: names.to_vec(), made })
            }
        };
        let shown = WebCertificate::new(&default_provider(), chain, key)?;
        Ok(Self { shown, is_operators: operator.is_some(), source })
    }

    /// Renews what was made here, when it is time to; reads the operator's files again. To be called every hour or so.
    /// Answers whether another certificate is shown now.
    ///
    /// # Errors
    /// The files can't be used, or not written. What was shown still is.
    pub fn refresh(&mut self, now: UnixMillis) -> Result<bool, KeyError> {
        let before = self.shown.hash();
        let (chain, key) = match &mut self.source {
            Source::Operator(paths) => read(paths)?,
            // One that was made in a time to come was made by a clock that was wrong.
            Source::Own { made, .. } if *made <= now && age(*made, now) < RENEW => return Ok(false),
            Source::Own { dir, names, made } => {
                let material = make(dir, names, now)?;
                *made = now;
                material
            }
        };
        self.shown.replace(&default_provider(), chain, key)?;
        Ok(self.shown.hash() != before)
    }
}

fn age(made: UnixMillis, now: UnixMillis) -> Duration {
    Duration::from_millis(now.0.saturating_sub(made.0))
}

fn failed(error: impl std::fmt::Display) -> KeyError {
    KeyError::Tls(error.to_string())
}

fn read(paths: &WebFiles) -> Result<Material, KeyError> {
    let text = |path: &Path, text: Option<Zeroizing<String>>| text.ok_or(KeyError::Absent(path.to_owned()));
    let chain = text(&paths.certificate, files::read_public(&paths.certificate)?)?;
    let key = text(&paths.key, files::read_secret(&paths.key)?)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| KeyError::Damaged(paths.certificate.clone()))?;
    if chain.is_empty() {
        return Err(KeyError::Damaged(paths.certificate.clone()));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| KeyError::Damaged(paths.key.clone()))?;
    Ok((chain, key))
}

/// What was made here, unless it is too old. It is nothing that anybody relies on: what is damaged is made again.
fn kept(dir: &Path, now: UnixMillis) -> Result<Option<(Material, UnixMillis)>, KeyError> {
    let Some(text) = files::read_secret(&dir.join(FILE))? else { return Ok(None) };
    let parsed = (|| {
        let made = text.lines().next()?.strip_prefix(MADE)?.parse().ok().map(UnixMillis)?;
        let certificate = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()?;
        Some(((vec![certificate], key), made))
    })();
    // A clock that was set back must not keep one that is over.
    Ok(parsed.filter(|(_, made)| *made <= now && age(*made, now) < RENEW))
}

fn make(dir: &Path, names: &[String], now: UnixMillis) -> Result<Material, KeyError> {
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, names.first().map_or("ntproto", String::as_str));
    let from = now.0.saturating_sub(EARLY.as_millis() as u64);
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(from);
    params.not_after = params.not_before + LIFETIME;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&pair).map_err(failed)?;
    let key = Zeroizing::new(pair.serialize_pem());
    let text = Zeroizing::new(format!("{MADE}{}\n{}{}", now.0, &*key, certificate.pem()));
    files::write(&dir.join(FILE), &text)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(failed)?;
    Ok((vec![certificate.der().clone()], key))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn names() -> Vec<String> {
        vec!["localhost".into(), "127.0.0.1".into()]
    }

    #[test]
    fn one_made_here_lasts_six_days_and_no_restart_changes_it() {
        let dir = tempfile::tempdir().unwrap();
        let load = |now| WebKeys::load(dir.path(), &names(), None, now).unwrap();
        let mut keys = load(NOW);
        let first = keys.shown.hash().unwrap();
        assert_eq!(load(NOW + Duration::from_secs(3600)).shown.hash(), Some(first));
        assert!(!keys.refresh(NOW + (RENEW - Duration::from_secs(1))).unwrap());
        assert!(keys.refresh(NOW + RENEW).unwrap());
        let second = keys.shown.hash().unwrap();
        assert_ne!(first, second);
        assert_eq!(load(NOW + RENEW).shown.hash(), Some(second));
        // A clock that was set back, and a file that is damaged: another one, and no error.
        assert_ne!(load(NOW).shown.hash(), Some(second));
        std::fs::write(dir.path().join(FILE), "made 1\n").unwrap();
        load(NOW);
        assert!(!keys.is_operators);
    }

    #[test]
    fn the_operators_files_are_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let paths = WebFiles { certificate: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        let load = || WebKeys::load(dir.path(), &names(), Some(&paths), NOW);
        assert!(matches!(load(), Err(KeyError::Absent(_))));
        let put = || {
            let made = rcgen::generate_simple_self_signed(names()).unwrap();
            files::write(&paths.certificate, &made.cert.pem()).unwrap();
            files::write(&paths.key, &made.signing_key.serialize_pem()).unwrap();
        };
        put();
        let mut keys = load().unwrap();
        assert!(keys.is_operators && !keys.refresh(NOW).unwrap());
        put();
        assert!(keys.refresh(NOW).unwrap());
        let shown = keys.shown.hash();
        files::write(&paths.certificate, "nothing").unwrap();
        assert!(matches!(keys.refresh(NOW), Err(KeyError::Damaged(_))));
        assert_eq!(keys.shown.hash(), shown);
    }
}
