//! What no log shows, whoever says it: the keys that this process was given, and what stands before
//! the `@` of a URL. Whoever makes an error or a line leaves secrets out already; here is the last
//! place to notice that somebody, or a library at level `trace`, did not.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

/// What stands in the place of a secret.
const HIDDEN: &[u8] = b"***";
/// Shorter ones are words.
const SHORTEST: usize = 6;

static KNOWN: RwLock<Vec<Vec<u8>>> = RwLock::new(Vec::new());

/// No line shows this from now on.
pub fn keep(secret: &str) {
    let secret = secret.trim();
    let quoted = format!("{secret:?}");
    let in_json = serde_json::Value::from(secret).to_string();
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    // As it is, and as lines have it between quotes.
    for form in [secret, &quoted[1..quoted.len() - 1], &in_json[1..in_json.len() - 1]] {
        let form = form.as_bytes();
        if secret.len() >= SHORTEST && !known.iter().any(|other| other == form) {
            known.push(form.to_vec());
        }
    }
    // One may be a part of another.
    known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
}

/// A text without secrets, for whoever prints it by itself.
#[must_use]
pub fn shown(text: &str) -> String {
    String::from_utf8_lossy(&scrub(text.as_bytes())).into_owned()
}

/// A line without secrets.
pub(super) fn scrub(line: &[u8]) -> Cow<'_, [u8]> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let line = known.iter().fold(Cow::Borrowed(line), |line, secret| without(line, secret));
    without_passwords(line)
}

fn without<'a>(line: Cow<'a, [u8]>, secret: &[u8]) -> Cow<'a, [u8]> {
    let Some(first) = find(&line, secret) else { return line };
    let mut shown = Vec::with_capacity(line.len());
    let (mut rest, mut next) = (&line[..], Some(first));
    while let Some(at) = next {
        shown.extend_from_slice(&rest[..at]);
        shown.extend_from_slice(HIDDEN);
        rest = &rest[at + secret.len()..];
        next = find(rest, secret);
    }
    shown.extend_from_slice(rest);
    Cow::Owned(shown)
}

/// `scheme://user:password@host` loses user and password.
fn without_passwords(line: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if find(&line, b"://").is_none() || !line.contains(&b'@') {
        return line;
    }
    let mut shown = Vec::with_capacity(line.len());
    let mut rest = &line[..];
    while let Some(at) = find(rest, b"://") {
        let (before, after) = rest.split_at(at + 3);
        shown.extend_from_slice(before);
        let end = after
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\'' | b'`' | b' ' | b'\n' | b'\\'));
        let authority = &after[..end.unwrap_or(after.len())];
        rest = match authority.iter().rposition(|byte| *byte == b'@') {
            Some(at) => {
                shown.extend_from_slice(HIDDEN);
                &after[at..]
            }
            None => after,
        };
    }
    shown.extend_from_slice(rest);
    Cow::Owned(shown)
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    let first = *word.first()?;
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == first).map(|at| from + at) {
        if text[at..].starts_with(word) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_passwords_are_not_shown() {
        keep("sesame-open-1234");
        keep("sesame-open");
        keep("short");
        keep("wi\"th\\marks");
        for (said, shown) in [
            ("key sesame-open-1234, sesame-open.", "key ***, ***."),
            ("a short line", "a short line"),
            ("wi\"th\\marks", "***"),
            (r#"{"key":"wi\"th\\marks"}"#, r#"{"key":"***"}"#),
            (
                "GET http://user:pa:ss@host:1/a?b=c@d and rtmp://me@h/x",
                "GET http://***@host:1/a?b=c@d and rtmp://***@h/x",
            ),
            ("https://host/a@b mail a@b", "https://host/a@b mail a@b"),
            ("{\"input\":\"ftp://u:p@h\"}", "{\"input\":\"ftp://***@h\"}"),
            ("no url, a@b", "no url, a@b"),
        ] {
            assert_eq!(String::from_utf8_lossy(&scrub(said.as_bytes())), shown);
        }
    }
}
