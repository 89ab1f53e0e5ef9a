//! From a request to typed arguments: JSON bodies with a size and a time limit, names in paths,
//! queries. Whatever does not fit is a [`Failure`] that names the field.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, RawQuery, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use ffrtmp_core::id::{JobKey, NodeId};
use ffrtmp_core::node::Registration;
use ffrtmp_core::protocol::{ClaimRequest, FinishRequest, Heartbeat, StartRequest};
use ffrtmp_core::trace::{TRACEPARENT, TraceContext};
use ffrtmp_core::{Code, Error};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::App;
use super::failure::Failure;
use crate::http::wire::{ResultBatch, StartBatch};

const MIB: usize = 1024 * 1024;

/// A JSON body and how large it may be.
pub(super) trait Document: DeserializeOwned {
    /// Bytes at most.
    const LIMIT: usize = MIB;
    /// Whether its type says what its numbers are, so that they need not be made whole first.
    const TYPED: bool = true;
}

impl Document for Value {
    const TYPED: bool = false;
}
impl Document for ClaimRequest {}
impl Document for Registration {}
impl Document for StartRequest {}

impl Document for Heartbeat {
    // Carries log lines.
    const LIMIT: usize = 4 * MIB;
}

impl Document for FinishRequest {
    const LIMIT: usize = 4 * MIB;
}

impl Document for StartBatch {}

impl Document for ResultBatch {
    const LIMIT: usize = 16 * MIB;
}

/// Up to a thousand requests, not yet read one by one.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Batch(pub(super) Value);

impl Document for Batch {
    const LIMIT: usize = 8 * MIB;
    const TYPED: bool = false;
}

/// The body of a request.
pub(super) struct Body<T>(pub(super) T);

impl<T: Document> FromRequest<Arc<App>> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Failure> {
        check_media_type(request.headers(), app.keyed)?;
        check_length(request.headers(), T::LIMIT)?;
        let body = Limited::new(request.into_body(), T::LIMIT).collect();
        let bytes = match timeout(app.body_timeout, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() || wraps_limit(error.as_ref()) => {
                return Err(too_large(T::LIMIT).into());
            }
            Ok(Err(_)) => return Err(invalid("the body broke off").into()),
            Err(_) => {
                return Err(invalid(format!("the body did not arrive within {:?}", app.body_timeout)).into());
            }
        };
        // Most bodies are right. The others are read once more, slowly, to say what is wrong.
        if T::TYPED
            && bytes.trim_ascii_start().starts_with(b"{")
            && let Ok(document) = serde_json::from_slice(&bytes)
        {
            return Ok(Self(document));
        }
        Ok(Self(parse(&bytes)?))
    }
}

/// Reads JSON; an error names the path of the value at fault.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        invalid(format!("the body is not UTF-8 from byte {} on", error.valid_up_to())).hint("send JSON in UTF-8")
    })?;
    if text.trim().is_empty() {
        return Err(invalid("the body is empty").hint("send the JSON object that the OpenAPI document describes"));
    }
    // Syntax first, so that a missing bracket is not blamed on a field.
    let mut value: Value =
        serde_json::from_str(text).map_err(|error| invalid(format!("the body is not JSON: {error}")))?;
    whole_numbers(&mut value);
    typed(value)
}

/// Writes `2.0` as `2`: JSON knows one kind of number, and clients in languages that know one too
/// send whole numbers either way.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().filter(|float| float.fract() == 0.0).unwrap_or(f64::NAN);
            if (0.0..2_f64.powi(64)).contains(&float) {
                *number = (float as u64).into();
            } else if (-(2_f64.powi(63))..0.0).contains(&float) {
                *number = (float as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// Reads a value; an error names the path of the part at fault.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    // A list would pass for an object whose fields may all be left out.
    if !value.is_object() {
        return Err(invalid("the body is JSON but not an object"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        match (path.as_str(), missing) {
            (".", None) => invalid(message),
            (".", Some(name)) => Error::new(Code::InvalidField, "is required").field(name),
            (_, Some(name)) => Error::new(Code::InvalidField, "is required").field(format!("{path}.{name}")),
            (_, None) => Error::new(Code::InvalidField, message).field(path),
        }
    })
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidRequest, message)
}

fn too_large(limit: usize) -> Error {
    Error::new(Code::PayloadTooLarge, format!("the body is larger than {} MiB", limit / MIB))
}

/// [`Limited`]'s error behind the error of the body that axum wraps.
fn wraps_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<LengthLimitError>())
}

fn check_length(headers: &HeaderMap, limit: usize) -> Result<(), Error> {
    let length: Option<usize> =
        headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    if length.is_some_and(|length| length > limit) { Err(too_large(limit)) } else { Ok(()) }
}

/// JSON by any of its names. A form type passes as well, since `curl -d` sends it unasked, unless
/// the request may come from a browser that no key keeps out: a page of anybody can post forms.
fn check_media_type(headers: &HeaderMap, keyed: bool) -> Result<(), Error> {
    const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return if keyed || !headers.contains_key(ORIGIN) { Ok(()) } else { Err(unsupported("nothing")) };
    };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let browser = headers.contains_key(ORIGIN) || headers.contains_key(FETCH_SITE);
    match essence.as_str() {
        "application/json" | "text/json" => Ok(()),
        other if other.starts_with("application/") && other.ends_with("+json") => Ok(()),
        "application/x-www-form-urlencoded" if keyed || !browser => Ok(()),
        other => Err(unsupported(other)),
    }
}

fn unsupported(what: &str) -> Error {
    Error::new(Code::UnsupportedMediaType, format!("the body is declared as {what:?}")).field("Content-Type")
}

/// A job named in the path.
pub(super) struct JobPath(pub(super) JobKey);

impl FromRequestParts<Arc<App>> for JobPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let text = segment(parts, app).await?;
        Ok(Self(text.parse()?))
    }
}

/// A node named in the path.
pub(super) struct NodePath(pub(super) NodeId);

impl FromRequestParts<Arc<App>> for NodePath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let text = segment(parts, app).await?;
        // In a path, what is no id is a node that does not exist.
        let id = text.parse().map_err(|error: Error| {
            Error::new(Code::NodeNotFound, error.message()).field("node_id").hint(error.hint_text())
        })?;
        Ok(Self(id))
    }
}

async fn segment(parts: &mut Parts, app: &Arc<App>) -> Result<String, Error> {
    let path = Path::<String>::from_request_parts(parts, app).await;
    path.map(|Path(text)| text).map_err(|_| invalid("the path is not UTF-8").field("id"))
}

/// The query of a request, decoded, in its order.
pub(super) struct Query(pub(super) Vec<(String, String)>);

impl FromRequestParts<Arc<App>> for Query {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let Ok(RawQuery(raw)) = RawQuery::from_request_parts(parts, app).await;
        Ok(Self(query(raw.as_deref().unwrap_or_default())?))
    }
}

fn query(raw: &str) -> Result<Vec<(String, String)>, Error> {
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

/// Percent-decodes; unlike the usual decoders it refuses what is not UTF-8 instead of guessing.
fn decoded(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits
                    .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| invalid("the query has a % that is not followed by two hexadecimal digits"))?;
                bytes.push(byte);
                rest = &tail[2..];
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| invalid("the query is not UTF-8"))
}

/// The `Idempotency-Key` of a submission.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

/// Name of the header.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl FromRequestParts<Arc<App>> for IdempotencyKey {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Failure> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let wrong = || {
            Error::new(Code::InvalidField, "not a key")
                .field("Idempotency-Key")
                .hint("give one header with 1 to 255 visible ASCII characters without spaces")
        };
        match (values.next(), values.next()) {
            (None, _) => Ok(Self(None)),
            (Some(value), None) => Ok(Self(Some(visible(value).ok_or_else(wrong)?))),
            (Some(_), Some(_)) => Err(wrong().into()),
        }
    }
}

/// The trace that a request is a part of. What cannot be read is as good as absent, as the W3C wants it.
pub(super) struct Caller(pub(super) Option<TraceContext>);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Infallible> {
        let mut values = parts.headers.get_all(TRACEPARENT).iter();
        let only = values.next().filter(|_| values.next().is_none());
        Ok(Self(only.and_then(|value| value.to_str().ok()?.parse().ok())))
    }
}

fn visible(value: &HeaderValue) -> Option<String> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_strictly() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(query("a=1&b=x%20y+z&c&").unwrap(), [pair("a", "1"), pair("b", "x y z"), pair("c", "")]);
        for bad in ["a=%", "a=%f", "a=%zz", "a=%ff", "%c3=1", "a=%+1"] {
            assert_eq!(query(bad).unwrap_err().code(), Code::InvalidRequest, "{bad}");
        }
    }

    #[test]
    fn a_wrong_value_is_named_by_its_path() {
        for (json, field) in [
            (r#"{"slots": 1}"#, "node_id"),
            (r#"{"node_id": "x"}"#, "node_id"),
            (r#"{"node_id": "00000000-0000-0000-0000-000000000001", "slots": "two"}"#, "slots"),
            (r#"{"node_id": "00000000-0000-0000-0000-000000000001", "slots": 2.5}"#, "slots"),
        ] {
            assert_eq!(parse::<ClaimRequest>(json.as_bytes()).unwrap_err().field_name(), Some(field), "{json}");
        }
        let whole = r#"{"node_id": "00000000-0000-0000-0000-000000000001", "slots": 2.0}"#;
        assert_eq!(parse::<ClaimRequest>(whole.as_bytes()).unwrap().slots, 2);
        let nested = r#"{"attempts": [{"job_id": "00000000-0000-0000-0000-000000000001"}]}"#;
        let error = parse::<Heartbeat>(nested.as_bytes()).unwrap_err();
        assert_eq!(error.field_name(), Some("attempts[0].fence"));
        assert_eq!(parse::<Heartbeat>(b"[]").unwrap_err().code(), Code::InvalidRequest);
    }

    #[test]
    fn whole_numbers_may_be_written_with_a_fraction() {
        for (written, whole) in [
            ("2.0", "2"),
            ("-3.0", "-3"),
            ("9007199254740992.0", "9007199254740992"),
            ("18446744073709549568.0", "18446744073709549568"),
            ("-9223372036854775808.0", "-9223372036854775808"),
            ("2.5", "2.5"),
            ("1e20", "1e20"),
        ] {
            let read = parse::<Value>(format!(r#"{{"number": {written}}}"#).as_bytes()).unwrap();
            assert_eq!(read["number"], whole.parse::<Value>().unwrap(), "{written}");
        }
    }
}
