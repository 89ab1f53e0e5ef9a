//! What went wrong between client and master, as an error that says what to do.

use ffrtmp_core::{Code, Error};
use reqwest::{Response, StatusCode, Url};

use super::trust::Untrusted;
use crate::http::problem::Problem;

/// Answers larger than this are no problem documents.
const MAX_PROBLEM: usize = 256 * 1024;

/// The master could not be reached, or the connection broke.
pub(super) fn unreachable(master: &Url, error: reqwest::Error) -> Error {
    let error = error.without_url();
    let address = master.as_str().trim_end_matches('/');
    if let Some(untrusted) = cause::<Untrusted>(&error) {
        return untrusted.to_error();
    }
    if let Some(tls) = cause::<rustls::Error>(&error) {
        return tls_error(address, tls);
    }
    if master.scheme() == "http" && cause::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse) {
        return Error::new(Code::Network, format!("{address} does not speak HTTP"))
            .hint(format!("the master probably speaks HTTPS: use {}", with_scheme(master, "https")));
    }
    let what = match cause::<std::io::Error>(&error).map(std::io::Error::kind) {
        _ if error.is_timeout() => "did not answer in time",
        Some(std::io::ErrorKind::ConnectionRefused) => "refuses connections",
        Some(std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe) => "closed the connection",
        _ => "cannot be reached",
    };
    Error::new(Code::Network, format!("the master {address} {what}"))
        .hint("is the master running there, and is --master (or MASTER_URL) its right host and port?")
        .source(root(&error))
}

fn tls_error(address: &str, error: &rustls::Error) -> Error {
    let plain = matches!(error, rustls::Error::InvalidMessage(_));
    if plain {
        let other = address.replacen("https://", "http://", 1);
        return Error::new(Code::Tls, format!("{address} does not speak TLS"))
            .field("--master")
            .hint(format!("the master probably runs with --tls false: use {other}"));
    }
    let hint = match error {
        rustls::Error::AlertReceived(_) => {
            "the master refused this client; with --mtls it wants a certificate: give --cert and --key"
        }
        _ => "give the master's certificate with --ca FILE, or --insecure-skip-verify in a lab",
    };
    Error::new(Code::Tls, format!("no trusted connection to {address}")).hint(hint).source(error.to_string())
}

/// The master answered with an error.
pub(super) async fn refused(master: &Url, mut response: Response) -> Error {
    let status = response.status();
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_PROBLEM {
            break;
        }
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => problem.into(),
        Err(_) => unexplained(master, status),
    }
}

/// An error status without a problem document: a proxy in between, or no master at all.
fn unexplained(master: &Url, status: StatusCode) -> Error {
    let code = match status {
        StatusCode::UNAUTHORIZED => Code::Unauthorized,
        StatusCode::FORBIDDEN => Code::Forbidden,
        StatusCode::TOO_MANY_REQUESTS => Code::RateLimited,
        status if status.is_server_error() => Code::Unavailable,
        _ => Code::Network,
    };
    Error::new(code, format!("{} answered {status} without a reason", master.as_str().trim_end_matches('/')))
        .hint("is this really a master, or a proxy in front of one?")
}

/// The answer has a good status but is not what a master sends.
pub(super) fn foreign(master: &Url, error: serde_json::Error) -> Error {
    Error::new(Code::Network, format!("{} answered something else", master.as_str().trim_end_matches('/')))
        .hint("is this really a master, and of the same version?")
        .source(error)
}

fn with_scheme(master: &Url, scheme: &str) -> String {
    let rest = master.as_str().split_once("://").map_or("", |(_, rest)| rest);
    format!("{scheme}://{}", rest.trim_end_matches('/'))
}

/// The first error of this type in the chain, also inside an I/O error or a TLS error.
fn cause<'a, T: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| cause(inner)) {
            return Some(found);
        }
        if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(rustls::OtherError(other)))) =
            error.downcast_ref()
            && let Some(found) = other.downcast_ref()
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The innermost reason, in words.
fn root(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
