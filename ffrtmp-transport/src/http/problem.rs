//! Errors on the wire: RFC 9457 problem documents with `code`, `disposition`, `hint` and `field`.

use ffrtmp_core::{Code, Disposition, Error};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `urn:ffrtmp:error:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in one sentence, the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// Names this occurrence: `urn:uuid:` and the id that the master's log has for the request.
    pub instance: String,
    /// What happened, as a stable name: what `ffrtmp explain` takes.
    pub code: String,
    /// Who acts next.
    pub disposition: Disposition,
    /// What to do.
    pub hint: String,
    /// The field, parameter or header at fault, if one is.
    pub field: Option<String>,
}

impl Problem {
    /// The document of an error, for the request with this id.
    #[must_use]
    pub fn new(error: &Error, request_id: &str) -> Self {
        let code = error.code();
        Self {
            kind: format!("urn:ffrtmp:error:{code}"),
            title: code.explain().cause.to_owned(),
            status: code.http_status(),
            detail: if code == Code::Internal { "an internal error".to_owned() } else { error.message().to_owned() },
            instance: format!("urn:uuid:{request_id}"),
            code: code.as_str().to_owned(),
            disposition: code.disposition(),
            hint: error.hint_text().to_owned(),
            field: error.field_name().map(str::to_owned),
        }
    }
}

impl From<Problem> for Error {
    /// The error that the server had. A code that this version does not know becomes the general
    /// one of its disposition.
    fn from(problem: Problem) -> Self {
        let code = Code::from_name(&problem.code).unwrap_or(match problem.disposition {
            Disposition::Transient => Code::Unavailable,
            Disposition::Terminal => Code::Internal,
            Disposition::Caller => Code::InvalidRequest,
        });
        let error = Self::new(code, problem.detail).hint(problem.hint);
        match problem.field {
            Some(field) => error.field(field),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_wire() {
        for code in Code::ALL.iter().filter(|code| **code != Code::Internal) {
            let error = Error::new(*code, "what happened").field("bitrate").hint("do this");
            let json = serde_json::to_string(&Problem::new(&error, "id")).unwrap();
            let back: Error = serde_json::from_str::<Problem>(&json).unwrap().into();
            assert_eq!(
                (back.code(), back.message(), back.field_name(), back.hint_text()),
                (*code, "what happened", Some("bitrate"), "do this")
            );
        }
    }

    #[test]
    fn internal_errors_keep_their_details_to_themselves() {
        let error = Error::new(Code::Internal, "table jobs has no column x").source("SELECT secret");
        let json = serde_json::to_string(&Problem::new(&error, "id")).unwrap();
        assert!(!json.contains("column") && !json.contains("secret"), "{json}");
    }
}
