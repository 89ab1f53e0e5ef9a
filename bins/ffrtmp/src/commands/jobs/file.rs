//! Jobs of a JSON file: one object, an array, or `{"jobs": […]}`.

use std::io::Read as _;
use std::path::Path;

use ffrtmp::core::job::JobRequest;
use ffrtmp::core::{Code, Error, Result, request};
use serde_json::Value;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Reads and checks every job of the file; `-` reads stdin.
///
/// # Errors
/// `input_not_found`, `payload_too_large`, `invalid_request` for something else than JSON, and
/// what [`request::parse`] refuses, with the place in the file.
pub(super) fn read(path: &Path) -> Result<Vec<JobRequest>> {
    let text = text(path)?;
    let value = serde_json::from_str(&text)
        .map_err(|error| refused(Code::InvalidRequest, format!("{} is not JSON", path.display())).source(error))?;
    jobs(value)
}

fn jobs(value: Value) -> Result<Vec<JobRequest>> {
    let (place, values) = match value {
        Value::Array(values) => ("", values),
        Value::Object(fields) if fields.get("jobs").is_some_and(Value::is_array) && fields.len() > 1 => {
            let other = fields.keys().find(|key| *key != "jobs").cloned().unwrap_or_default();
            let hint = "put it into each of the jobs; a list of jobs has nothing beside it";
            return Err(Error::new(Code::UnknownField, "stands beside jobs").field(other).hint(hint));
        }
        Value::Object(mut fields) if fields.get("jobs").is_some_and(Value::is_array) => match fields.remove("jobs") {
            Some(Value::Array(values)) => ("jobs", values),
            _ => ("jobs", Vec::new()),
        },
        value => return request::parse(value).map(|request| vec![request]),
    };
    if values.is_empty() {
        return Err(refused(Code::InvalidRequest, "the file holds no job".to_owned()));
    }
    let numbered = values.into_iter().enumerate();
    numbered.map(|(index, value)| request::parse(value).map_err(|error| at(&error, place, index))).collect()
}

/// Says which job of the file an error is about.
fn at(error: &Error, place: &str, index: usize) -> Error {
    let field = error.field_name().map(|field| format!(".{field}")).unwrap_or_default();
    Error::new(error.code(), error.message()).field(format!("{place}[{index}]{field}")).hint(error.hint_text())
}

fn text(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_BYTES + 1).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(path).map_err(|error| {
            let absent = error.kind() == std::io::ErrorKind::NotFound;
            let code = if absent { Code::InputNotFound } else { Code::InputUnreadable };
            refused(code, format!("{} cannot be opened", path.display())).source(error)
        })?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text)
    };
    match read {
        Ok(bytes) if bytes as u64 > MAX_BYTES => {
            Err(refused(Code::PayloadTooLarge, format!("{} is larger than 64 MiB", path.display())))
        }
        Ok(_) => Ok(text),
        Err(error) => {
            Err(refused(Code::InputUnreadable, format!("{} cannot be read as text", path.display())).source(error))
        }
    }
}

fn refused(code: Code, message: String) -> Error {
    Error::new(code, message).field("--file").hint("give JSON: one job, an array of jobs, or {\"jobs\": [...]}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_three_shapes() {
        let job = json!({ "scenario": "720p30-h264" });
        for (value, count) in [(job.clone(), 1), (json!([job, job]), 2), (json!({ "jobs": [job, job, job] }), 3)] {
            assert_eq!(jobs(value).unwrap().len(), count);
        }
        assert_eq!(jobs(json!([])).unwrap_err().field_name(), Some("--file"));
    }

    #[test]
    fn errors_name_the_job_and_the_field() {
        let error = jobs(json!({ "jobs": [{ "scenario": "720p" }, { "scenario": "720p", "bitrat": 1 }] })).unwrap_err();
        assert_eq!(error.code(), Code::UnknownField, "{error}");
        assert_eq!(error.field_name(), Some("jobs[1].bitrat"), "{error}");
        for (value, field) in [
            (json!({ "jobs": [], "labels": {} }), "labels"),
            (json!({ "job": [{ "scenario": "720p" }] }), "job"),
            (json!({ "scenaro": "720p" }), "scenaro"),
        ] {
            let error = jobs(value).unwrap_err();
            assert_eq!((error.code(), error.field_name()), (Code::UnknownField, Some(field)), "{error}");
        }
    }
}
