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
    Own {
        dir: PathBuf,
        names: Vec<String>,
        made: UnixMillis,
        /// What could not be written to the file.
        unkept: Option<Zeroizing<String>>,
    },
}

/// What became of a look at the certificate.
#[derive(Debug)]
pub struct Refreshed {
    /// Whether another is shown now.
    pub is_other: bool,
    /// Why the one that is shown could not be kept: a restart makes another. It is tried again.
    pub unkept: Option<KeyError>,
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
                let (material, made) = match kept(dir, now)? {
                    Some(kept) => kept,
                    None => {
                        let (material, text) = make(names, now)?;
                        files::write(&dir.join(FILE), &text)?;
                        (material, now)
                    }
                };
                (material, Source::Own { dir: dir.to_owned(), names: names.to_vec(), made, unkept: None })
            }
        };
        let shown = WebCertificate::new(&default_provider(), chain, key)?;
        Ok(Self { shown, is_operators: operator.is_some(), source })
    }

    /// Renews what was made here, when it is time to; reads the operator's files again. To be called every hour or so.
    ///
    /// # Errors
    /// The files can't be read or used. What was shown still is.
    pub fn refresh(&mut self, now: UnixMillis) -> Result<Refreshed, KeyError> {
        let before = self.shown.hash();
        let provider = default_provider();
        match &mut self.source {
            Source::Operator(paths) => {
                let (chain, key) = read(paths)?;
                self.shown.replace(&provider, chain, key)?;
            }
            // One that was made in a time to come was made by a clock that was wrong.
            Source::Own { made, .. } if *made <= now && age(*made, now) < RENEW => {}
            Source::Own { names, made, unkept, .. } => {
                let ((chain, key), text) = make(names, now)?;
                self.shown.replace(&provider, chain, key)?;
                (*made, *unkept) = (now, Some(text));
            }
        }
        Ok(Refreshed { is_other: self.shown.hash() != before, unkept: self.keep().err() })
    }

    /// Writes what is shown and could not be written before. The certificate does not wait for the disk: the one before it ends.
    fn keep(&mut self) -> Result<(), KeyError> {
        if let Source::Own { dir, unkept, .. } = &mut self.source
            && let Some(text) = unkept
        {
            files::write(&dir.join(FILE), text)?;
            *unkept = None;
        }
        Ok(())
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

/// A new one, and what the file is to hold.
fn make(names: &[String], now: UnixMillis) -> Result<(Material, Zeroizing<String>), KeyError> {
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
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(failed)?;
    Ok(((vec![certificate.der().clone()], key), text))
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
        let mut renewed = |now| keys.refresh(now).unwrap().is_other;
        assert!(!renewed(NOW + (RENEW - Duration::from_secs(1))));
        assert!(renewed(NOW + RENEW));
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
    fn one_that_can_not_be_written_is_shown_and_written_later() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let load = |now| WebKeys::load(&data, &names(), None, now);
        let mut keys = load(NOW).unwrap();
        let first = keys.shown.hash();
        // The folder is away: nothing can be written there.
        std::fs::rename(&data, dir.path().join("away")).unwrap();
        let renewed = keys.refresh(NOW + RENEW).unwrap();
        assert!(renewed.is_other && matches!(renewed.unkept, Some(KeyError::File(_))));
        let second = keys.shown.hash();
        assert_ne!(second, first);
        let hour = Duration::from_secs(3600);
        let again = keys.refresh(NOW + RENEW + hour).unwrap();
        assert!(!again.is_other && again.unkept.is_some());
        std::fs::rename(dir.path().join("away"), &data).unwrap();
        let kept = keys.refresh(NOW + RENEW + 2 * hour).unwrap();
        assert!(!kept.is_other && kept.unkept.is_none());
        assert_eq!(load(NOW + RENEW + 2 * hour).unwrap().shown.hash(), second);
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
        assert!(keys.is_operators && !keys.refresh(NOW).unwrap().is_other);
        put();
        assert!(keys.refresh(NOW).unwrap().is_other);
        let shown = keys.shown.hash();
        files::write(&paths.certificate, "nothing").unwrap();
        assert!(matches!(keys.refresh(NOW), Err(KeyError::Damaged(_))));
        assert_eq!(keys.shown.hash(), shown);
    }
}
