//! Lists, queries and small answers of the HTTP API, shared by server and client.

use std::collections::BTreeMap;
use std::fmt;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::error::nearest;
use ffrtmp_core::id::{Fence, JobId, NodeId};
use ffrtmp_core::job::{JobState, JobView, StateTransition};
use ffrtmp_core::node::Node;
use ffrtmp_core::protocol::{AttemptState, FinishRequest, LogLine, StartRequest};
use ffrtmp_core::store::{JobFilter, Page};
use ffrtmp_core::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;

/// Jobs or nodes of a page when the query does not say.
pub const DEFAULT_LIMIT: usize = 100;
/// Most jobs or nodes of a page.
pub const MAX_LIMIT: usize = 500;
/// Most lines of a log, and how many come when the query does not say.
pub const MAX_LINES: usize = 10_000;
/// Most jobs of a batch.
pub const MAX_BATCH: usize = 1000;

/// A page of jobs, newest submission first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// How many this page holds.
    pub count: usize,
    /// Give it as `cursor` to get the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// A page of nodes, by name and then id.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeList {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// How many this page holds.
    pub count: usize,
    /// Give it as `cursor` to get the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// The jobs that a batch made, in its order.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchAnswer {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// How many they are.
    pub count: usize,
}

/// Many attempts to begin: the body of `POST /jobs/start`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StartBatch {
    /// The attempts, each on its own.
    #[schema(min_items = 1, max_items = 1000)]
    pub starts: Vec<AttemptStart>,
}

/// An attempt to begin.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AttemptStart {
    /// The job.
    pub job_id: JobId,
    /// Who runs it.
    pub node_id: NodeId,
    /// The attempt.
    pub fence: Fence,
}

impl From<(JobId, StartRequest)> for AttemptStart {
    fn from((job_id, StartRequest { node_id, fence }): (JobId, StartRequest)) -> Self {
        Self { job_id, node_id, fence }
    }
}

impl From<AttemptStart> for (JobId, StartRequest) {
    fn from(AttemptStart { job_id, node_id, fence }: AttemptStart) -> Self {
        (job_id, StartRequest { node_id, fence })
    }
}

/// Many attempts that ended: the body of `POST /results/batch`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ResultBatch {
    /// The results, each on its own.
    #[schema(min_items = 1, max_items = 1000)]
    pub results: Vec<FinishRequest>,
}

/// Answers to many words about attempts, in the order of the request.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AttemptAnswers {
    /// The answers.
    pub answers: Vec<AttemptAnswer>,
    /// How many they are.
    pub count: usize,
}

/// Answer to one of many words about attempts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum AttemptAnswer {
    /// Where the job stands after it.
    State(AttemptState),
    /// Why it had no effect.
    Problem(Problem),
}

impl From<AttemptAnswer> for Result<AttemptState> {
    fn from(answer: AttemptAnswer) -> Self {
        match answer {
            AttemptAnswer::State(state) => Ok(state),
            AttemptAnswer::Problem(problem) => Err(problem.into()),
        }
    }
}

/// The log of a job over all its attempts, oldest line first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogList {
    /// The lines.
    pub logs: Vec<LogEntry>,
    /// How many they are.
    pub count: usize,
}

/// A line of a job's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogEntry {
    /// The attempt that wrote it, from 1.
    pub attempt: u32,
    /// When, by the node's clock.
    pub at: Timestamp,
    /// `error`, `warning`, `info` or `debug`.
    pub level: String,
    /// The text.
    pub text: String,
}

impl From<(u32, LogLine)> for LogEntry {
    fn from((attempt, LogLine { at, level, text }): (u32, LogLine)) -> Self {
        Self { attempt, at, level, text }
    }
}

/// Every change of a job's state so far, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// The changes.
    pub events: Vec<StateTransition>,
    /// How many they are.
    pub count: usize,
}

/// How a master is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`; a master that is not well answers with status 503 and a problem document.
    pub status: String,
    /// Version of the master.
    pub version: String,
}

/// Which jobs to list; what is absent does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// Jobs of a page, 1 to 500; 100 by default.
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// One or more states, separated by commas.
    pub state: Option<String>,
    /// A queue.
    pub queue: Option<String>,
    /// A priority.
    pub priority: Option<String>,
    /// A tenant.
    pub tenant: Option<String>,
    /// Id of the node that holds or last held the job.
    pub node_id: Option<String>,
    /// Exactly this scenario.
    pub scenario: Option<String>,
    /// A classification.
    pub classification: Option<String>,
    /// A label, `key=value`.
    pub label: Option<String>,
    /// More labels, all of which a job must carry.
    pub more_labels: Vec<String>,
    /// Submitted at or after, RFC 3339.
    pub created_after: Option<String>,
    /// Submitted before, RFC 3339.
    pub created_before: Option<String>,
}

impl JobQuery {
    /// Names of the parameters.
    pub const PARAMETERS: &'static [&'static str] = &[
        "limit",
        "cursor",
        "state",
        "queue",
        "priority",
        "tenant",
        "node_id",
        "scenario",
        "classification",
        "label",
        "created_after",
        "created_before",
    ];

    /// The parameters that are set, for a query string.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let single = [
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("cursor", self.cursor.clone()),
            ("state", self.state.clone()),
            ("queue", self.queue.clone()),
            ("priority", self.priority.clone()),
            ("tenant", self.tenant.clone()),
            ("node_id", self.node_id.clone()),
            ("scenario", self.scenario.clone()),
            ("classification", self.classification.clone()),
            ("label", self.label.clone()),
            ("created_after", self.created_after.clone()),
            ("created_before", self.created_before.clone()),
        ];
        let more = self.more_labels.iter().map(|label| ("label", label.clone()));
        single.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(more).collect()
    }
}

/// Reads the query of `GET /jobs`. `None` where no job can match: one label with two values.
///
/// # Errors
/// `unknown_field` with the nearest name, `invalid_field` naming the parameter.
pub(crate) fn filter(pairs: &[(String, String)]) -> Result<Option<(JobFilter, Page)>> {
    let mut filter = JobFilter::default();
    let mut page = Page { limit: DEFAULT_LIMIT, before: None };
    let mut possible = true;
    refuse_unknown(pairs, JobQuery::PARAMETERS)?;
    refuse_repeated(pairs, "label")?;
    for (name, value) in pairs {
        match name.as_str() {
            "limit" => page.limit = limit(value, MAX_LIMIT)?,
            "cursor" => page.before = Some(cursor(value)?),
            "state" => filter.states = states(value)?,
            "queue" => filter.queue = Some(value.parse()?),
            "priority" => filter.priority = Some(value.parse()?),
            "tenant" => filter.tenant = Some(value.parse()?),
            "classification" => filter.classification = Some(value.parse()?),
            "node_id" => filter.node_id = Some(value.parse::<NodeId>()?),
            "scenario" => filter.scenario = Some(value.clone()),
            "created_after" => filter.created_after = Some(time("created_after", value)?),
            "created_before" => filter.created_before = Some(time("created_before", value)?),
            _ => possible &= add_label(&mut filter.labels, value)?,
        }
    }
    Ok(possible.then_some((filter, page)))
}

/// Refuses parameters that a route does not know.
pub(crate) fn refuse_unknown(pairs: &[(String, String)], known: &[&str]) -> Result<()> {
    let Some((name, _)) = pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) else { return Ok(()) };
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {near}? known: {}", known.join(", ")),
        None => format!("known: {}", known.join(", ")),
    };
    Err(Error::new(Code::UnknownField, "unknown query parameter").field(name).hint(hint))
}

fn refuse_repeated(pairs: &[(String, String)], repeatable: &str) -> Result<()> {
    let repeated = |(at, (name, _)): (usize, &(String, String))| {
        (name != repeatable && pairs[..at].iter().any(|(earlier, _)| earlier == name)).then(|| name.clone())
    };
    match pairs.iter().enumerate().find_map(repeated) {
        Some(name) => Err(Error::new(Code::InvalidField, "given more than once").field(name).hint("give it once")),
        None => Ok(()),
    }
}

fn limit(text: &str, most: usize) -> Result<usize> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|limit| (1..=most).contains(limit)).ok_or_else(|| {
        Error::new(Code::InvalidField, format!("{text:?} is not a number of entries"))
            .field("limit")
            .hint(format!("give 1 to {most}"))
    })
}

/// Reads the query of `GET /jobs/{id}/logs`: how many of the newest lines are wanted.
///
/// # Errors
/// As [`filter`].
pub(crate) fn lines(pairs: &[(String, String)]) -> Result<usize> {
    refuse_unknown(pairs, &["limit"])?;
    refuse_repeated(pairs, "")?;
    pairs.first().map_or(Ok(MAX_LINES), |(_, value)| limit(value, MAX_LINES))
}

/// A place in the list of nodes, behind which a page begins: an id and the bytes of a name, written
/// in hexadecimal digits. It stands whether or not its node still exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodePlace {
    name: Vec<u8>,
    id: NodeId,
}

impl NodePlace {
    /// Where the node stands.
    pub(crate) fn of(node: &Node) -> Self {
        Self { name: node.about.name.clone().into_bytes(), id: node.id }
    }

    fn parse(text: &str) -> Option<Self> {
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let (id, name) = text.split_at_checked(32)?;
        let pairs = name.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2));
        let name = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect::<Option<_>>()?;
        Some(Self { name, id: id.parse().ok()? })
    }
}

impl fmt::Display for NodePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id.to_string().replace('-', ""))?;
        self.name.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads the query of `GET /nodes`: how many nodes, and behind which place.
///
/// # Errors
/// As [`filter`].
pub(crate) fn node_page(pairs: &[(String, String)]) -> Result<(usize, Option<NodePlace>)> {
    refuse_unknown(pairs, &["limit", "cursor"])?;
    refuse_repeated(pairs, "")?;
    let (mut most, mut behind) = (DEFAULT_LIMIT, None);
    for (name, value) in pairs {
        match name.as_str() {
            "limit" => most = limit(value, MAX_LIMIT)?,
            _ => behind = Some(NodePlace::parse(value).ok_or_else(|| not_a_cursor(value))?),
        }
    }
    Ok((most, behind))
}

fn cursor(text: &str) -> Result<u64> {
    let digits = text.len() <= 18 && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| not_a_cursor(text))
}

fn not_a_cursor(text: &str) -> Error {
    Error::new(Code::InvalidField, format!("{text:?} is not a cursor"))
        .field("cursor")
        .hint("give the next_cursor of the page before, unchanged")
}

fn states(text: &str) -> Result<Vec<JobState>> {
    text.split(',').map(str::parse).collect()
}

fn time(name: &'static str, text: &str) -> Result<Timestamp> {
    text.parse().map_err(|_| {
        Error::new(Code::InvalidField, format!("{text:?} is not a time"))
            .field(name)
            .hint("give RFC 3339, such as 2026-01-31T12:00:00Z")
    })
}

/// Whether a job can still carry all labels.
fn add_label(labels: &mut BTreeMap<String, String>, text: &str) -> Result<bool> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
        Error::new(Code::InvalidField, format!("{text:?} is not a label")).field("label").hint("give key=value")
    })?;
    Ok(labels.insert(key.to_owned(), value.to_owned()).is_none_or(|other| other == value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_comes_back_as_the_same_filter() {
        let query = JobQuery {
            limit: Some(7),
            cursor: Some("42".into()),
            state: Some("queued,running".into()),
            label: Some("show=a=b".into()),
            more_labels: vec!["team=x".into()],
            created_after: Some("2026-01-31T12:00:00Z".into()),
            ..JobQuery::default()
        };
        let pairs: Vec<_> = query.pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let (filter, page) = filter(&pairs).unwrap().unwrap();
        assert_eq!((page.limit, page.before), (7, Some(42)));
        assert_eq!(filter.states, [JobState::Queued, JobState::Running]);
        assert_eq!(filter.labels.get("show").map(String::as_str), Some("a=b"));
        assert_eq!(filter.labels.len(), 2);
        assert!(filter.created_after.is_some() && filter.created_before.is_none());
    }
}
