//! The self-signed certificate of a master that was given none.
//!
//! The key never leaves its file: it is written with mode 0600 under a temporary name and linked
//! into place, so that neither an existing file is overwritten nor a half-written one seen.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ffrtmp_core::{Code, Error, Result};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};

use super::pem;

/// What [`ensure`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// The pair was there and fits.
    Found,
    /// The pair was missing and has been written.
    Generated,
}

/// Makes sure that a certificate and its key exist: checks the pair that is there, or generates a
/// self-signed one for `localhost`, this host's name, the loopback addresses, and what is given.
///
/// # Errors
/// `tls` if only one of the two files exists, if they do not belong together, cannot be read, or
/// the certificate has expired; `storage` if they cannot be written.
pub fn ensure(certificate: &Path, key: &Path, hosts: &[String], addresses: &[IpAddr]) -> Result<Ensured> {
    match (certificate.exists(), key.exists()) {
        (true, true) => check(certificate, key).map(|()| Ensured::Found),
        (false, false) => generate(certificate, key, hosts, addresses).map(|()| Ensured::Generated),
        (true, false) => Err(alone(certificate, key, "--key")),
        (false, true) => Err(alone(key, certificate, "--cert")),
    }
}

/// Writes a new self-signed pair, valid for ten years, key file mode 0600. Never overwrites a
/// file; missing directories are created.
///
/// # Errors
/// `tls` if a file is there already or a name cannot stand in a certificate, `storage` if the pair
/// cannot be written.
pub fn generate(certificate: &Path, key: &Path, hosts: &[String], addresses: &[IpAddr]) -> Result<()> {
    if let Some(there) = [key, certificate].into_iter().find(|path| path.exists()) {
        return Err(exists(there));
    }
    let pair = KeyPair::generate().map_err(|error| Error::new(Code::Internal, "no key was generated").source(error))?;
    let signed = parameters(hosts, addresses)?
        .self_signed(&pair)
        .map_err(|error| Error::new(Code::Internal, "no certificate was generated").source(error))?;
    publish(key, pair.serialize_pem().as_bytes(), 0o600)?;
    publish(certificate, signed.pem().as_bytes(), 0o644).inspect_err(|_| {
        // A key without its certificate would block the next start.
        let _ = fs::remove_file(key);
    })
}

/// Checks that a certificate and a key can be read, belong together, and are valid now.
///
/// # Errors
/// `tls`, saying what is wrong with which file.
pub fn check(certificate: &Path, key: &Path) -> Result<()> {
    let chain = pem::certificates(certificate, "--cert")?;
    let private = pem::private_key(key, "--key")?;
    let expiry = validity(&chain[0]);
    rustls::sign::CertifiedKey::from_der(chain, private, &pem::provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => Error::new(
            Code::Tls,
            format!("the key {} does not belong to the certificate {}", key.display(), certificate.display()),
        )
        .field("--key")
        .hint("give the two files that were made together, or remove both to have a new pair generated"),
        other => Error::new(Code::Tls, format!("{} and {} cannot be used", certificate.display(), key.display()))
            .field("--cert")
            .source(other),
    })?;
    expiry.map_err(|reason| {
        Error::new(Code::Tls, format!("the certificate {} {reason}", certificate.display()))
            .field("--cert")
            .hint("replace it; a self-signed one is generated anew when both files are removed")
    })
}

/// Whether a certificate is within its time, or what is wrong with it in words.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Result<(), &'static str> {
    let mut roots = RootCertStore::empty();
    if roots.add(certificate.clone().into_owned()).is_err() {
        return Err("cannot be parsed");
    }
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(std::sync::Arc::new(roots), pem::provider()).build()
    else {
        return Err("cannot be parsed");
    };
    // Only the answer about time counts; who signed it for which name is another question.
    let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    match verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()) {
        Err(rustls::Error::InvalidCertificate(error)) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Err("has expired"),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Err("is not valid yet"),
            CertificateError::BadEncoding => Err("cannot be parsed"),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

const YEARS: i64 = 10;

fn parameters(hosts: &[String], addresses: &[IpAddr]) -> Result<CertificateParams> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(host_name());
    names.extend(hosts.iter().map(|host| host.trim().to_owned()));
    names.extend(addresses.iter().map(ToString::to_string));
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| !name.is_empty() && seen.insert(name.clone()));
    let mut parameters = CertificateParams::new(names).map_err(|error| {
        Error::new(Code::Tls, "a host name cannot stand in a certificate")
            .field("--cert-hosts")
            .hint("give DNS names in ASCII")
            .source(error)
    })?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "ffrtmp master");
    parameters.distinguished_name = subject;
    parameters.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(1);
    parameters.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(365 * YEARS);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(parameters)
}

/// This host's name where it can stand in a certificate.
fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (!name.is_empty() && name.bytes().all(plain)).then_some(name)
}

/// Writes a new file under a temporary name and links it into place.
fn publish(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let directory = directory(path);
    let staged = directory.join(format!(".{}.tmp", uuid::Uuid::new_v4()));
    let write = || -> io::Result<()> {
        fs::create_dir_all(&directory)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&staged)?;
        file.write_all(content)?;
        file.sync_all()?;
        // A hard link fails where a rename would overwrite.
        fs::hard_link(&staged, path)?;
        File::open(&directory)?.sync_all()
    };
    let written = write();
    let _ = fs::remove_file(&staged);
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => Error::new(Code::Storage, format!("cannot write {}", path.display()))
            .hint("give --cert and --key in a directory that the master may write")
            .source(error),
    })
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn exists(path: &Path) -> Error {
    Error::new(Code::Tls, format!("{} exists and is not overwritten", path.display()))
        .field("--generate-cert")
        .hint("remove the pair first if a new one is meant")
}

fn alone(there: &Path, missing: &Path, flag: &'static str) -> Error {
    Error::new(Code::Tls, format!("{} exists but {} does not", there.display(), missing.display()))
        .field(flag)
        .hint("give both files, or remove the one that is there to have a new pair generated")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_missing_pair_is_made_once_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let (cert, key) = (directory.path().join("new/master.crt"), directory.path().join("new/master.key"));
        let hosts = ["media.example".to_owned()];
        assert_eq!(ensure(&cert, &key, &hosts, &["10.1.2.3".parse().unwrap()]).unwrap(), Ensured::Generated);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let first = fs::read(&cert).unwrap();
        assert_eq!(ensure(&cert, &key, &[], &[]).unwrap(), Ensured::Found);
        assert_eq!(generate(&cert, &key, &[], &[]).unwrap_err().code(), Code::Tls);
        assert_eq!(fs::read(&cert).unwrap(), first);
        assert_eq!(fs::read_dir(cert.parent().unwrap()).unwrap().count(), 2, "nothing temporary stays");
    }

    #[test]
    fn a_pair_that_does_not_fit_is_refused_with_the_file_at_fault() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        generate(&path("a.crt"), &path("a.key"), &[], &[]).unwrap();
        generate(&path("b.crt"), &path("b.key"), &[], &[]).unwrap();
        fs::write(path("text.key"), "not a key").unwrap();
        expired(&path("old.crt"), &path("old.key"));
        for (cert, key, word) in [
            ("a.crt", "b.key", "does not belong"),
            ("a.crt", "text.key", "text.key"),
            ("text.key", "a.key", "text.key"),
            ("a.crt", "missing.key", "missing.key does not"),
            ("missing.crt", "a.key", "missing.crt does not"),
            ("old.crt", "old.key", "has expired"),
        ] {
            let error = ensure(&path(cert), &path(key), &[], &[]).unwrap_err();
            assert_eq!(error.code(), Code::Tls, "{cert} {key}");
            assert!(error.to_string().contains(word), "{cert} {key}: {error}");
            assert!(error.field_name().is_some(), "{cert} {key}: {error}");
        }
    }

    fn expired(cert: &Path, key: &Path) {
        let pair = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
        fs::write(cert, parameters.self_signed(&pair).unwrap().pem()).unwrap();
        fs::write(key, pair.serialize_pem()).unwrap();
    }
}
