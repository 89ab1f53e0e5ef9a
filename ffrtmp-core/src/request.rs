//! From foreign JSON to a job: every field is checked, and an unknown one is refused with the
//! nearest known name.

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::JobId;
use crate::job::{Job, JobRequest};
use crate::node::Requirements;

/// Reads the body of `POST /jobs`.
///
/// # Errors
/// `unknown_field` with the nearest known name, `invalid_field` naming the field,
/// `unknown_scenario`.
pub fn parse(body: serde_json::Value) -> Result<JobRequest> {
    serde_json::from_value(body)
        .map_err(|error| crate::error::Error::new(crate::error::Code::InvalidRequest, error.to_string()))
}

/// A job ready to be stored: defaults filled in, engine chosen, in state `queued` or `waiting`.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The job.
    pub job: Job,
    /// What it needs of a node.
    pub requirements: Requirements,
}

/// Checks a request and makes a job of it.
///
/// # Errors
/// As [`parse`].
pub fn prepare(request: JobRequest, id: JobId, default_max_retries: u32, now: Timestamp) -> Result<Prepared> {
    let _ = (request, id, default_max_retries, now);
    Err(crate::error::Error::new(crate::error::Code::Internal, "not written yet"))
}
