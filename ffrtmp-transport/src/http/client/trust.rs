//! Whom a client trusts.
//!
//! 1. With `--insecure-skip-verify`: anybody.
//! 2. With `--ca FILE`: whoever one of its authorities vouches for, and the certificates in it.
//! 3. Otherwise whoever the system's authorities vouch for, and besides, on the loopback
//!    addresses only, a self-signed master at first sight: its certificate is pinned in a file
//!    and must not change afterwards.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ffrtmp_core::{Code, Error, Result};
use reqwest::Url;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use super::ClientConfig;
use crate::http::{certificate, pem};

/// Whether the master's address can only be this machine.
pub(super) fn is_loopback(master: &Url) -> bool {
    let host = master.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// The TLS side of a client.
pub(super) fn tls(config: &ClientConfig, master: &Url) -> Result<rustls::ClientConfig> {
    let builder = rustls::ClientConfig::builder_with_provider(pem::provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| Error::new(Code::Internal, "no TLS").source(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(config, master)?));
    match &config.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => builder
            .with_client_auth_cert(pem::certificates(cert, "--cert")?, pem::private_key(key, "--key")?)
            .map_err(|error| {
                Error::new(Code::Tls, format!("{} and {} cannot be used", cert.display(), key.display()))
                    .field("--cert")
                    .source(error)
            }),
    }
}

/// Why a certificate was refused, with what to do about it. Travels through the TLS library.
#[derive(Clone, Debug)]
pub(super) struct Untrusted {
    message: String,
    hint: String,
}

impl Untrusted {
    pub(super) fn to_error(&self) -> Error {
        Error::new(Code::Tls, &self.message).hint(&self.hint)
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Untrusted {}

impl From<Untrusted> for rustls::Error {
    fn from(untrusted: Untrusted) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(untrusted))))
    }
}

#[derive(Debug)]
struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    policy: Policy,
    /// Host and port, as they stand in messages and in the file of pins.
    authority: String,
}

#[derive(Debug)]
enum Policy {
    Anybody,
    Given { file: PathBuf, web: Option<Arc<WebPkiServerVerifier>>, exact: Vec<CertificateDer<'static>> },
    System { web: Option<Arc<WebPkiServerVerifier>>, pins: Option<Pins> },
}

impl Verifier {
    fn new(config: &ClientConfig, master: &Url) -> Result<Self> {
        let policy = match (&config.ca, config.insecure_skip_verify) {
            (_, true) => Policy::Anybody,
            (None, false) if master.scheme() == "http" => Policy::System { web: None, pins: None },
            (Some(file), false) => {
                let exact = pem::certificates(file, "--ca")?;
                Policy::Given { web: web(pem::roots(file, "--ca")?), exact, file: file.clone() }
            }
            (None, false) => Policy::System {
                web: web(system_roots()),
                pins: is_loopback(master).then(|| Pins::new(config.pins.clone())).flatten(),
            },
        };
        let host = master.host_str().unwrap_or_default();
        let authority = format!("{host}:{}", master.port_or_known_default().unwrap_or(443));
        Ok(Self { algorithms: pem::provider().signature_verification_algorithms, policy, authority })
    }

    /// A certificate that stands in the file of `--ca` itself is trusted for the names in it.
    fn given(
        &self,
        exact: &[CertificateDer<'_>],
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
    ) -> Result<(), Untrusted> {
        let untrusted = |message| Untrusted {
            message: format!("the certificate of {} {message}", self.authority),
            hint: "give the authority that signed it, or the certificate itself, with --ca FILE".into(),
        };
        if !exact.contains(certificate) {
            return Err(untrusted("is not vouched for by the file of --ca".to_owned()));
        }
        certificate::validity(certificate).map_err(|reason| untrusted(reason.to_owned()))?;
        let parsed = rustls::server::ParsedCertificate::try_from(certificate);
        let named = parsed.and_then(|parsed| rustls::client::verify_server_name(&parsed, name));
        named.map_err(|_| Untrusted {
            hint: "reach the master by a name of its certificate, or make one with --cert-hosts and --cert-ips".into(),
            ..untrusted("is for other names".to_owned())
        })
    }

    fn system(&self, pins: Option<&Pins>, certificate: &CertificateDer<'_>) -> Result<(), Untrusted> {
        let Some(pins) = pins else {
            return Err(Untrusted {
                message: format!("no authority vouches for the certificate of {}", self.authority),
                hint: "give the master's certificate with --ca FILE, or --insecure-skip-verify in a lab".into(),
            });
        };
        certificate::validity(certificate).map_err(|reason| Untrusted {
            message: format!("the certificate of {} {reason}", self.authority),
            hint: "replace the master's certificate".into(),
        })?;
        pins.check(&self.authority, certificate)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let vouched = |web: &Option<Arc<WebPkiServerVerifier>>| match web {
            Some(web) => web.verify_server_cert(certificate, intermediates, name, ocsp, now).map(|_| ()),
            None => Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        let verdict = match &self.policy {
            Policy::Anybody => Ok(()),
            Policy::Given { web, exact, file } => match vouched(web) {
                Err(_) if exact.contains(certificate) => self.given(exact, certificate, name),
                Err(rustls::Error::InvalidCertificate(reason)) => Err(self.refused_by(&reason, Some(file))),
                other => return other.map(|()| ServerCertVerified::assertion()),
            },
            Policy::System { web, pins } => match vouched(web) {
                Err(rustls::Error::InvalidCertificate(reason)) if may_be_self_signed(&reason) => {
                    self.system(pins.as_ref(), certificate)
                }
                Err(rustls::Error::InvalidCertificate(reason)) => Err(self.refused_by(&reason, None)),
                other => return other.map(|()| ServerCertVerified::assertion()),
            },
        };
        verdict.map(|()| ServerCertVerified::assertion()).map_err(Into::into)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl Verifier {
    fn refused_by(&self, reason: &CertificateError, ca: Option<&Path>) -> Untrusted {
        let message = match reason {
            // A self-signed stranger may bear the name of one that is trusted.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                let file = ca.map_or_else(|| "the system".into(), |file| file.display().to_string());
                format!("no authority of {file} vouches for the certificate of {}", self.authority)
            }
            other => format!("the certificate of {} is refused: {other}", self.authority),
        };
        let hint = match reason {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "reach the master by a name of its certificate, or make one with --cert-hosts and --cert-ips"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "replace the master's certificate",
            _ => "give the authority that signed it, or the certificate itself, with --ca FILE",
        };
        Untrusted { message, hint: hint.into() }
    }
}

/// Self-signed certificates fail for want of an issuer, or because they call themselves authorities.
fn may_be_self_signed(reason: &CertificateError) -> bool {
    matches!(reason, CertificateError::UnknownIssuer | CertificateError::Other(_) | CertificateError::BadSignature)
}

fn web(roots: RootCertStore) -> Option<Arc<WebPkiServerVerifier>> {
    if roots.is_empty() {
        return None;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), pem::provider()).build().ok()
}

fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a certificate authority of the system cannot be used");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

/// Certificates of loopback masters seen before: one line `HOST:PORT sha256:DIGEST` each.
#[derive(Debug)]
struct Pins {
    file: PathBuf,
}

impl Pins {
    /// `None` without a file and without a home to keep one in.
    fn new(file: Option<PathBuf>) -> Option<Self> {
        let home = || std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        let file = file.or_else(|| Some(home()?.join(".ffrtmp").join("known_masters")))?;
        Some(Self { file })
    }

    fn check(&self, authority: &str, certificate: &CertificateDer<'_>) -> Result<(), Untrusted> {
        let seen = fingerprint(certificate);
        let known = self.known(authority).map_err(|error| self.unusable(&error))?;
        match known {
            Some(known) if known == seen => Ok(()),
            Some(_) => Err(Untrusted {
                message: format!("the certificate of {authority} is not the one pinned in {}", self.file.display()),
                hint: format!(
                    "if the master was set up anew, remove the line of {authority} from {}; otherwise another process answers on its port",
                    self.file.display()
                ),
            }),
            None => {
                self.add(authority, &seen).map_err(|error| self.unusable(&error))?;
                tracing::warn!(
                    "trusting the self-signed certificate of {authority} from now on ({seen}, kept in {})",
                    self.file.display()
                );
                Ok(())
            }
        }
    }

    fn known(&self, authority: &str) -> std::io::Result<Option<String>> {
        let text = match fs::read_to_string(&self.file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let entry = |line: &str| {
            let (name, digest) = line.split_once(' ')?;
            (name == authority).then(|| digest.trim().to_owned())
        };
        Ok(text.lines().find_map(entry))
    }

    fn add(&self, authority: &str, digest: &str) -> std::io::Result<()> {
        if let Some(directory) = self.file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.file)?;
        // One write, so that two clients at once leave two whole lines.
        file.write_all(format!("{authority} {digest}\n").as_bytes())
    }

    fn unusable(&self, error: &std::io::Error) -> Untrusted {
        Untrusted {
            message: format!("{} cannot be used to pin the master's certificate: {error}", self.file.display()),
            hint: "give the master's certificate with --ca FILE".into(),
        }
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate);
    digest.iter().fold(String::from("sha256:"), |text, byte| format!("{text}{byte:02x}"))
}
