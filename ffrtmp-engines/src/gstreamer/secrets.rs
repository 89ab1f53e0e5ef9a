//! Keeps what gets one into an endpoint out of every text: GStreamer puts addresses into its errors
//! and into its debugging output.
//!
//! While a [`Guarded`] lives, its endpoint's secrets are known, and [`scrub`] takes them out. With
//! `GST_DEBUG` set, [`watch_debug_output`] has GStreamer's own lines pass through it too.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::{Mutex, Once, PoisonError};

use ffrtmp_core::live::{Endpoint, HIDDEN};
use gstreamer as gst;

/// Secrets shorter than this are common words or numbers, and are hidden only where they stand alone.
const SHORT: usize = 5;

static KNOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// An endpoint whose secrets are kept.
#[derive(Debug)]
pub(super) struct Guarded {
    secrets: Vec<String>,
}

impl Guarded {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        let secrets = secrets(endpoint.reveal());
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).extend(secrets.iter().cloned());
        Self { secrets }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        for secret in &self.secrets {
            // Another endpoint may have the same.
            if let Some(at) = known.iter().position(|other| other == secret) {
                known.swap_remove(at);
            }
        }
    }
}

/// A text without the secrets of the endpoints in use.
pub(super) fn scrub(text: &str) -> String {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    known.dedup();
    known.iter().fold(text.to_owned(), |text, secret| hide(&text, secret).into_owned())
}

/// Has GStreamer's debugging output, if there is any, pass through [`scrub`].
pub(super) fn watch_debug_output() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let wanted = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        // Into a file GStreamer writes by itself; that file is not ours to mend.
        if !wanted("GST_DEBUG") {
            return;
        }
        gst::log::remove_default_log_function();
        gst::log::add_log_function(|category, level, file, _, line, object, message| {
            let object = object.map(|object| format!("<{object}> ")).unwrap_or_default();
            let text = message.get().map(|text| scrub(&text)).unwrap_or_default();
            let object = scrub(&object);
            let text = format!("{level:?} {} {file}:{line} {object}{text}\n", category.name());
            // Nobody is left to tell if standard error is closed.
            drop(std::io::stderr().write_all(text.as_bytes()));
        });
    });
}

/// What of a URI is secret: user and password, the key of RTMP, and every value of the query.
fn secrets(uri: &str) -> Vec<String> {
    let Some((scheme, rest)) = uri.split_once("://") else { return Vec::new() };
    let (place, query) = rest.split_once(['?', '#']).unwrap_or((rest, ""));
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let mut found = Vec::new();
    if let Some((user, _)) = authority.rsplit_once('@') {
        found.push(user);
        found.extend(user.split_once(':').map(|(_, password)| password));
    }
    let is_rtmp = scheme.to_ascii_lowercase().starts_with("rtmp");
    if let Some((_, key)) = path.rsplit_once('/').filter(|_| is_rtmp) {
        found.push(key);
    }
    found.push(query);
    found.extend(query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value));
    let mut found: Vec<String> = found.into_iter().map(str::to_owned).collect();
    found.extend(found.clone().iter().map(|secret| decoded(secret)));
    found.retain(|secret| !secret.is_empty());
    found.sort();
    found.dedup();
    found
}

/// Without the escapes of URIs, as elements show it.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let escape = bytes.get(at + 1..at + 3).filter(|_| byte == b'%');
        let value = escape.and_then(|escape| u8::from_str_radix(std::str::from_utf8(escape).ok()?, 16).ok());
        plain.push(value.unwrap_or(byte));
        at += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn hide<'a>(text: &'a str, secret: &str) -> Cow<'a, str> {
    if secret.len() >= SHORT {
        return if text.contains(secret) { text.replace(secret, HIDDEN).into() } else { text.into() };
    }
    let is_part = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    let (mut shown, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(secret) {
        let (before, after) = (&rest[..at], &rest[at + secret.len()..]);
        let follows = before.chars().next_back().or_else(|| shown.chars().next_back().filter(|_| before.is_empty()));
        shown.push_str(before);
        shown.push_str(if is_part(follows) || is_part(after.chars().next()) { secret } else { HIDDEN });
        rest = after;
    }
    shown.push_str(rest);
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_shows_a_secret_that_is_in_use() {
        for (uri, text, shown) in [
            ("rtmp://h/live/s3cretkey", "cannot open rtmp://h/live/s3cretkey", "cannot open rtmp://h/live/***"),
            ("rtmps://me:pass word@h/a/b/k1?t=tok123", "stream 'k1' token tok123", "stream '***' token ***"),
            ("rtmp://h/live/k1", "took 1 of k12 at rtmp://h/live/k1", "took 1 of k12 at rtmp://h/live/***"),
            ("srt://h:9?passphrase=a%20b%20c&streamid=x9", "pass a b c of x9", "pass *** of ***"),
            ("rtsp://cam:pw@h/1", "Authorization cam:pw", "Authorization ***"),
        ] {
            let guarded = Guarded::new(&Endpoint::parse(uri, "output").unwrap());
            assert_eq!(scrub(text), shown, "{uri}");
            drop(guarded);
        }
    }

    #[test]
    fn a_secret_is_kept_as_long_as_anything_uses_it() {
        let endpoint = Endpoint::parse("rtmp://h/live/twice-used", "output").unwrap();
        let (one, two) = (Guarded::new(&endpoint), Guarded::new(&endpoint));
        drop(one);
        assert_eq!(scrub("twice-used"), HIDDEN);
        drop(two);
        assert_eq!(scrub("twice-used"), "twice-used");
    }
}
