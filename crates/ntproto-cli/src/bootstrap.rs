//! Where a server is and how to know it, asked of the server itself over HTTPS.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntproto_core::bootstrap::{Answer, LearnError, MAX_ANSWER, Trust};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_http::bootstrap::{Ask, BootstrapError, Source, Whom, bootstrap};
use ntproto_sdk::{BootstrapSource, ConnectString, Learned, Profile};
use ntproto_smol::Smol;
use ntproto_tokio::Tokio;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::exit::{Code, Failure};
use crate::session::{self, LinkArgs, Runtime};

/// What is said when another operator answers than the one that is known.
pub(crate) const ANOTHER_OPERATOR: &str =
    "another operator signed this connect string: ask who runs the server, then add --new-operator";

/// By what a server is known over HTTPS.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TrustArgs {
    /// Authorities that may vouch for the server's web certificate, in PEM, instead of the system's.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["web_certificate", "operator"])]
    roots: Option<PathBuf>,
    /// SHA-256 of the server's web certificate: 64 hexadecimal digits.
    #[arg(long, value_name = "HASH", conflicts_with = "operator")]
    web_certificate: Option<String>,
    /// The operator's public key: 64 hexadecimal digits. Whoever carries the answer, his signature is in it.
    #[arg(long, value_name = "KEY")]
    operator: Option<String>,
}

impl TrustArgs {
    fn whom(&self) -> Result<Whom, Failure> {
        if let Some(key) = &self.operator {
            return Ok(Whom::Operator(digits(key, "--operator")?));
        }
        if let Some(hash) = &self.web_certificate {
            return Ok(Whom::Certificates(vec![digits(hash, "--web-certificate")?]));
        }
        let roots = match &self.roots {
            Some(file) => read_roots(file)?,
            None => system_roots()?,
        };
        Ok(Whom::Public(Arc::new(roots)))
    }

    /// Asks for a profile that knows its server: by that, unless something else is given to know it by. A certificate older than
    /// the one that is known is not believed either way. `new_operator`: the operator may be another one.
    pub(crate) async fn ask_anew(
        &self,
        url: &str,
        known: &ConnectString,
        new_operator: bool,
    ) -> Result<(Ask, Learned), Failure> {
        let is_known = match &self.operator {
            Some(key) => digits(key, "--operator")? == known.operator_key,
            None => self.roots.is_none() && self.web_certificate.is_none(),
        };
        let whom = match is_known && !new_operator {
            true => Whom::Known(Box::new(known.clone())),
            false => self.whom()?,
        };
        let ask = Ask::new(url, whom)?;
        let learned = match bootstrap(&Tokio, &ask).await {
            Err(BootstrapError::Learn(LearnError::Operator)) => return Err(Failure::usage(ANOTHER_OPERATOR)),
            learned => learned?,
        };
        let learned = learned.after(&RUSTCRYPTO, known).map_err(BootstrapError::Learn)?;
        Ok((ask, learned))
    }

    /// Asks.
    pub(crate) async fn ask(&self, url: &str) -> Result<(Ask, Learned), Failure> {
        let ask = Ask::new(url, self.whom()?)?;
        let learned = bootstrap(&Tokio, &ask).await?;
        Ok((ask, learned))
    }
}

/// What another program fetched from a server's `/v2/handshake`, out of a file, or standard input (`-`). Whoever fetched it
/// has checked whom it came from, unless the operator's key is given; that it leads to the right host the person who brings it knows.
pub(crate) fn told(file: &Path, trust: &TrustArgs) -> Result<Learned, Failure> {
    let bad =
        |why: &dyn std::fmt::Display| Failure::usage(format!("--bootstrap-answer {}: {why}", file.display()));
    let mut bytes = Vec::new();
    let most = MAX_ANSWER as u64 + 1;
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(most).read_to_end(&mut bytes),
        false => File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    read.map_err(|e| bad(&e))?;
    let trust = match &trust.operator {
        Some(key) => Trust::Operator { key: digits(key, "--operator")?, asked: None },
        None => Trust::Connection,
    };
    let answer = Answer::from_json(&bytes).map_err(|e| bad(&e))?;
    Ok(answer.learn(&RUSTCRYPTO, trust, session::now()).map_err(BootstrapError::Learn)?)
}

fn digits(text: &str, flag: &str) -> Result<[u8; 32], Failure> {
    let bad = || Failure::usage(format!("{flag}: 64 hexadecimal digits are wanted"));
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(bad());
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
    }
    Ok(bytes)
}

fn read_roots(file: &Path) -> Result<RootCertStore, Failure> {
    let bad = |why: &dyn std::fmt::Display| Failure::usage(format!("--roots {}: {why}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| bad(&e))? {
        roots.add(certificate.map_err(|e| bad(&e))?).map_err(|e| bad(&e))?;
    }
    if roots.is_empty() { Err(bad(&"there is no certificate in it")) } else { Ok(roots) }
}

/// Whom this machine trusts.
fn system_roots() -> Result<RootCertStore, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|e| format!(" ({e})")).unwrap_or_default();
        return Err(Failure::usage(format!(
            "this system trusts no authority{why}: install ca-certificates, or give --roots FILE"
        )));
    }
    Ok(roots)
}

/// Where a profile's client bootstraps anew, if the profile knows: by what is in it.
pub(crate) fn source(profile: &Profile, link: LinkArgs) -> Result<Option<Arc<dyn BootstrapSource>>, Failure> {
    let Some(url) = profile.bootstrap() else { return Ok(None) };
    let ask = Ask::new(url, Whom::Known(Box::new(profile.connect().clone())))?;
    let keeper = profile.keeper();
    // One that can't be kept is asked for again.
    let keep = move |connect: &_| drop(keeper.keep(connect));
    Ok(Some(match link.runtime {
        Runtime::Tokio => Arc::new(Source::new(Tokio, ask, profile.connect()).keeping(keep)),
        Runtime::Smol => Arc::new(Source::new(Smol::global(), ask, profile.connect()).keeping(keep)),
    }))
}

/// Bootstraps anew for a profile whose connect string is good no more.
pub(crate) async fn renew(profile: &mut Profile) -> Result<(), Failure> {
    let Some(url) = profile.bootstrap() else { return Ok(()) };
    let ask = Ask::new(url, Whom::Known(Box::new(profile.connect().clone())))?;
    let learned = bootstrap(&Tokio, &ask).await?;
    Ok(profile.set_connect(learned.connect)?)
}

impl From<BootstrapError> for Failure {
    fn from(error: BootstrapError) -> Self {
        let code = match &error {
            BootstrapError::Url => return Self::usage(error.to_string()),
            BootstrapError::Learn(LearnError::Older) => {
                return Self::failed(format!(
                    "{error}: somebody may show one of former days. Ask who runs the server; if its keys were put back from \
                     a backup, give the connect string that it prints to ntp connect"
                ));
            }
            BootstrapError::Http(_) => Code::Unreachable,
            BootstrapError::Problem(_) => Code::Refused,
            BootstrapError::Answer(_) | BootstrapError::Learn(_) => Code::Failed,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_64_digits() {
        assert_eq!(digits(&"0f".repeat(32), "--operator").unwrap(), [15; 32]);
        for bad in ["", "0f", &"0g".repeat(32), &"0f".repeat(33), &"ä".repeat(32), &"+f".repeat(32)] {
            assert!(digits(bad, "--operator").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_no_file_of_authorities() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(read_roots(file.path()).is_err());
        assert!(read_roots(Path::new("/nowhere/at/all")).is_err());
    }
}
