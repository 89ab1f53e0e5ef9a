//! When a certificate ends, read out of its DER: the one field that no part of the TLS library tells.

use std::path::Path;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::{Code, Error, Result};

use super::pem;

/// The end of the first certificate of a PEM file.
///
/// # Errors
/// `tls` for a file without a certificate that can be read.
pub fn expiry(certificate: &Path) -> Result<Timestamp> {
    let chain = pem::certificates(certificate, "--cert")?;
    not_after(&chain[0]).ok_or_else(|| {
        let message = format!("{} does not say when it ends", certificate.display());
        Error::new(Code::Tls, message).field("--cert").hint("give an X.509 certificate")
    })
}

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// `Certificate.tbsCertificate.validity.notAfter` of RFC 5280.
fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (SEQUENCE, certificate, _) = element(der)? else { return None };
    let (SEQUENCE, mut rest, _) = element(certificate)? else { return None };
    if *rest.first()? == VERSION {
        rest = element(rest)?.2;
    }
    // Serial number, algorithm and issuer come before.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (SEQUENCE, validity, _) = element(rest)? else { return None };
    let (kind, text, _) = element(element(validity)?.2)?;
    time(kind, std::str::from_utf8(text).ok()?)
}

/// Tag and content of the first element, and what comes after it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let digit = |length: usize, digit: &u8| length.checked_mul(256)?.checked_add(usize::from(*digit));
        (digits.iter().try_fold(0, digit)?, rest)
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

/// `YYMMDDHHMMSSZ`, in which a year below 50 is of this century, or `YYYYMMDDHHMMSSZ`.
fn time(kind: u8, text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
    let (year, rest) = match (kind, digits.len()) {
        (UTC_TIME, 12) => {
            let century = if &digits[..2] < "50" { "20" } else { "19" };
            (format!("{century}{}", &digits[..2]), &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (digits[..4].to_owned(), &digits[4..]),
        _ => return None,
    };
    let part = |at: usize| &rest[at..at + 2];
    format!("{year}-{}-{}T{}:{}:{}Z", part(0), part(2), part(4), part(6), part(8)).parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_generated_certificate_ends_in_ten_years() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("a.crt"), dir.path().join("a.key"));
        super::super::certificate::generate(&certificate, &key, &[], &[]).unwrap();
        let now = Timestamp::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let left = expiry(&certificate).unwrap().since(now);
        let ten_years = Duration::from_secs(3650 * 24 * 3600);
        assert!(left <= ten_years && left > ten_years - Duration::from_secs(3600), "{left:?}");
        assert!(expiry(&key).is_err());
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (kind, text, read) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "20501231235959Z", Some("2050-12-31T23:59:59Z")),
            (GENERALIZED_TIME, "99991231235959Z", Some("9999-12-31T23:59:59Z")),
            (UTC_TIME, "20501231235959Z", None),
            (UTC_TIME, "4912312359Z", None),
            (UTC_TIME, "49123123595éZ", None),
            (0x13, "491231235959Z", None),
        ] {
            assert_eq!(time(kind, text), read.map(|read| read.parse().unwrap()), "{text}");
        }
        for broken in [&[][..], &[0x30], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x30, 0x02, 0x30, 0x05], &[0x30, 0xff]] {
            assert_eq!(not_after(broken), None);
        }
    }
}
