//! The TLS identity: an Ed25519 key that clients pin, in a certificate that it signs itself.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_quic::tls::default_provider;
use ntproto_quic::{ALPN, Pin, ServerTls, SessionMemory};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::ParsedCertificate;
use zeroize::Zeroizing;

use super::{KeyError, files};

/// Loads the identity; makes the key at the first start, and the certificate whenever it lacks a name.
pub(super) fn load(dir: &Path, names: &[String], is_new: bool) -> Result<(ServerTls, Pin), KeyError> {
    let (key_path, cert_path) = (dir.join("tls.key"), dir.join("tls.crt"));
    let key = match files::read_secret(&key_path)? {
        Some(pem) => read(&pem, &key_path)?,
        None if is_new => {
            let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(failed)?;
            files::write(&key_path, &Zeroizing::new(key.serialize_pem()))?;
            key
        }
        None => return Err(KeyError::Missing(key_path)),
    };
    let kept = match files::read_public(&cert_path)? {
        Some(pem) => CertificateDer::from_pem_slice(pem.as_bytes()).ok(),
        None => None,
    };
    let certificate = match kept.filter(|kept| is_for(kept, &key, names)) {
        Some(kept) => kept,
        None => {
            let made = certify(&key, names)?;
            files::write(&cert_path, &made.pem())?;
            made.der().clone()
        }
    };
    let pin = Pin::of(&certificate)?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let tls = ServerTls::new(default_provider(), vec![certificate], der, &[ALPN])?;
    Ok((tls.with_sessions(Arc::new(SessionMemory::default()))?, pin))
}

/// The pin of the key in a data directory.
pub(super) fn pin(dir: &Path) -> Result<Pin, KeyError> {
    let path = dir.join("tls.key");
    let pem = files::read_secret(&path)?.ok_or_else(|| KeyError::Missing(path.clone()))?;
    let key = read(&pem, &path)?;
    Ok(Pin(RUSTCRYPTO.sha256(&[&key.subject_public_key_info()])))
}

/// The key, if clients take it: those that pin offer Ed25519 alone.
fn read(pem: &str, path: &Path) -> Result<KeyPair, KeyError> {
    let key = KeyPair::from_pem(pem).map_err(|_| KeyError::Damaged(path.to_owned()))?;
    if key.is_compatible(&rcgen::PKCS_ED25519) {
        Ok(key)
    } else {
        Err(KeyError::TlsAlgorithm(path.to_owned()))
    }
}

fn failed(error: rcgen::Error) -> KeyError {
    KeyError::Tls(error.to_string())
}

/// Whether the certificate holds this key and all these names.
fn is_for(certificate: &CertificateDer<'_>, key: &KeyPair, names: &[String]) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
    let spki = parsed.subject_public_key_info();
    spki.ends_with(key.public_key_raw())
        && names.iter().all(|name| {
            ServerName::try_from(name.as_str()).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        })
}

fn certify(key: &KeyPair, names: &[String]) -> Result<rcgen::Certificate, KeyError> {
    for name in names {
        if ServerName::try_from(name.as_str()).is_err() {
            return Err(KeyError::Name(name.clone()));
        }
    }
    let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
    let subject = names.iter().find(|name| name.parse::<IpAddr>().is_err());
    params.distinguished_name.push(DnType::CommonName, subject.map_or("ntproto", String::as_str));
    // Clients pin the key: the dates say nothing, so they never end (RFC 5280, section 4.1.2.5).
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.self_signed(key).map_err(failed)
}
