//! Reading certificates and keys from PEM files, with errors that name the file and the flag.

use std::path::Path;
use std::sync::Arc;

use ffrtmp_core::{Code, Error, Result};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The cryptography of both sides.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Every certificate of a file, at least one.
pub(super) fn certificates(path: &Path, flag: &'static str) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(path, flag, "certificate", &error))?;
    if found.is_empty() {
        return Err(wrong(path, flag, "holds no certificate"));
    }
    Ok(found)
}

/// The private key of a file.
pub(super) fn private_key(path: &Path, flag: &'static str) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable(path, flag, "private key", &error))
}

/// The certificates of a file as trust anchors.
pub(super) fn roots(path: &Path, flag: &'static str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, flag)? {
        roots.add(certificate).map_err(|error| wrong(path, flag, &format!("cannot be trusted: {error}")))?;
    }
    Ok(roots)
}

fn unreadable(path: &Path, flag: &'static str, what: &str, error: &rustls::pki_types::pem::Error) -> Error {
    use rustls::pki_types::pem;
    let reason = match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("holds no {what}"),
        other => format!("holds no valid {what}: {other}"),
    };
    wrong(path, flag, &reason)
}

fn wrong(path: &Path, flag: &'static str, reason: &str) -> Error {
    Error::new(Code::Tls, format!("{} {reason}", path.display())).field(flag).hint("give a PEM file")
}
